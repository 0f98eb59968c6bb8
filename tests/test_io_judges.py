"""Weights of published judges: found, checked, and never unpickled."""

from __future__ import annotations

import hashlib
import pickle
from pathlib import Path

import pytest
import safetensors.torch
import torch

from se4lip.io.judges import SYNCNET, PublishedFile, deviation, find_published, read_tensors
from se4lip.types import InputError

_STATE = {"a.weight": torch.arange(6.0).reshape(2, 3), "a.bias": torch.ones(2)}


@pytest.fixture(autouse=True)
def _empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SE4LIP_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv(SYNCNET.variable, raising=False)


def _file(tmp_path: Path, content: bytes = b"weights") -> PublishedFile:
    source = tmp_path / "published.bin"
    source.write_bytes(content)
    digest = hashlib.sha256(content).hexdigest()
    return PublishedFile("judge.model", source.as_uri(), digest, "SE4LIP_TEST_JUDGE")


def test_a_named_file_comes_before_the_variable_before_the_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = _file(tmp_path)
    named, pointed = tmp_path / "named", tmp_path / "pointed"
    named.write_bytes(b"1")
    pointed.write_bytes(b"2")
    cached = find_published(file, fetch=True)
    assert cached.read_bytes() == b"weights"
    assert find_published(file) == cached
    monkeypatch.setenv(file.variable, str(pointed))
    assert find_published(file) == pointed
    assert find_published(file, named) == named


def test_nothing_is_fetched_unless_asked_for(tmp_path: Path) -> None:
    with pytest.raises(InputError) as wrong:
        find_published(SYNCNET)
    assert str(wrong.value) == (
        f"syncnet_v2.model is not here: set SE4LIP_SYNCNET to a copy of {SYNCNET.url}, or pass "
        "--fetch"
    )
    assert not (tmp_path / "cache").exists()


def test_a_spoiled_download_is_refused_and_not_kept(tmp_path: Path) -> None:
    file = _file(tmp_path)
    (tmp_path / "published.bin").write_bytes(b"something else")
    with pytest.raises(InputError, match=r"judge\.model.* has SHA-256 .*needed"):
        find_published(file, fetch=True)
    assert not list((tmp_path / "cache").iterdir())


def test_a_spoiled_cache_is_refused(tmp_path: Path) -> None:
    file = _file(tmp_path)
    cached = find_published(file, fetch=True)
    cached.write_bytes(b"rotten")
    found = hashlib.sha256(b"rotten").hexdigest()
    with pytest.raises(InputError) as wrong:
        find_published(file)
    assert str(wrong.value) == (
        f"judge.model has SHA-256 {found[:12]}..., needed {file.sha256[:12]}...: remove {cached} "
        f"and {file.how_to_supply}"
    )


def test_a_stand_in_is_told_from_the_published_file(tmp_path: Path) -> None:
    file = _file(tmp_path)
    assert deviation(file, find_published(file, fetch=True)) == ""
    other = tmp_path / "other"
    other.write_bytes(b"converted")
    found = hashlib.sha256(b"converted").hexdigest()
    assert deviation(file, other) == (
        f"{other} stands for judge.model but is another file (SHA-256 {found[:12]}..., published "
        f"{file.sha256[:12]}...): its figures are comparable only if it is a conversion"
    )


def test_a_download_that_fails_says_what_to_do(tmp_path: Path) -> None:
    file = _file(tmp_path)
    (tmp_path / "published.bin").unlink()
    with pytest.raises(InputError, match=r"judge\.model cannot be fetched .*set SE4LIP_TEST_JUDGE"):
        find_published(file, fetch=True)


@pytest.mark.parametrize("layout", ["zip", "legacy", "safetensors"])
def test_states_are_read_from_every_layout_in_use(tmp_path: Path, layout: str) -> None:
    path = tmp_path / ("state.safetensors" if layout == "safetensors" else "state.model")
    if layout == "safetensors":
        safetensors.torch.save_file(_STATE, path)
    else:  # syncnet_v2.model is older than the zip layout
        torch.save(_STATE, path, _use_new_zipfile_serialization=layout == "zip")
    found = read_tensors(path)
    assert found.keys() == _STATE.keys()
    assert all(torch.equal(found[name], _STATE[name]) for name in _STATE)


class _Trap:
    def __reduce__(self) -> tuple:
        return (Path.touch, (Path("sprung"),))


@pytest.mark.parametrize("kind", ["trap", "module", "text", "cut", "pickle"])
def test_anything_but_tensors_is_refused_and_never_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "judge.model"
    if kind == "trap":
        torch.save({"a": _Trap()}, path)
    elif kind == "module":
        torch.save(torch.nn.Linear(2, 2), path)
    elif kind == "text":
        path.write_text("<html>Not found</html>")
    elif kind == "cut":
        torch.save(_STATE, path)
        path.write_bytes(path.read_bytes()[:200])
    else:
        path.write_bytes(pickle.dumps(_Trap()))
    with pytest.raises(InputError) as wrong:
        read_tensors(path)
    assert str(wrong.value) == (
        f"weight file {path} is damaged or holds more than tensors: fetch it again, or convert its "
        "state to safetensors"
    )
    assert not (tmp_path / "sprung").exists()


def test_a_file_without_named_tensors_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "judge.pth"
    torch.save([torch.zeros(2)], path)
    with pytest.raises(InputError) as wrong:
        read_tensors(path)
    assert str(wrong.value) == (
        f"weight file {path} holds no state of named tensors: give a state file"
    )
