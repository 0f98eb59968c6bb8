"""What holds for every test."""

import os

import pytest


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
