"""Prepared clips on disk, described in docs/dataset-format.md.

A data set is a folder: ``dataset.json`` lists sources and clips, ``clips/NAME.safetensors`` holds
one clip each. The recordings themselves stay where they are and are found by ``frames``.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
from jaxtyping import Float32, UInt8

from se4lip.io.clips import CLIPS, clip_file, is_whole, read_clip, read_size_px, write_clip
from se4lip.io.dataset_index import (
    INDEX,
    LARGEST_OFFSET_FRAMES,
    ClipEntry,
    Index,
    SkippedEntry,
    SourceEntry,
    read_index,
    write_index,
)
from se4lip.io.files import is_temporary, only_one
from se4lip.io.video import read_frames
from se4lip.types import (
    FRAME_RATE_HZ,
    SAMPLES_PER_FRAME,
    Clip,
    FaceTrack,
    InputError,
    Speech,
)

__all__ = [
    "CLIPS",
    "INDEX",
    "ClipEntry",
    "Dataset",
    "Index",
    "SkippedEntry",
    "SourceEntry",
    "clip_file",
    "is_whole",
    "open_dataset",
    "read_index",
    "set_av_offset",
    "set_av_offsets",
    "sweep",
    "write_clip",
    "write_index",
]


class Dataset:
    """A prepared data set, read clip by clip. Iterating yields every clip in order of its name."""

    def __init__(self, path: Path, index: Index) -> None:
        self.path = path
        self.index = index
        self._entries = {
            clip.name: (source, clip) for source in index.sources for clip in source.clips
        }
        self.names: tuple[str, ...] = tuple(sorted(self._entries))
        # Also those of which no clip could be made: a split by recordings must count them all.
        self.recordings: tuple[str, ...] = tuple(sorted(entry.name for entry in index.sources))

    def __repr__(self) -> str:
        hours = sum(self.frame_count(name) for name in self.names) / FRAME_RATE_HZ / 3600
        return f"Dataset({self.path}: {len(self)} clips, {hours:.2f} h)"

    def __len__(self) -> int:
        return len(self.names)

    @property
    def name(self) -> str:
        """What the folder is called."""
        return self.path.resolve().name

    def __iter__(self) -> Iterator[Clip]:
        return (self.clip(name) for name in self.names)

    def frame_count(self, name: str) -> int:
        """Frames of a clip, without opening it."""
        return self._entry(name)[1].frames

    def source(self, name: str) -> SourceEntry:
        """The recording a clip was cut from."""
        return self._entry(name)[0]

    def clip(self, name: str, as_recorded: bool = False) -> Clip:
        """One clip. The sound is moved by the source's stored offset, so that it fits the lips.

        With ``as_recorded`` it stays where it was found. ``speech`` has exactly ``640 T`` samples;
        what moves in from outside the clip is silence.

        Raises:
            InputError: there is no such clip, or its file is missing or damaged.
        """
        source, entry = self._entry(name)
        tensors, metadata = read_clip(clip_file(self.path, name), entry.frames)
        samples = tensors["speech"].astype(np.float32) / 32768
        offset = 0.0 if as_recorded else source.av_offset_frames
        shift = round(offset * SAMPLES_PER_FRAME)
        return Clip(
            name=name,
            source=source.source,
            speech=Speech(_moved_earlier(samples, shift)),
            lips=tensors["lips"],
            track=FaceTrack(
                landmarks_px=tensors["landmarks_px"],
                blendshapes=tensors["blendshapes"],
                camera_from_face=tensors["camera_from_face"],
                width_px=metadata["width_px"],
                height_px=metadata["height_px"],
            ),
            av_offset_frames=offset,
        )

    def frames(
        self, name: str, videos: Path | str | None = None
    ) -> Iterator[UInt8[np.ndarray, "H W 3"]]:
        """The source pictures of a clip, one a frame, read again from the recording.

        ``videos`` is the folder that holds the recordings now, if they have moved.

        Raises:
            InputError: the recording is not there, or not the one that was prepared.
        """
        source, entry = self._entry(name)
        recording = self._recording(source, videos)
        folder = os.path.normpath(videos or self.path / source.folder)
        if not recording.is_file():
            raise InputError(
                f"the recording {source.source} of clip {name} is not in {folder}: "
                "pass the folder it is in now (videos, --videos)"
            )
        if recording.stat().st_size != source.size_bytes:
            raise InputError(
                f"the recording {recording} has {recording.stat().st_size} bytes, "
                f"{source.size_bytes} when clip {name} was prepared: prepare it again"
            )
        return self._checked(name, recording, entry)

    def _checked(
        self, name: str, recording: Path, entry: ClipEntry
    ) -> Iterator[UInt8[np.ndarray, "H W 3"]]:
        width_px, height_px = read_size_px(clip_file(self.path, name))
        for frame in itertools.islice(read_frames(recording, entry.start_frame), entry.frames):
            if frame.shape[:2] != (height_px, width_px):
                raise InputError(
                    f"the pictures of {recording} are {frame.shape[1]}x{frame.shape[0]}, and were "
                    f"{width_px}x{height_px} when clip {name} was prepared: prepare it again"
                )
            yield frame

    def files(self, videos: Path | str | None = None) -> list[Path]:
        """Where its recordings are looked for; see ``frames``."""
        return [self._recording(source, videos) for source in self.index.sources]

    def _recording(self, source: SourceEntry, videos: Path | str | None) -> Path:
        return (self.path / source.folder if videos is None else Path(videos)) / source.source

    def _entry(self, name: str) -> tuple[SourceEntry, ClipEntry]:
        try:
            return self._entries[name]
        except KeyError:
            raise InputError(f"data set {self.path} has no clip {name!r}: see its names") from None


def open_dataset(path: Path | str) -> Dataset:
    """Open a data set folder; clips are read when asked for.

    Raises:
        InputError: no data set, a newer version, or damaged.
    """
    return Dataset(Path(path), read_index(path))


def sweep(path: Path | str) -> None:
    """Remove clips that no source lists any more, and what killed writers have left."""
    listed = {clip.name for source in read_index(path).sources for clip in source.clips}
    for file in (Path(path) / CLIPS).iterdir():
        is_clip = file.suffix == ".safetensors"
        if is_clip and file.name.removesuffix(".safetensors") in listed:
            continue
        if is_clip or is_temporary(file):
            file.unlink(missing_ok=True)


def set_av_offset(path: Path | str, frames: float, name: str | None = None) -> None:
    """Record that the sound lies ``frames`` late (early if negative), for one recording or for all.

    ``name`` is a ``SourceEntry.name``: two folders may hold recordings of one file name. The sound
    of every clip is moved earlier by as much when it is loaded, to the nearest sample.

    Raises:
        InputError: no such data set or recording, or an offset that is no number.
    """
    names = [entry.name for entry in read_index(path).sources] if name is None else [name]
    set_av_offsets(path, dict.fromkeys(names, frames))


def set_av_offsets(path: Path | str, frames: Mapping[str, float]) -> None:
    """``set_av_offset`` of several recordings by name, all or none.

    Raises:
        InputError: as ``set_av_offset``.
    """
    wrong = next((one for one in frames.values() if not abs(one) <= LARGEST_OFFSET_FRAMES), None)
    if wrong is not None:
        raise InputError(
            f"an offset of {wrong} frames was given, but -{LARGEST_OFFSET_FRAMES} to "
            f"{LARGEST_OFFSET_FRAMES} are needed: give another, such as 1.0"
        )
    unknown = frames.keys() - {entry.name for entry in read_index(path).sources}
    if unknown:
        raise InputError(
            f"data set {path} has no recording named {min(unknown)!r}: see the names in its {INDEX}"
        )
    with only_one(Path(path), "data set"):
        index = read_index(path)
        changed = tuple(
            replace(entry, av_offset_frames=float(frames.get(entry.name, entry.av_offset_frames)))
            for entry in index.sources
        )
        write_index(path, replace(index, sources=changed))


def _moved_earlier(samples: Float32[np.ndarray, " S"], shift: int) -> Float32[np.ndarray, " S"]:
    moved = np.zeros_like(samples)
    kept = max(0, len(samples) - abs(shift))
    if shift >= 0:
        moved[:kept] = samples[len(samples) - kept :]
    else:
        moved[len(samples) - kept :] = samples[:kept]
    return moved
