"""Recordings become a data set: tracked faces, stabilised lips and sound on one time base.

Every source is worked through by itself, in parallel, and recorded in ``dataset.json`` when it is
done, so that an interrupted run goes on where it stopped.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import os
import re
import time
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from se4lip.face.tracker import MediaPipeTracker
from se4lip.io import dataset as store
from se4lip.io.dataset import Index, SkippedEntry, SourceEntry
from se4lip.io.files import existing_file, is_temporary, only_one, sha256_of, writable_folder
from se4lip.io.models import FACE_LANDMARKER_SHA256, face_landmarker
from se4lip.io.pictures import contact_sheet, save_picture
from se4lip.prepare.pool import TrackerFactory, worked
from se4lip.prepare.source import Job, PrepareConfig
from se4lip.types import FRAME_RATE_HZ, InputError

# fmt: off
VIDEO_SUFFIXES = frozenset({
    ".3g2", ".3gp", ".asf", ".avi", ".dv", ".f4v", ".flv", ".m2ts", ".m2v", ".m4v", ".mkv", ".mov",
    ".mp4", ".mpeg", ".mpg", ".mts", ".mxf", ".ogm", ".ogv", ".qt", ".ts", ".vob", ".webm", ".wmv",
})
# fmt: on
CONTACT_SHEET = "contact-sheet.png"
_SAVE_EVERY_S = 5.0
_NUMBERED = re.compile(r"(.*)-\d{4,}")  # the name of a clip of many, or a name that looks like one
_LONGEST_NAME_BYTES = 160  # of the 255 that file systems have

Key = tuple[str, str]  # folder of a recording and its path inside
_SHEET_ROWS, _SHEET_COLUMNS = 24, 8


@dataclass(frozen=True)
class Prepared:
    """What a run has brought about, for the sources it was given; ``skipped`` also names clips of
    others whose files are gone."""

    clips: int
    frames: int
    filled_frames: int
    sources_reused: int
    skipped: tuple[SkippedEntry, ...]
    contact_sheet: Path
    elapsed_s: float


def mediapipe_tracker(model: Path | None = None) -> MediaPipeTracker:
    """MediaPipe with the face landmarker that ``io.models`` finds."""
    return MediaPipeTracker(face_landmarker(model), FACE_LANDMARKER_SHA256)


def prepare(
    sources: Sequence[Path | str],
    out: Path | str,
    config: PrepareConfig = PrepareConfig(),  # noqa: B008  (frozen)
    *,
    tracker: TrackerFactory = mediapipe_tracker,
    workers: int = 1,
    on_source: Callable[[SourceEntry], None] = lambda entry: None,
    on_progress: Callable[[float], None] = lambda share: None,
) -> Prepared:
    """Make or complete the data set ``out`` from videos and folders of videos.

    ``tracker`` makes a tracker in each worker process, so it must be picklable; one worker is this
    process. ``on_source`` is told of each source that is done, ``on_progress`` the share of the
    work that is done, in [0, 1].

    Raises:
        InputError: nothing to prepare, an unwritable ``out``, or not a single usable clip.
    """
    began_s = time.monotonic()
    if workers < 1:
        raise InputError(f"{workers} workers prepare nothing: give at least one")
    out = Path(out)
    recordings, nowhere = _recordings(sources)
    _known(out)
    writable_folder(out)
    fresh = not out.exists()
    out.mkdir(parents=True, exist_ok=True)
    with only_one(out, "data set"):
        try:
            first_tracker = tracker()
            save = _Saver.of(out, {"prepare": asdict(config), "tracker": first_tracker.name})
            wanted = _keys(recordings, out, save.entries)
            _take_up_renamed(recordings, wanted, out, save.entries)
            jobs = _jobs(recordings, wanted, save.entries, out, config)
            work = worked(jobs, tracker, first_tracker, workers, on_progress)
            with contextlib.closing(work):
                _save_all(work, jobs, save, on_source)
            done = [save.entries[key] for key in wanted]
            skipped = (*nowhere, *(skip for entry in done for skip in entry.skipped))
            clips = [clip for entry in done for clip in entry.clips]
            if not clips:
                more = f" (and {len(skipped) - 1} more)" if len(skipped) > 1 else ""
                raise InputError(
                    f"not one clip could be prepared: {skipped[0].name}: {skipped[0].reason}{more}"
                )
            store.sweep(out)
            sheet = out / CONTACT_SHEET
            lost = tuple(_lost(out, save.entries.values()))
            save_picture(sheet, _sheet(out, {one.name for one in lost}))
            return Prepared(
                clips=len(clips),
                frames=sum(clip.frames for clip in clips),
                filled_frames=sum(clip.filled_frames for clip in clips),
                sources_reused=len(recordings) - len(jobs),
                skipped=skipped + lost,
                contact_sheet=sheet,
                elapsed_s=time.monotonic() - began_s,
            )
        finally:
            if fresh:
                with contextlib.suppress(OSError):  # they hold something: good
                    (out / store.CLIPS).rmdir()
                with contextlib.suppress(OSError):
                    out.rmdir()


def _save_all(
    work: Iterator[SourceEntry],
    jobs: Sequence[Job],
    save: _Saver,
    on_source: Callable[[SourceEntry], None],
) -> None:
    """Take what comes out of ``work`` into the index; what is known of a recording stays."""
    entries = save.entries
    before = {job.key: entries[job.key] for job in jobs if job.key in entries}
    # Their clips are not to be trusted any more, but what is known of the recording stays,
    # through a kill too. A size of 0 is never that of a recording, so they are still to do.
    for key, entry in before.items():
        entries[key] = replace(entry, size_bytes=0, clips=(), skipped=())
    if before:
        save.now()  # or clips that are written over would go under what the old index says
    try:
        for entry in work:
            key = (entry.folder, entry.source)
            if key in before and before[key].sha256 == entry.sha256:
                entry = replace(entry, av_offset_frames=before[key].av_offset_frames)
            entries[key] = entry
            on_source(entry)
            save.now_and_then()
    finally:
        save.now()


def _recordings(
    sources: Sequence[Path | str],
) -> tuple[list[tuple[Path, str]], list[SkippedEntry]]:
    """Folder and path inside it, for every video; files count as inside their own folder. And links
    in a folder that lead nowhere."""
    found: dict[Path, tuple[Path, str]] = {}  # by the file itself, which may be given twice
    nowhere: list[SkippedEntry] = []
    for source in map(Path, sources):
        if not source.is_dir():
            if not (source.is_file() and _size_bytes(source) == 0):  # empty ones are skipped
                existing_file(source, "video")
            found.setdefault(source.resolve(), (source.parent, source.name))
            continue
        named = sorted(
            path
            for path in _files_in(source)
            if path.suffix.lower() in VIDEO_SUFFIXES and not path.name.startswith(".")
        )
        nowhere += [
            SkippedEntry(path.relative_to(source).as_posix(), "a link that leads nowhere")
            for path in named
            if not path.exists()
        ]
        videos = [path for path in named if path.is_file()]
        if named and not any(path.exists() for path in named):
            raise InputError(
                f"folder {source} holds links alone that lead nowhere, as {named[0].name}: make "
                "them lead to videos again"
            )
        if not videos:
            raise InputError(
                f"folder {source} holds no videos ({' '.join(sorted(VIDEO_SUFFIXES))}): "
                "give another folder, or the files themselves"
            )
        for path in videos:
            found.setdefault(path.resolve(), (source, path.relative_to(source).as_posix()))
    if found and not any(_size_bytes(folder / name) for folder, name in found.values()):
        folder, name = next(iter(found.values()))
        existing_file(folder / name, "video")  # all are empty: told before a model is looked for
    if not found:
        raise InputError("there is nothing to prepare: give videos or folders of videos")
    return list(found.values()), nowhere


def _files_in(folder: Path) -> Iterator[Path]:
    """All of them, those in linked folders too, each folder once."""
    entered = {folder.resolve()}
    for place, folders, files in os.walk(folder, followlinks=True):
        yield from (Path(place, name) for name in files)
        # Links last, so that what is here is called by its own name; in an order of ours.
        folders.sort(key=lambda name: (Path(place, name).is_symlink(), name))
        for name in [*folders]:
            inner = Path(place, name).resolve()
            if inner in entered:  # or a link to its own parent would lead round for ever
                folders.remove(name)
            entered.add(inner)


def _known(out: Path) -> Index | None:
    """The index of an earlier run. A folder of other things is refused, not filled."""
    if (out / store.INDEX).is_file():
        return store.read_index(out)
    # What a killed run leaves before its first save is ours and may be written over.
    if out.is_dir() and any(
        path.name != store.CLIPS and not is_temporary(path) for path in out.iterdir()
    ):
        raise InputError(f"{out} holds other files and no data set: choose a new or empty folder")
    return None


def _folder(folder: Path, out: Path) -> str:
    """Where ``folder`` lies as seen from the data set, so that both can be moved together."""
    try:
        return Path(os.path.relpath(folder.resolve(), out.resolve())).as_posix()
    except ValueError:  # another drive
        return folder.resolve().as_posix()


def _keys(
    recordings: Sequence[tuple[Path, str]], out: Path, entries: Mapping[Key, SourceEntry]
) -> list[Key]:
    """What ``recordings`` are called in the index, where each may be inside another folder."""
    there = out.resolve()
    known = {(there / folder / source).resolve(): (folder, source) for folder, source in entries}
    return [
        known.get((folder / source).resolve(), (_folder(folder, out), source))
        for folder, source in recordings
    ]


def _take_up_renamed(
    recordings: Sequence[tuple[Path, str]],
    keys: Sequence[Key],
    out: Path,
    entries: dict[Key, SourceEntry],
) -> None:
    """A recording that lies under another name now, or elsewhere, stays the recording it was."""
    gone = {
        key: entry
        for key, entry in entries.items()
        if entry.size_bytes and not _is_there(out.resolve() / entry.folder / entry.source)
    }
    for (folder, source), key in zip(recordings, keys, strict=True):
        if key in entries or not gone:
            continue
        # What cannot be read is told by whoever prepares it.
        with contextlib.suppress(InputError, OSError):
            size = (folder / source).stat().st_size
            alike = [old for old, entry in gone.items() if entry.size_bytes == size]
            sha256 = sha256_of(folder / source) if alike else ""
            for old in alike:
                if gone[old].sha256 == sha256:
                    del entries[old]
                    entries[key] = replace(gone.pop(old), folder=key[0], source=key[1])
                    break


def _jobs(
    recordings: Sequence[tuple[Path, str]],
    keys: Sequence[Key],
    entries: Mapping[Key, SourceEntry],
    out: Path,
    config: PrepareConfig,
) -> list[Job]:
    """The sources that are not done yet, or have changed since."""
    names = {key: entry.name for key, entry in entries.items()}
    taken = set(names.values())
    stems = {_plain(source) for _, source in recordings} | taken
    numbered = {found[1] for found in map(_NUMBERED.fullmatch, taken) if found}
    jobs = []
    for (folder, source), key in zip(recordings, keys, strict=True):
        recording = folder / source
        before = entries.get(key)
        if (
            before is not None
            and before.size_bytes == _size_bytes(recording)
            and before.sha256 == sha256_of(recording)
            and all(store.is_whole(store.clip_file(out, clip.name)) for clip in before.clips)
        ):
            continue
        if key not in names:
            names[key] = _free_name(source, taken, stems, numbered)
            taken.add(names[key])
            if found := _NUMBERED.fullmatch(names[key]):
                numbered.add(found[1])
        jobs.append(Job(recording, key[1], key[0], names[key], out, config))
    return jobs


def _is_there(recording: Path) -> bool:
    with contextlib.suppress(OSError):  # on a share that has dropped out nothing is
        return recording.exists()
    return False


def _size_bytes(recording: Path) -> int:
    """Raises: InputError when it may not be looked at: what is known of it stays."""
    try:
        return recording.stat().st_size
    except OSError as error:
        why = os.strerror(error.errno or 0).lower()
        raise InputError(f"cannot read video {recording}: {why}: check the path") from error


def _plain(source: str) -> str:
    """``source`` as a file name: folders joined, no byte that is not UTF-8, no longer than a name
    may be once the number of a clip, a suffix and what a temporary name adds stand around it."""
    whole = Path(source).with_suffix("").as_posix().replace("/", "__")
    name = re.sub("[\ud800-\udfff]", "_", whole).encode()
    if len(name) > _LONGEST_NAME_BYTES:
        mark = hashlib.sha256(os.fsencode(whole)).hexdigest()[:8]
        name = name[:_LONGEST_NAME_BYTES] + f"-{mark}".encode()
    return name.decode("utf-8", "ignore")


def _free_name(source: str, taken: set[str], stems: set[str], numbered: set[str]) -> str:
    """A file name for the clips of ``source`` that no other source uses: "talk-0001" could also be
    the first clip of a long "talk", whichever of them comes first. ``numbered`` are the names
    before such numbers among those that are ``taken``."""
    name = plain = _plain(source)
    first_of = _NUMBERED.fullmatch(plain)
    if name in taken or name in numbered or (first_of and first_of[1] in stems):
        name = f"{plain}-{Path(source).suffix[1:].lower()}"
    for count in itertools.count(2):
        if name not in taken and name not in numbered:
            return name
        name = f"{plain}-{Path(source).suffix[1:].lower()}-{count}"
    raise AssertionError("itertools.count ends never")


class _Saver:
    """The index as it grows, written now and then, so that a kill costs seconds of work."""

    def __init__(
        self, out: Path, settings: dict[str, Any], entries: dict[Key, SourceEntry]
    ) -> None:
        self._out, self._settings, self.entries = out, settings, entries
        self._saved_s = time.monotonic()

    @staticmethod
    def of(out: Path, settings: dict[str, Any]) -> _Saver:
        """Begins with what an earlier run has left in ``out``.

        Raises:
            InputError: that run had other settings.
        """
        known = _known(out)
        if known is not None and known.settings != settings:
            raise InputError(
                f"data set {out} was prepared with other settings or another tracker "
                f"({known.settings.get('tracker')}): choose another output"
            )
        entries = {(e.folder, e.source): e for e in (known.sources if known else ())}
        return _Saver(out, settings, entries)

    def now_and_then(self) -> None:
        if time.monotonic() - self._saved_s > _SAVE_EVERY_S:
            self.now()

    def now(self) -> None:
        ordered = tuple(self.entries[key] for key in sorted(self.entries))
        if any(entry.clips for entry in ordered) or (self._out / store.INDEX).is_file():
            store.write_index(self._out, Index(self._settings, ordered))
        self._saved_s = time.monotonic()


def _lost(out: Path, entries: Iterable[SourceEntry]) -> Iterator[SkippedEntry]:
    """Clips of earlier runs whose files somebody has removed."""
    for entry in entries:
        for clip in entry.clips:
            if not store.clip_file(out, clip.name).exists():
                recording = Path(entry.folder, entry.source).as_posix()
                yield SkippedEntry(clip.name, f"its file is gone: prepare {recording} again")


def _sheet(out: Path, without: Container[str]) -> np.ndarray:
    clips = store.open_dataset(out)
    names = [name for name in clips.names if name not in without]
    picked = np.linspace(0, len(names) - 1, min(len(names), _SHEET_ROWS)).round().astype(int)
    rows = []
    for name in (names[i] for i in picked):
        lips = clips.clip(name).lips
        columns = np.linspace(0, len(lips) - 1, _SHEET_COLUMNS).round().astype(int)
        rows.append((f"{name}  {len(lips) / FRAME_RATE_HZ:.2f} s", list(lips[columns])))
    return contact_sheet(rows)
