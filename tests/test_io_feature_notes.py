"""Features and the note beside them, which never speaks for other rows."""

import errno
import json
import os

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from se4lip.io.feature_notes import Author, author_of, features_writer, writable_features
from se4lip.types import InputError

AUTHOR = Author("se4lip", "small", "ab" * 32)


def rows(count, seed=0, width=4):
    return np.random.default_rng(seed).normal(size=(count, width)).astype(np.float32)


def written(folder, *pieces):
    path = folder / "talk.npy"
    with features_writer(path, AUTHOR, 4) as append:
        for piece in pieces:
            append(piece)
    return path


def said(call, *arguments) -> str:
    with pytest.raises(InputError) as caught:
        call(*arguments)
    return str(caught.value)


@given(sizes=st.lists(st.integers(0, 5), max_size=4))
@settings(max_examples=30, deadline=None)
def test_the_author_comes_back_however_the_rows_came(sizes, tmp_path_factory):
    pieces = [rows(size, seed) for seed, size in enumerate(sizes)]
    path = written(tmp_path_factory.mktemp("notes"), *pieces)
    whole = np.concatenate([rows(0), *pieces])
    found = np.load(path, allow_pickle=False)
    np.testing.assert_array_equal(found, whole)
    assert author_of(path, found) == AUTHOR
    assert author_of(path, np.asfortranarray(found)) == AUTHOR  # numbers count, not their layout


def test_the_note_is_what_the_documents_say(tmp_path):
    path = written(tmp_path, rows(3))
    note = json.loads(path.with_suffix(".json").read_text())
    assert note.pop("rows_sha256")
    assert note == {
        "format": "se4lip-features",
        "version": 1,
        "encoder": {"features": "se4lip", "name": "small", "sha256": "ab" * 32},
        "rate_hz": 25,
        "rows": 3,
        "width": 4,
    }


def test_rows_of_nobody_and_changed_rows_are_refused(tmp_path):
    path = tmp_path / "rnd.npy"
    np.save(path, rows(3))
    assert said(author_of, path, rows(3)) == (
        f"nobody knows whose features {path} holds, it has no rnd.json beside it: write both with "
        "`se4lip encode`, or give --unchecked to take them on your word"
    )
    path = written(tmp_path, rows(3))
    other = rows(3)
    other[1, 2] = np.nextafter(other[1, 2], np.float32(9))
    assert said(author_of, path, other) == (
        f"{path.with_suffix('.json')} is about other features than {path} holds now: write both "
        "with `se4lip encode` again, or give --unchecked to take them on your word"
    )


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"format": "other"}, "is no note of the features beside it"),
        ({"version": 2}, "is of version 2, this se4lip reads up to 1: update se4lip"),
        ({"encoder": {"name": "small"}}, "is damaged: write both with"),
        ({"encoder": ["small"]}, "is damaged: write both with"),
        ({"encoder": {"a": 1, "b": 2, "c": 3}}, "is damaged: write both with"),
        ({"rate_hz": 50}, "has 50 rows a second, but 25 are needed"),
        ({"rows_sha256": None}, "is about other features than"),
    ],
)
def test_a_note_that_cannot_be_believed(change, sentence, tmp_path):
    path = written(tmp_path, rows(3))
    note = path.with_suffix(".json")
    note.write_text(json.dumps(json.loads(note.read_text()) | change))
    assert sentence in said(author_of, path, rows(3))
    note.write_text("[")
    assert said(author_of, path, rows(3)) == (
        f"note of features {note} is damaged, it is not JSON: make it again"
    )


@pytest.mark.parametrize("failing", [1, 2])
def test_a_full_disk_leaves_nothing_that_is_believed(failing, tmp_path, monkeypatch):
    path = written(tmp_path, rows(3))
    before = {file: file.read_bytes() for file in tmp_path.iterdir()}
    sync, calls = os.fsync, []

    def full(descriptor):
        calls.append(descriptor)
        if len(calls) == failing:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        sync(descriptor)

    monkeypatch.setattr("os.fsync", full)
    assert said(written, tmp_path, rows(5)).endswith("no space left on device: free some space")
    if failing == 1:
        assert {file: file.read_bytes() for file in tmp_path.iterdir()} == before
    else:  # the note is the last thing written: without it the rows are not believed
        assert "is about other features" in said(author_of, path, np.load(path))
    assert len(list(tmp_path.iterdir())) == 2


def test_a_file_of_somebody_else_is_not_overwritten(tmp_path):
    (tmp_path / "talk.json").write_text('{"text": "what was said"}')
    path = tmp_path / "talk.npy"
    assert said(written, tmp_path, rows(3)) == (
        f"{tmp_path / 'talk.json'} is there and is no note of se4lip, but one is written beside "
        f"{path}: choose another output, or move it away"
    )
    assert [file.name for file in tmp_path.iterdir()] == ["talk.json"]
    assert said(writable_features, tmp_path / "x.json") == (
        f"{tmp_path / 'x.json'} does not end in .npy, and that is what features are: give -o "
        "FEATURES.npy"
    )
