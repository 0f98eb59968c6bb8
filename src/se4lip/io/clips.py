"""One prepared clip on disk: tensors in a safetensors file (docs/dataset-format.md)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy
from jaxtyping import Float32, UInt8
from safetensors import SafetensorError

from se4lip.io.audio import pcm16
from se4lip.io.files import existing_file, write_bytes
from se4lip.types import BLENDSHAPES, LANDMARKS, SAMPLES_PER_FRAME, FaceTrack, InputError

FORMAT = "se4lip-dataset"
VERSION = 1
CLIPS = "clips"
_AGAIN = "delete it and prepare the data set again"


def clip_file(path: Path | str, name: str) -> Path:
    """Where clip ``name`` of data set folder ``path`` lies."""
    return Path(path) / CLIPS / f"{name}.safetensors"


def write_clip(
    path: Path | str,
    name: str,
    speech: Float32[np.ndarray, " S"],
    lips: UInt8[np.ndarray, "T H W 3"],
    track: FaceTrack,
    metadata: dict[str, Any],
) -> None:
    """Write one clip into data set folder ``path``, whole or not at all. ``speech`` is as found.

    Raises:
        InputError: it cannot be written.
    """
    tensors = {
        "speech": pcm16(speech),
        "lips": np.ascontiguousarray(lips),
        "landmarks_px": np.ascontiguousarray(track.landmarks_px),
        "blendshapes": np.ascontiguousarray(track.blendshapes),
        "camera_from_face": np.ascontiguousarray(track.camera_from_face),
    }
    header = {
        "format": f"{FORMAT}-clip",
        "version": VERSION,
        "name": name,
        "width_px": track.width_px,
        "height_px": track.height_px,
        **metadata,
    }
    content = safetensors.numpy.save(tensors, {"se4lip": json.dumps(header)})
    write_bytes(clip_file(path, name), content)


def read_clip(file: Path, frames: int) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Tensors and metadata of a clip of so many frames.

    Raises:
        InputError: missing, damaged, newer, or of another length or shape.
    """
    if not file.exists():
        raise InputError(f"clip {file} is missing: prepare the data set again")
    content = existing_file(file, "clip").read_bytes()
    try:
        tensors = safetensors.numpy.load(content)
        size = int.from_bytes(content[:8], "little")
        header = _header(content[8 : 8 + size])
        if header["format"] != f"{FORMAT}-clip":
            raise ValueError
        header["width_px"], header["height_px"] = int(header["width_px"]), int(header["height_px"])
    except (SafetensorError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"clip {file} is damaged: {_AGAIN}") from error
    check_version(header, f"clip {file}", _AGAIN)
    _check_tensors(file, tensors, frames)
    return tensors, header


def is_whole(file: Path) -> bool:
    """Whether a clip is there and as long as its head says: no promise of its numbers."""
    try:
        with file.open("rb") as opened:
            size = int.from_bytes(opened.read(8), "little")
            parts = json.loads(opened.read(size % (1 << 24)))
        ends = [one["data_offsets"][1] for name, one in parts.items() if name != "__metadata__"]
        return file.stat().st_size == 8 + size + max(ends)
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return False


def read_size_px(file: Path) -> tuple[int, int]:
    """Width and height of the pictures a clip was made of, without its tensors.

    Raises:
        InputError: missing or damaged.
    """
    try:
        with existing_file(file, "clip").open("rb") as opened:
            head = opened.read(int.from_bytes(opened.read(8), "little") % (1 << 24))
        header = _header(head)
        return int(header["width_px"]), int(header["height_px"])
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"clip {file} is damaged: {_AGAIN}") from error


def _header(head: bytes) -> dict[str, Any]:
    """What `write_clip` has put into the head of a safetensors file."""
    return json.loads(json.loads(head)["__metadata__"]["se4lip"])


def check_version(found: dict[str, Any], what: str, remedy: str) -> None:
    """Raises: InputError when the version in ``found`` is newer than this program, or none."""
    version = found.get("version")
    if not isinstance(version, int):
        raise InputError(f"{what} is damaged, its version is {version!r}: {remedy}")
    if version > VERSION:
        raise InputError(
            f"{what} is of version {version}, this se4lip reads up to {VERSION}: update se4lip"
        )


_ROWS: dict[str, tuple[int | str, ...]] = {  # of one row; letters stand for any length above 0
    "speech": (),
    "lips": ("H", "W", 3),
    "landmarks_px": (LANDMARKS, 3),
    "blendshapes": (BLENDSHAPES,),
    "camera_from_face": (4, 4),
}


def _check_tensors(file: Path, tensors: dict[str, np.ndarray], frames: int) -> None:
    types = {"speech": np.int16, "lips": np.uint8}
    for name, row in _ROWS.items():
        count = SAMPLES_PER_FRAME * frames if name == "speech" else frames
        found = tensors.get(name)
        if found is None or len(found) != count or found.dtype != types.get(name, np.float32):
            raise InputError(
                f"clip {file} is damaged, {name} does not fit its {frames} frames: {_AGAIN}"
            )
        if not _fits(found.shape[1:], row):
            raise InputError(
                f"clip {file} is damaged, {name} has the shape {list(found.shape)}, but "
                f"[{', '.join(map(str, (count, *row)))}] is needed: {_AGAIN}"
            )
        if not np.isfinite(found).all():
            raise InputError(f"clip {file} is damaged, {name} holds NaN: {_AGAIN}")


def _fits(shape: tuple[int, ...], wanted: tuple[int | str, ...]) -> bool:
    return len(shape) == len(wanted) and all(
        have > 0 if isinstance(want, str) else have == want
        for have, want in zip(shape, wanted, strict=True)
    )
