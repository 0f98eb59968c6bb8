"""Whole files or none, whatever happens while they are written."""

import errno
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from se4lip.io.files import (
    array_writer,
    atomic,
    existing_file,
    is_temporary,
    read_array,
    read_json,
    sha256_of,
    writable_folder,
    write_array,
    write_bytes,
    write_json,
)
from se4lip.types import InputError


def said(call, *arguments) -> str:
    with pytest.raises(InputError) as caught:
        call(*arguments)
    return str(caught.value)


def test_a_file_appears_only_when_it_is_whole(tmp_path):
    goal = tmp_path / "a" / "b" / "out.txt"
    with atomic(goal) as part:
        part.write_text("half")
        assert not goal.exists()
        assert (part.parent, part.suffix) == (goal.parent, ".txt")
    assert goal.read_text() == "half"
    assert [p.name for p in goal.parent.iterdir()] == ["out.txt"]


@pytest.mark.parametrize("trouble", [ValueError, KeyboardInterrupt, SystemExit, OSError])
def test_trouble_leaves_the_old_file_and_nothing_else(trouble, tmp_path):
    goal = tmp_path / "out.txt"
    goal.write_text("old")
    with pytest.raises(trouble), atomic(goal) as part:
        part.write_text("new, half")
        raise trouble
    assert goal.read_text() == "old"
    assert list(tmp_path.iterdir()) == [goal]


def test_what_killed_writers_left_is_removed_by_the_next_one(tmp_path):
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    alive, dead = f"{os.getpid()}-7", f"{gone.pid}-7"
    old = [".out.%s.part.txt", ".7-8.%s.part", ".%s.part", ".out.part.%s.txt", "out.%s.part.txt"]
    left = {name: tmp_path / (name % dead) for name in old}
    left["alive"] = tmp_path / (old[0] % alive)
    left["fresh"] = tmp_path / (old[0] % f"{gone.pid}-8")
    for name, file in left.items():
        file.touch()
        if name != "fresh":
            os.utime(file, (0, 0))
    with atomic(tmp_path / "out.txt") as part:
        part.write_text("whole")
    expected = {*left.values(), tmp_path / "out.txt"} - {left[name] for name in old[:3]}
    assert {*tmp_path.iterdir()} == expected


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG])
def test_a_full_disk_is_a_sentence(code, tmp_path):
    goal = tmp_path / "out.txt"

    def fill():
        with atomic(goal) as part:
            part.write_text("some")
            raise OSError(code, os.strerror(code))

    why = os.strerror(code).lower()
    assert said(fill) == f"cannot write {goal}: {why}: free some space"
    assert list(tmp_path.iterdir()) == []


