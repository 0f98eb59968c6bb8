"""Recordings become a data set: tracked faces, stabilised lips and sound on one time base.

Every source is worked through by itself, in parallel, and recorded in ``dataset.json`` when it is
done, so that an interrupted run goes on where it stopped. A source is decoded twice side by side,
once to follow the face and once to cut out the lips, so that no pictures pile up in memory.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import math
import multiprocessing
import os
import re
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float32

from se4lip.face.follow import FollowConfig, Sighting, follow, sight
from se4lip.face.lips import LipsConfig, crop_lips, image_from_lips_transforms
from se4lip.face.tracker import MediaPipeTracker, Tracker
from se4lip.io import dataset as store
from se4lip.io.dataset import ClipEntry, Index, SkippedEntry, SourceEntry
from se4lip.io.files import existing_file, sha256_of, writable_folder
from se4lip.io.models import FACE_LANDMARKER_SHA256, face_landmarker
from se4lip.io.pictures import contact_sheet, save_picture
from se4lip.io.video import iter_clip_speech, probe_video, read_frames
from se4lip.types import FRAME_RATE_HZ, SAMPLES_PER_FRAME, InputError, Speech

# fmt: off
VIDEO_SUFFIXES = frozenset({
    ".3gp", ".avi", ".flv", ".m2ts", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".mts",
    ".ogv", ".ts", ".vob", ".webm", ".wmv",
})
# fmt: on
CONTACT_SHEET = "contact-sheet.png"
_SILENCE = 1e-4  # a peak below -80 dB is no recording of anything
_SAVE_EVERY_S = 5.0
_SHEET_ROWS, _SHEET_COLUMNS = 24, 8
_TELL_EVERY_FRAMES = 25

TrackerFactory = Callable[[], Tracker]


@dataclass(frozen=True)
class PrepareConfig:
    """What a clip is. Long recordings are cut into equal clips of at most ``longest_clip_s``."""

    longest_clip_s: float = 20.0
    shortest_clip_s: float = 0.5
    follow: FollowConfig = field(default_factory=FollowConfig)
    lips: LipsConfig = field(default_factory=LipsConfig)

    def __post_init__(self) -> None:
        if not 0 < self.shortest_clip_s <= self.longest_clip_s:
            raise InputError(
                f"clips of {self.shortest_clip_s} s to {self.longest_clip_s} s are impossible: "
                "the shortest must be above 0 and not above the longest"
            )


@dataclass(frozen=True)
class Prepared:
    """What a run has brought about, for the sources it was given."""

    clips: int
    frames: int
    filled_frames: int
    sources_reused: int
    skipped: tuple[SkippedEntry, ...]
    contact_sheet: Path
    elapsed_s: float


@dataclass(frozen=True)
class _Job:
    """One source to work through; everything a worker needs, and picklable."""

    recording: Path
    source: str
    folder: str
    name: str
    out: Path
    config: PrepareConfig


def mediapipe_tracker(model: Path | None = None) -> MediaPipeTracker:
    """MediaPipe with the face landmarker that ``io.models`` finds."""
    return MediaPipeTracker(face_landmarker(model), FACE_LANDMARKER_SHA256)


def prepare(
    sources: Sequence[Path | str],
    out: Path | str,
    config: PrepareConfig = PrepareConfig(),
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
    out = Path(out)
    recordings = _recordings(sources)
    known = _known(out)
    fresh = not out.exists()
    writable_folder(out)
    try:
        first_tracker = tracker()
        settings = {"prepare": asdict(config), "tracker": first_tracker.name}
        if known is not None and known.settings != settings:
            raise InputError(
                f"data set {out} was prepared with other settings or another tracker "
                f"({known.settings.get('tracker')}): choose another output"
            )
        entries = {(e.folder, e.source): e for e in (known.sources if known else ())}
        jobs = _jobs(recordings, entries, out, config)
        wanted = [(_folder(folder, out), source) for folder, source in recordings]
        for job in jobs:
            entries.pop((job.folder, job.source), None)
        save = _Saver(out, settings, entries)
        with contextlib.closing(
            _worked(jobs, tracker, first_tracker, workers, on_progress)
        ) as work:
            try:
                for entry in work:
                    entries[entry.folder, entry.source] = entry
                    on_source(entry)
                    save.now_and_then()
            finally:
                save.now()
        done = [entries[key] for key in wanted]
        clips = [clip for entry in done for clip in entry.clips]
        skipped = tuple(skip for entry in done for skip in entry.skipped)
        if not clips:
            more = f" (and {len(skipped) - 1} more)" if len(skipped) > 1 else ""
            raise InputError(
                f"not one clip could be prepared: {skipped[0].name}: {skipped[0].reason}{more}"
            )
        store.sweep(out)
        sheet = out / CONTACT_SHEET
        save_picture(sheet, _sheet(out))
        return Prepared(
            clips=len(clips),
            frames=sum(clip.frames for clip in clips),
            filled_frames=sum(clip.filled_frames for clip in clips),
            sources_reused=len(recordings) - len(jobs),
            skipped=skipped,
            contact_sheet=sheet,
            elapsed_s=time.monotonic() - began_s,
        )
    finally:
        if fresh:
            with contextlib.suppress(OSError):  # it holds something: good
                out.rmdir()


def _recordings(sources: Sequence[Path | str]) -> list[tuple[Path, str]]:
    """Folder and path inside it, for every video; files count as inside their own folder."""
    found: dict[Path, tuple[Path, str]] = {}  # by the file itself, which may be given twice
    for source in map(Path, sources):
        if not source.is_dir():
            existing_file(source, "video")
            found.setdefault(source.resolve(), (source.parent, source.name))
            continue
        videos = sorted(
            path
            for path in source.rglob("*")
            if path.suffix.lower() in VIDEO_SUFFIXES
            and path.is_file()
            and not path.name.startswith(".")
        )
        if not videos:
            raise InputError(
                f"folder {source} holds no videos ({' '.join(sorted(VIDEO_SUFFIXES))}): "
                "give another folder, or the files themselves"
            )
        for path in videos:
            found.setdefault(path.resolve(), (source, path.relative_to(source).as_posix()))
    if not found:
        raise InputError("there is nothing to prepare: give videos or folders of videos")
    return list(found.values())


def _known(out: Path) -> Index | None:
    """The index of an earlier run. A folder of other things is refused, not filled."""
    if (out / store.INDEX).is_file():
        return store.read_index(out)
    # What a killed run leaves before its first save is ours and may be written over.
    if out.is_dir() and any(path.name != store.CLIPS for path in out.iterdir()):
        raise InputError(f"{out} holds other files and no data set: choose a new or empty folder")
    return None


def _folder(folder: Path, out: Path) -> str:
    """Where ``folder`` lies as seen from the data set, so that both can be moved together."""
    try:
        return Path(os.path.relpath(folder.resolve(), out.resolve())).as_posix()
    except ValueError:  # another drive
        return folder.resolve().as_posix()


def _jobs(
    recordings: Sequence[tuple[Path, str]],
    entries: dict[tuple[str, str], SourceEntry],
    out: Path,
    config: PrepareConfig,
) -> list[_Job]:
    """The sources that are not done yet, or have changed since."""
    names = {key: entry.name for key, entry in entries.items()}
    taken = set(names.values())
    stems = {Path(source).with_suffix("").as_posix() for _, source in recordings} | taken
    jobs = []
    for folder, source in recordings:
        key = (_folder(folder, out), source)
        recording = folder / source
        before = entries.get(key)
        if (
            before is not None
            and before.size_bytes == recording.stat().st_size
            and before.sha256 == sha256_of(recording)
            and all(store.clip_file(out, clip.name).is_file() for clip in before.clips)
        ):
            continue
        if key not in names:
            names[key] = _free_name(source, taken, stems)
            taken.add(names[key])
        jobs.append(_Job(recording, source, key[0], names[key], out, config))
    return jobs


def _free_name(source: str, taken: set[str], stems: set[str]) -> str:
    """A file name for the clips of ``source`` that no other source uses."""
    plain = Path(source).with_suffix("").as_posix().replace("/", "__")
    # "talk-0001" could also be the first clip of a long "talk".
    numbered = re.fullmatch(r"(.*)-\d{4,}", plain)
    name = plain
    if name in taken or (numbered and numbered[1] in stems):
        name = f"{plain}-{Path(source).suffix[1:].lower()}"
    for count in itertools.count(2):
        if name not in taken:
            return name
        name = f"{plain}-{Path(source).suffix[1:].lower()}-{count}"
    raise AssertionError("itertools.count ends never")


class _Saver:
    """Writes the index now and then, so that a kill costs seconds of work and no more."""

    def __init__(
        self, out: Path, settings: dict[str, Any], entries: dict[tuple[str, str], SourceEntry]
    ) -> None:
        self._out, self._settings, self._entries = out, settings, entries
        self._saved_s = time.monotonic()

    def now_and_then(self) -> None:
        if time.monotonic() - self._saved_s > _SAVE_EVERY_S:
            self.now()

    def now(self) -> None:
        ordered = tuple(self._entries[key] for key in sorted(self._entries))
        if any(entry.clips for entry in ordered):
            store.write_index(self._out, Index(self._settings, ordered))
        self._saved_s = time.monotonic()


def _sheet(out: Path) -> np.ndarray:
    clips = store.open_dataset(out)
    picked = np.linspace(0, len(clips) - 1, min(len(clips), _SHEET_ROWS)).round().astype(int)
    rows = []
    for name in (clips.names[i] for i in picked):
        lips = clips.clip(name).lips
        columns = np.linspace(0, len(lips) - 1, _SHEET_COLUMNS).round().astype(int)
        rows.append((f"{name}  {len(lips) / FRAME_RATE_HZ:.2f} s", list(lips[columns])))
    return contact_sheet(rows)


# --- one source, in a worker ---


def _work(job: _Job, tracker: Tracker, tell: Callable[[float], None]) -> SourceEntry:
    """Prepare one source. What cannot be used is a reason, what cannot be written an error."""
    entry = SourceEntry(job.name, job.source, job.folder, size_bytes=0, sha256="")
    try:
        existing_file(job.recording, "video")
    except InputError as trouble:
        return replace(entry, skipped=(SkippedEntry(job.name, str(trouble)),))
    size_bytes = job.recording.stat().st_size
    entry = replace(entry, size_bytes=size_bytes, sha256=sha256_of(job.recording))
    clips: list[ClipEntry] = []
    skipped: list[SkippedEntry] = []
    pieces = _source_pieces(job, tracker, tell)
    start = 0
    for number in itertools.count(1):
        try:
            piece = next(pieces)
        except StopIteration:
            break
        except InputError as trouble:
            skipped.append(
                SkippedEntry(f"{job.name}-{number:04}" if start else job.name, str(trouble))
            )
            break
        name = job.name if piece.alone else f"{job.name}-{number:04}"
        try:
            track, filled = _usable(piece, start, job.config)
        except InputError as reason:
            skipped.append(SkippedEntry(name, str(reason)))
            deque(piece.pictures, maxlen=0)  # the next clip's pictures come after these
        else:
            transforms = image_from_lips_transforms(track, job.config.lips)
            lips = crop_lips(piece.pictures, transforms, job.config.lips.size_px)
            clip = ClipEntry(name, start, len(track), filled)
            metadata = {
                "source": job.source,
                "source_size_bytes": entry.size_bytes,
                "source_sha256": entry.sha256,
                "start_frame": start,
                "filled_frames": filled,
                "tracker": tracker.name,
                "settings": asdict(job.config),
            }
            store.write_clip(job.out, name, piece.samples, lips, track, metadata)
            clips.append(clip)
        start += len(piece.sightings)
    return replace(entry, clips=tuple(clips), skipped=tuple(skipped))


@dataclass(frozen=True)
class _Piece:
    """What becomes one clip. ``pictures`` must be used up before the next piece is asked for."""

    sightings: list[Sighting]
    pictures: Iterator[np.ndarray]
    samples: Float32[np.ndarray, " S"]
    alone: bool


def _source_pieces(job: _Job, tracker: Tracker, tell: Callable[[float], None]) -> Iterator[_Piece]:
    info = probe_video(job.recording)
    if not info.has_sound:
        raise InputError("no sound")
    longest = max(1, math.floor(job.config.longest_clip_s * FRAME_RATE_HZ))
    shortest = math.ceil(job.config.shortest_clip_s * FRAME_RATE_HZ)
    size = longest
    if info.frames:
        size = max(shortest, math.ceil(info.frames / math.ceil(info.frames / longest)))
    sightings = _told(sight(read_frames(job.recording), tracker), info.frames, tell)
    pictures = read_frames(job.recording)
    # Second by second, so that damage is met in the piece where it lies.
    tape = _Tape(iter_clip_speech(job.recording, chunk_s=1.0))
    for piece, alone in _cut_up(sightings, size, shortest):
        samples = tape.take(len(piece) * SAMPLES_PER_FRAME)
        yield _Piece(piece, itertools.islice(pictures, len(piece)), samples, alone)


def _usable(piece: _Piece, start: int, config: PrepareConfig) -> tuple[Any, int]:
    frames = len(piece.sightings)
    if frames < config.shortest_clip_s * FRAME_RATE_HZ:
        raise InputError(
            f"too short, {frames} frames of at least "
            f"{math.ceil(config.shortest_clip_s * FRAME_RATE_HZ)}"
        )
    if np.abs(piece.samples).max(initial=0) < _SILENCE:
        raise InputError("no sound, only silence")
    return follow(piece.sightings, config.follow, start)


def _cut_up(
    sightings: Iterator[Sighting], size: int, shortest: int
) -> Iterator[tuple[list[Sighting], bool]]:
    """Pieces of ``size``, and whether there is but one. A short rest is part of the last piece."""
    piece = list(itertools.islice(sightings, size))
    alone = True
    while piece:
        trouble: InputError | None = None
        try:
            following = list(itertools.islice(sightings, size))
        except InputError as error:  # the pieces before it are good
            following, trouble = [], error
        if trouble is None and len(following) < shortest:
            piece, following = piece + following, []
        alone = alone and not following and trouble is None
        yield piece, alone
        if trouble is not None:
            raise trouble
        piece = following


def _told(
    sightings: Iterator[Sighting], expected: int | None, tell: Callable[[float], None]
) -> Iterator[Sighting]:
    for count, sighting in enumerate(sightings, 1):
        if expected and count % _TELL_EVERY_FRAMES == 0:
            tell(min(1.0, count / expected))
        yield sighting


class _Tape:
    """Speech that comes in pieces, taken in others; silence after its end."""

    def __init__(self, pieces: Iterator[Speech]) -> None:
        self._pieces = pieces
        self._rest = np.zeros(0, np.float32)

    def take(self, samples: int) -> Float32[np.ndarray, " S"]:
        parts, have = [self._rest], len(self._rest)
        while have < samples and (piece := next(self._pieces, None)) is not None:
            parts.append(piece.samples)
            have += len(piece.samples)
        joined = np.concatenate(parts)
        self._rest = joined[samples:]
        return np.pad(joined[:samples], (0, max(0, samples - have)))


# --- many sources, in many workers ---

_worker_tracker: Tracker
_worker_news: Any


def _worked(
    jobs: Sequence[_Job],
    tracker: TrackerFactory,
    first_tracker: Tracker,
    workers: int,
    on_progress: Callable[[float], None],
) -> Generator[SourceEntry]:
    """The finished sources, as they come."""
    weights = [max(1, job.recording.stat().st_size) for job in jobs]
    shares = [0.0] * len(jobs)

    def advanced(index: int, share: float) -> None:
        shares[index] = max(shares[index], share)
        on_progress(sum(w * s for w, s in zip(weights, shares, strict=True)) / sum(weights))

    if workers <= 1 or len(jobs) <= 1:
        for index, job in enumerate(jobs):
            entry = _work(job, first_tracker, functools.partial(advanced, index))
            advanced(index, 1.0)
            yield entry
        return
    context = multiprocessing.get_context("spawn")
    news = context.SimpleQueue()
    pool = ProcessPoolExecutor(
        min(workers, len(jobs)), context, initializer=_start_worker, initargs=(tracker, news)
    )
    try:
        pending = {pool.submit(_work_in_worker, i, job): i for i, job in enumerate(jobs)}
        while pending:
            finished, _ = wait(pending, timeout=0.25, return_when=FIRST_COMPLETED)
            while not news.empty():
                advanced(*news.get())
            for future in finished:
                index = pending.pop(future)
                entry = future.result()
                advanced(index, 1.0)
                yield entry
    except BrokenProcessPool as error:
        raise InputError(
            "a worker process was killed, perhaps for want of memory: run the same command again "
            "with fewer --workers, it goes on where it stopped"
        ) from error
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
        for child in multiprocessing.active_children():
            child.terminate()


def _start_worker(tracker: TrackerFactory, news: Any) -> None:
    global _worker_tracker, _worker_news
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Control-C ends workers without a traceback
    threading.Thread(target=_die_with_parent, daemon=True).start()
    torch.set_num_threads(1)
    _worker_tracker, _worker_news = tracker(), news


def _die_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _work_in_worker(index: int, job: _Job) -> SourceEntry:
    return _work(job, _worker_tracker, lambda share: _worker_news.put((index, share)))
