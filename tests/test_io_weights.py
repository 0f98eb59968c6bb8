"""Weight files keep every bit, say what they are, and refuse to be something else."""

import io
import json
import pickle

import pytest
import safetensors.torch
import torch
from hypothesis import given
from hypothesis import strategies as st

from se4lip.io.weights import load_weights, read_header, save_weights, sha256_of
from se4lip.types import InputError

TENSORS = {
    "layer.weight": torch.arange(6.0).reshape(2, 3),
    "layer.bias": torch.tensor([1.5, -2.5], dtype=torch.bfloat16),
    "steps": torch.tensor(7),
    "empty": torch.zeros(0, 4),
    "flags": torch.tensor([True, False]),
}


def saved(tmp_path, **changes):
    path = tmp_path / "a.safetensors"
    arguments = {"kind": "speech-encoder", "config": {"width": 3}} | changes
    save_weights(path, TENSORS, **arguments)
    return path


def said(path, kind="speech-encoder", version=1) -> str:
    with pytest.raises(InputError) as caught:
        load_weights(path, kind, version)
    return str(caught.value)


def test_tensors_and_header_come_back(tmp_path):
    path = saved(tmp_path, metadata={"data": "GRID s1"}, version=3)
    tensors, header = load_weights(path, "speech-encoder", version=3)
    assert tensors.keys() == TENSORS.keys()
    for name, tensor in TENSORS.items():
        assert tensors[name].dtype == tensor.dtype
        assert torch.equal(tensors[name], tensor)
    assert (header.kind, header.version, header.config) == ("speech-encoder", 3, {"width": 3})
    assert header.metadata == {"data": "GRID s1"}
    assert read_header(path) == header


def test_equal_weights_are_equal_files(tmp_path):
    first = sha256_of(saved(tmp_path))
    assert first == sha256_of(saved(tmp_path))
    assert first != sha256_of(saved(tmp_path, config={"width": 4}))


def test_tied_strided_and_trained_tensors_can_be_saved(tmp_path):
    tied = torch.nn.Parameter(torch.randn(4, 3))
    tensors = {"a": tied, "b": tied, "c": tied.t(), "d": tied[:, 1]}
    save_weights(tmp_path / "a", tensors, kind="k", config={})
    back, _ = load_weights(tmp_path / "a", "k")
    assert all(torch.equal(back[name], tensor) for name, tensor in tensors.items())


def test_another_kind_is_refused(tmp_path):
    path = saved(tmp_path)
    assert said(path, "splat-avatar") == (
        f"{path} holds speech-encoder weights, needed are splat-avatar weights: "
        "give a file of those"
    )


def test_a_newer_version_is_refused_and_an_older_read(tmp_path):
    path = saved(tmp_path, version=3)
    assert said(path, version=2) == (
        f"{path} holds speech-encoder weights of version 3, this se4lip reads up to 2: "
        "update se4lip"
    )
    assert load_weights(path, "speech-encoder", version=9)[1].version == 3


@given(st.data())
def test_a_file_cut_anywhere_is_refused(tmp_path_factory, data):
    path = saved(tmp_path_factory.mktemp("cut"))
    content = path.read_bytes()
    path.write_bytes(content[: data.draw(st.integers(1, len(content) - 1))])
    assert said(path) == (
        f"weight file {path} is damaged, cut short or no safetensors file: fetch it again"
    )


@given(st.data())
def test_a_flipped_bit_is_found(tmp_path_factory, data):
    path = saved(tmp_path_factory.mktemp("flip"))
    content = bytearray(path.read_bytes())
    start = 8 + int.from_bytes(content[:8], "little")
    content[data.draw(st.integers(start, len(content) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    path.write_bytes(content)
    assert said(path) == (f"weight file {path} is damaged, its checksum is wrong: fetch it again")


@pytest.mark.parametrize("version", ["Infinity", "1e999"])
def test_a_version_that_is_no_number_is_refused(version, tmp_path):
    header = {"format": "se4lip-weights", "kind": "cake", "version": 1, "config": {}, "sha256": ""}
    text = json.dumps(header).replace('"version": 1', f'"version": {version}')
    safetensors.torch.save_file(
        {"a": torch.zeros(1)}, tmp_path / "a.safetensors", metadata={"se4lip": text}
    )
    with pytest.raises(InputError, match="without a se4lip header"):
        load_weights(tmp_path / "a.safetensors", kind="cake")


def test_foreign_files_are_refused(tmp_path):
    missing = tmp_path / "missing"
    assert said(missing) == (
        f"cannot read weight file {missing}: no such file or directory: check the path"
    )
    empty = tmp_path / "empty"
    empty.touch()
    assert said(empty) == f"weight file {empty} is empty (0 bytes): fetch or make it again"
    foreign = tmp_path / "foreign"
    foreign.write_bytes(safetensors.torch.save({"a": torch.zeros(2)}))
    sentence = (
        f"{foreign} is a safetensors file without a se4lip header: give a file se4lip has written"
    )
    assert said(foreign) == sentence
    for header in ("[]", "{", json.dumps({"format": "other"}), "null", '"text"'):
        foreign.write_bytes(safetensors.torch.save({"a": torch.zeros(2)}, {"se4lip": header}))
        assert said(foreign) == sentence


class Trap:
    def __reduce__(self):
        return (pytest.fail, ("a pickle was opened",))


@pytest.mark.parametrize("how", ["pickle", "torch"])
def test_pickles_are_never_opened(how, tmp_path):
    path = tmp_path / "weights.pt"
    if how == "pickle":
        path.write_bytes(pickle.dumps(Trap()))
    else:
        buffer = io.BytesIO()
        torch.save({"a": Trap()}, buffer)
        path.write_bytes(buffer.getvalue())
    assert said(path) == (
        f"weight file {path} is a pickle or an archive of one, which may run any program when it "
        "is loaded: give a .safetensors file that se4lip has written"
    )


def test_an_unwritable_place_is_refused(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="not a directory"):
        save_weights(tmp_path / "file" / "a", TENSORS, kind="k", config={})