def test_a_really_full_device_is_a_sentence(tmp_path):
    code = f"""
import resource
from se4lip.io.files import write_bytes
from se4lip.types import InputError
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
try:
    write_bytes({str(tmp_path / "out.bin")!r}, bytes(2000))
except InputError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == f"cannot write {tmp_path / 'out.bin'}: file too large: free some space\n"
    assert list(tmp_path.iterdir()) == []


def test_a_place_that_cannot_be_written_is_a_sentence(tmp_path):
    (tmp_path / "file").touch()
    (tmp_path / "folder").mkdir()
    inside = tmp_path / "file" / "out.txt"
    assert said(write_bytes, inside, b"") == (
        f"cannot write {inside}: not a directory: choose another output"
    )
    folder = tmp_path / "folder"
    assert said(write_bytes, folder, b"") == (
        f"cannot write {folder}: is a directory: choose another output"
    )
    assert said(writable_folder, tmp_path / "file") == (
        f"cannot write to {tmp_path / 'file'}: not a directory: choose another output"
    )
    assert said(write_bytes, "/proc/se4lip/out.txt", b"").startswith("cannot write /proc/se4lip/")
    assert said(writable_folder, "/proc/se4lip").startswith("cannot write to /proc/se4lip: ")


def test_a_link_goes_on_leading_where_it_led(tmp_path):
    (tmp_path / "there").mkdir()
    goal, link = tmp_path / "there" / "a.json", tmp_path / "link.json"
    for content in (1, 2):  # leading nowhere first, then to a file
        link.unlink(missing_ok=True)
        link.symlink_to(goal)
        write_json(link, content)
        assert link.is_symlink()
        assert read_json(goal, "it") == content


def test_a_pipe_is_told_as_such_and_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(InputError, match=r"it is a pipe or a device, which cannot be read twice"):
        existing_file(tmp_path / "pipe", "audio")


def test_what_was_left_behind_is_known_by_its_name_whatever_is_in_it():
    assert is_temporary(Path(".a\nb.12-34.part.json"))
    assert not is_temporary(Path("a.part.json"))


def test_json_nested_beyond_reason_is_damaged(tmp_path):
    (tmp_path / "deep.json").write_text("[" * 100_000)
    with pytest.raises(InputError, match="is damaged, it is not JSON"):
        read_json(tmp_path / "deep.json", "it")


def test_asking_whether_a_folder_can_be_written_leaves_nothing(tmp_path):
    (tmp_path / "there").mkdir()
    assert writable_folder(tmp_path / "there") == tmp_path / "there"
    writable_folder(tmp_path / "a" / "b" / "c")
    assert list(tmp_path.rglob("*")) == [tmp_path / "there"]


def test_inputs_are_checked_in_a_sentence(tmp_path):
    missing, empty = tmp_path / "missing", tmp_path / "empty"
    empty.touch()
    assert said(existing_file, missing, "model") == (
        f"cannot read model {missing}: no such file or directory: check the path"
    )
    assert said(existing_file, empty, "model") == (
        f"model {empty} is empty (0 bytes): fetch or make it again"
    )
    assert said(existing_file, tmp_path, "model") == (
        f"cannot read model {tmp_path}: is a directory: check the path"
    )


def test_json_survives_the_way_there_and_back(tmp_path):
    value = {"name": "Zoë", "numbers": [1, 2.5, None]}
    write_json(tmp_path / "a.json", value)
    assert read_json(tmp_path / "a.json", "index") == value
    assert json.loads((tmp_path / "a.json").read_text()) == value
    (tmp_path / "a.json").write_text("{")
    assert said(read_json, tmp_path / "a.json", "index") == (
        f"index {tmp_path / 'a.json'} is damaged, it is not JSON: make it again"
    )


def test_arrays_are_written_under_exactly_their_name(tmp_path):
    array = np.arange(6, dtype=np.float32).reshape(2, 3)
    write_array(tmp_path / "features", array)
    np.testing.assert_array_equal(np.load(tmp_path / "features"), array)
    with pytest.raises(ValueError, match="objects would have to be pickled"):
        write_array(tmp_path / "objects.npy", np.array([object()]))
    assert [p.name for p in tmp_path.iterdir()] == ["features"]


def test_rows_may_be_written_one_by_one(tmp_path):
    rows = np.arange(3000, dtype=np.float32).reshape(1000, 3)
    with array_writer(tmp_path / "a.npy", np.float32, (3,)) as append:
        for start in range(0, 1000, 7):
            append(rows[start : start + 7])
    write_array(tmp_path / "b.npy", rows)
    np.testing.assert_array_equal(np.load(tmp_path / "a.npy"), rows)
    assert (tmp_path / "a.npy").read_bytes() == (tmp_path / "b.npy").read_bytes()


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("shape", [(0, 512), (5,), (2, 3, 4), (3, 0)])
def test_arrays_of_any_shape_and_order_come_back(shape, order, tmp_path):
    array = np.random.default_rng(0).standard_normal(shape).astype(np.float32, order=order)
    write_array(tmp_path / "a.npy", array)
    np.testing.assert_array_equal(np.load(tmp_path / "a.npy"), array)


@pytest.mark.parametrize("content", ["zip", "cut zip", "huge", "text"])
def test_what_is_no_array_is_told_in_a_sentence(content, tmp_path):
    path = tmp_path / "a.npy"
    with path.open("wb") as file:
        if content == "huge":
            header = {"descr": "<f4", "fortran_order": False, "shape": (1 << 50, 512)}
            np.lib.format.write_array_header_1_0(file, header)
        elif content == "zip":
            np.savez(file, a=np.zeros(3))
        else:
            file.write({"cut zip": b"PK\x03\x04", "text": b"1 2 3"}[content])
    with pytest.raises(InputError, match=r"is damaged or no .npy file: write it again"):
        read_array(path, "feature file")


def test_sha256_is_that_of_the_bytes(tmp_path):
    (tmp_path / "abc").write_bytes(b"abc")  # FIPS 180-2, example B.1
    assert sha256_of(tmp_path / "abc") == (
        "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    )
