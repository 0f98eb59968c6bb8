"""``dataset.json``: which recordings and clips a data set has, and how they were made."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from se4lip.io.clips import FORMAT, VERSION, check_version
from se4lip.io.files import read_json, write_json
from se4lip.types import FRAME_RATE_HZ, InputError

INDEX = "dataset.json"
_ANEW = "prepare the data set anew, into another folder"
LARGEST_OFFSET_FRAMES = 90_000  # an hour
_KINDS = {str: "text", int: "whole number", dict: "table"}
T = TypeVar("T")


@dataclass(frozen=True)
class ClipEntry:
    """One line of the list of clips. ``start_frame`` counts grid frames of the source."""

    name: str
    start_frame: int
    frames: int
    filled_frames: int = 0  # without a face of their own, interpolated


@dataclass(frozen=True)
class SkippedEntry:
    """A clip, or a whole source, that was not prepared, and why."""

    name: str
    reason: str


@dataclass(frozen=True)
class SourceEntry:
    """One recording. ``source`` is its path inside ``folder``, and ``folder`` lies beside the data
    set: both with forward slashes, ``folder`` relative to the data set's own folder. ``name`` is
    what its clips are called: a single one so, several with ``-0001`` and so on behind it."""

    name: str
    source: str
    folder: str
    size_bytes: int
    sha256: str
    clips: tuple[ClipEntry, ...] = ()
    skipped: tuple[SkippedEntry, ...] = ()
    av_offset_frames: float = 0.0


@dataclass(frozen=True)
class Index:
    """What ``dataset.json`` holds besides format and version."""

    settings: dict[str, Any] = field(default_factory=dict)
    sources: tuple[SourceEntry, ...] = ()


def read_index(path: Path | str) -> Index:
    """The checked content of ``dataset.json`` in folder ``path``; see ``dataset.open_dataset``."""
    file = Path(path) / INDEX
    if not file.is_file():
        raise InputError(
            f"{path} is no data set, it has no {INDEX}: make one with `se4lip prepare`"
        )
    found = read_json(file, "data set index", _ANEW)
    if not isinstance(found, dict) or found.get("format") != FORMAT:
        raise InputError(f"{file} is no index of a se4lip data set: make one with `se4lip prepare`")
    check_version(found, f"data set {path}", _ANEW)
    try:
        index = Index(_of(dict, found["settings"]), tuple(map(_source, found["sources"])))
        if found["frame_rate_hz"] != FRAME_RATE_HZ:
            raise ValueError(f"frame_rate_hz is {found['frame_rate_hz']}")
        _all_different([source.name for source in index.sources])
        _all_different([clip.name for source in index.sources for clip in source.clips])
        return index
    except KeyError as error:
        raise InputError(
            f"data set index {file} is damaged, {error} is missing: {_ANEW}"
        ) from error
    except (AttributeError, OverflowError, TypeError, ValueError) as error:
        raise InputError(f"data set index {file} is damaged, {error}: {_ANEW}") from error


def _all_different(names: list[str]) -> None:
    twice = {name for name in names if names.count(name) > 1} if len({*names}) < len(names) else ()
    if twice:
        raise ValueError(f"{min(twice)!r} is there twice")


def _source(entry: dict[str, Any]) -> SourceEntry:
    offset = float(entry["av_offset_frames"])
    if not abs(offset) <= LARGEST_OFFSET_FRAMES:  # nor NaN
        raise ValueError(f"av_offset_frames is {offset:g}")
    return SourceEntry(
        name=_of(str, entry["name"]),
        source=_of(str, entry["source"]),
        folder=_of(str, entry["folder"]),
        size_bytes=_count(entry["size_bytes"]),
        sha256=_of(str, entry["sha256"]),
        clips=tuple(
            ClipEntry(
                _file_name(clip["name"]),
                _count(clip["start_frame"]),
                _count(clip["frames"]),
                _count(clip["filled_frames"]),
            )
            for clip in entry["clips"]
        ),
        skipped=tuple(
            SkippedEntry(_of(str, one["name"]), _of(str, one["reason"])) for one in entry["skipped"]
        ),
        av_offset_frames=offset,
    )


def _of(kind: type[T], value: Any) -> T:
    if not isinstance(value, kind):
        raise TypeError(f"{value!r} is no {_KINDS[kind]}")
    return value


def _file_name(value: Any) -> str:
    if not _of(str, value) or "/" in value or "\\" in value or value in {".", ".."}:
        raise ValueError(f"{value!r} is no name of a clip")
    return str(value)


def _count(value: Any) -> int:
    if isinstance(value, bool) or _of(int, value) < 0:
        raise ValueError(f"{value} is no count")
    return int(value)


def write_index(path: Path | str, index: Index) -> None:
    """Write ``dataset.json`` into folder ``path``, whole or not at all.

    Raises:
        InputError: it cannot be written.
    """
    write_json(
        Path(path) / INDEX,
        {
            "format": FORMAT,
            "version": VERSION,
            "frame_rate_hz": FRAME_RATE_HZ,
            "settings": index.settings,
            "sources": [
                {
                    "name": source.name,
                    "source": source.source,
                    "folder": source.folder,
                    "size_bytes": source.size_bytes,
                    "sha256": source.sha256,
                    "av_offset_frames": source.av_offset_frames,
                    "clips": [
                        {
                            "name": clip.name,
                            "start_frame": clip.start_frame,
                            "frames": clip.frames,
                            "filled_frames": clip.filled_frames,
                            "duration_s": clip.frames / FRAME_RATE_HZ,
                        }
                        for clip in source.clips
                    ],
                    "skipped": [{"name": s.name, "reason": s.reason} for s in source.skipped],
                }
                for source in index.sources
            ],
        },
    )
