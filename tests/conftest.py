"""What holds for every test."""

import os

import pytest
from hypothesis import settings

# A property holds however busy the machine is; how long it takes is for benchmarks.
settings.register_profile("se4lip", deadline=None)
settings.load_profile("se4lip")


@pytest.fixture
def threads():
    """A test may draw with any number of threads, and the next draws with those of before."""
    import torch  # not sooner: se4lip says first how torch's threads wait

    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.fixture
def no_judges(tmp_path, monkeypatch):
    """Judges whose weights come from elsewhere are not found, whatever this machine has."""
    monkeypatch.setenv("SE4LIP_CACHE", str(tmp_path))


@pytest.fixture(scope="session", autouse=True)
def _no_trace_in_the_home_folder(tmp_path_factory):
    """The certificate that signs videos is made in a folder of the tests' own."""
    before = os.environ.get("SE4LIP_DATA")
    os.environ["SE4LIP_DATA"] = str(tmp_path_factory.mktemp("data"))
    os.environ.pop("SE4LIP_CREDENTIALS", None)
    yield
    os.environ.pop("SE4LIP_DATA")
    if before is not None:
        os.environ["SE4LIP_DATA"] = before
