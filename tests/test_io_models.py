"""The face landmarker is found where it was said to be, checked, or asked for in one sentence."""

import hashlib
from pathlib import Path

import pytest

from se4lip.io import models
from se4lip.io.files import sha256_of
from se4lip.types import InputError

REAL_SHA256 = models.FACE_LANDMARKER_SHA256
SHARED = Path(__file__).parents[2] / "shared" / "models" / "face_landmarker.task"
CONTENT = b"not the real model, but it has a checksum"


@pytest.fixture(autouse=True)
def known_checksum(monkeypatch, tmp_path):
    monkeypatch.setattr(models, "FACE_LANDMARKER_SHA256", hashlib.sha256(CONTENT).hexdigest())
    monkeypatch.setenv("SE4LIP_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("SE4LIP_FACE_LANDMARKER", raising=False)


def refuse(*_, **__):
    raise OSError("no network here")


def test_an_argument_comes_before_the_environment_before_the_cache(monkeypatch, tmp_path):
    monkeypatch.setattr(models.urllib.request, "urlopen", refuse)
    files = [tmp_path / "argument.task", tmp_path / "environment.task"]
    for file in files:
        file.write_bytes(CONTENT)
    cached = tmp_path / "cache" / "face_landmarker.task"
    cached.parent.mkdir()
    cached.write_bytes(CONTENT)
    assert models.face_landmarker() == cached
    monkeypatch.setenv("SE4LIP_FACE_LANDMARKER", str(files[1]))
    assert models.face_landmarker() == files[1]
    assert models.face_landmarker(files[0]) == files[0]


def test_it_is_downloaded_once_into_the_cache(monkeypatch, tmp_path):
    served = tmp_path / "served"
    served.write_bytes(CONTENT)
    found = models.face_landmarker(url=served.as_uri())
    assert found == tmp_path / "cache" / "face_landmarker.task"
    assert found.read_bytes() == CONTENT
    monkeypatch.setattr(models.urllib.request, "urlopen", refuse)
    assert models.face_landmarker() == found


def said(*arguments, **named) -> str:
    with pytest.raises(InputError) as caught:
        models.face_landmarker(*arguments, **named)
    return str(caught.value)


SUPPLY = (
    "pass --face-landmarker FILE or set SE4LIP_FACE_LANDMARKER to a copy of "
    "https://storage.googleapis.com/mediapipe-models/"
    "face_landmarker/face_landmarker/float16/1/face_landmarker.task"
)


def test_without_a_network_it_says_how_to_supply_the_file(monkeypatch, tmp_path):
    monkeypatch.setattr(models.urllib.request, "urlopen", refuse)
    assert said() == (f"the face landmarker model cannot be downloaded (no network here): {SUPPLY}")
    assert list((tmp_path / "cache").iterdir()) == []


def test_a_wrong_download_is_not_kept(tmp_path):
    served = tmp_path / "served"
    served.write_bytes(b"something else")
    found = hashlib.sha256(b"something else").hexdigest()[:12]
    assert said(url=served.as_uri()).startswith(
        f"the download of {served.as_uri()} has SHA-256 {found}..., needed "
    )
    assert list((tmp_path / "cache").iterdir()) == []


def test_a_wrong_file_is_refused(tmp_path):
    wrong = tmp_path / "wrong.task"
    wrong.write_bytes(b"abc")
    needed = hashlib.sha256(CONTENT).hexdigest()[:12]
    assert said(wrong) == (
        f"face landmarker {wrong} has SHA-256 ba7816bf8f01..., needed {needed}...: {SUPPLY}"
    )
    assert said(tmp_path / "missing").startswith("cannot read face landmarker ")


@pytest.mark.skipif(not SHARED.is_file(), reason="../shared/models/face_landmarker.task is missing")
def test_googles_file_has_the_checksum():
    assert sha256_of(SHARED) == REAL_SHA256
