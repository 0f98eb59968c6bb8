"""Features with a note of who wrote them: ``talk.npy`` and, beside it, ``talk.json``.

An array of numbers does not say which encoder it is of, and a head that is given another's opens
its mouth at random. The note says it, and holds a checksum, so that it cannot speak for other rows.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32

from se4lip.io.files import array_writer, atomic, read_json, writable_files
from se4lip.types import FRAME_RATE_HZ, InputError

FORMAT = "se4lip-features"
VERSION = 1

Rows = Float32[np.ndarray, "T D"]


@dataclass(frozen=True)
class Author:
    """Whose features they are: their kind, and name and SHA-256 of the weights."""

    features: str
    name: str
    sha256: str


def note_of(features: Path | str) -> Path:
    """Where the note of a ``.npy`` file lies: the same name, ending in ``.json``."""
    return Path(features).with_suffix(".json")


def writable_features(path: Path | str, reading: Iterable[Path | str | None] = ()) -> None:
    """Prove that features and their note can be written, before hours of work.

    Raises:
        InputError: not a ``.npy``, the place cannot be written or is one of ``reading``, or a
            ``.json`` of somebody else is in the way.
    """
    if not Path(path).name:  # "." or "/", beside which no note can be called so
        raise InputError(f"cannot write {path}: is a directory: choose another output")
    note = note_of(path)
    writable_files(path, note, reading=reading)
    if Path(path).suffix.lower() != ".npy":
        raise InputError(
            f"{path} does not end in .npy, and that is what features are: give -o FEATURES.npy"
        )
    if note.exists() and not _is_note(note):
        raise InputError(
            f"{note} is there and is no note of se4lip, but one is written beside {path}: "
            "choose another output, or move it away"
        )


@contextlib.contextmanager
def features_writer(
    path: Path | str, author: Author, width: int
) -> Iterator[Callable[[Rows], None]]:
    """Yield a function that appends rows to a ``.npy`` file of float32; at the end the note is
    written beside it. Each is whole or not there; of a kill between the two remain rows whose note
    is missing or of others, which nobody believes.

    Raises:
        InputError: as ``writable_features``, or the disk is full.
    """
    writable_features(path)
    note, digest, rows = note_of(path), hashlib.sha256(), 0
    with atomic(note) as note_part, array_writer(path, np.float32, (width,)) as append_rows:

        def append(piece: Rows) -> None:
            nonlocal rows
            append_rows(piece)
            digest.update(_content(piece))
            rows += len(piece)

        yield append
        content = {
            "format": FORMAT,
            "version": VERSION,
            "encoder": asdict(author),
            "rate_hz": FRAME_RATE_HZ,
            "rows": rows,
            "width": width,
            "rows_sha256": digest.hexdigest(),
        }
        text = json.dumps(content, indent=1, ensure_ascii=False) + "\n"
        note_part.write_bytes(text.encode("utf-8", "backslashreplace"))


def author_of(path: Path | str, rows: Rows) -> Author:
    """Who wrote the features ``rows`` of the file ``path``, as the note beside it says.

    Raises:
        InputError: there is no note, it is damaged or newer, or it is about other rows.
    """
    note = note_of(path)
    if not note.is_file():
        raise InputError(
            f"nobody knows whose features {path} holds, it has no {note.name} beside it: write "
            "both with `se4lip encode`, or give --unchecked to take them on your word"
        )
    found = read_json(note, "note of features")
    again = "write both with `se4lip encode` again"
    if not _has_format(found):
        raise InputError(f"{note} is no note of the features beside it: {again}")
    if isinstance(found.get("version"), int) and found["version"] > VERSION:
        raise InputError(
            f"{note} is of version {found['version']}, this se4lip reads up to {VERSION}: "
            "update se4lip"
        )
    try:
        author = Author(**{key: str(value) for key, value in found["encoder"].items()})
        rate_hz, digest = found["rate_hz"], found["rows_sha256"]
    except (KeyError, TypeError, AttributeError) as error:
        raise InputError(f"note of features {note} is damaged: {again}") from error
    if rate_hz != FRAME_RATE_HZ:
        raise InputError(
            f"{path} has {rate_hz} rows a second, but {FRAME_RATE_HZ} are needed: {again}"
        )
    if digest != hashlib.sha256(_content(rows)).hexdigest():
        raise InputError(
            f"{note} is about other features than {path} holds now: {again}, or give --unchecked "
            "to take them on your word"
        )
    return author


def _content(rows: Rows) -> memoryview:
    return np.ascontiguousarray(rows, "<f4").data


def _is_note(path: Path) -> bool:
    try:
        return _has_format(read_json(path, "note of features"))
    except InputError:
        return False


def _has_format(found: Any) -> bool:
    return isinstance(found, dict) and found.get("format") == FORMAT
