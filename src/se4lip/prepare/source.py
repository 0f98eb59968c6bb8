"""One recording becomes clips: what is cut from where, what is skipped and why.

A recording is decoded twice side by side, once to follow the face and once to cut out the lips,
so that no pictures pile up in memory.
"""

from __future__ import annotations

import itertools
import math
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import numpy as np
from jaxtyping import Float32

from se4lip.face.follow import FollowConfig, Sighting, follow, sight
from se4lip.face.lips import LipsConfig, crop_lips, image_from_lips_transforms
from se4lip.face.tracker import Tracker
from se4lip.io import dataset as store
from se4lip.io.dataset import ClipEntry, SkippedEntry, SourceEntry
from se4lip.io.files import existing_file, sha256_of
from se4lip.io.video import iter_clip_speech, probe_video, read_frames
from se4lip.types import FRAME_RATE_HZ, SAMPLES_PER_FRAME, FaceTrack, InputError, Speech, within
from se4lip.wording import counted

_SILENCE = 1e-4  # a peak below -80 dB is no recording of anything
_TELL_EVERY_FRAMES = 25


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
        within(self, longest_clip_s=(0, 3600))


@dataclass(frozen=True)
class Job:
    """One source to work through; everything a worker process needs, and picklable."""

    recording: Path
    source: str
    folder: str
    name: str
    out: Path
    config: PrepareConfig

    @property
    def key(self) -> tuple[str, str]:
        """What tells recordings apart: their folder and their path in it."""
        return self.folder, self.source


def prepare_source(job: Job, tracker: Tracker, tell: Callable[[float], None]) -> SourceEntry:
    """Write the clips of one source and say what they are; ``tell`` is told the share done.

    What cannot be used is a reason in the answer, what cannot be written an error.

    Raises:
        InputError: the data set cannot be written.
    """
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
    if skipped and not _is_still_there(job.recording, entry):
        # A share that dropped out says nothing of the recording. No recording has a size of 0, so
        # that it is tried again.
        entry = replace(entry, size_bytes=0)
    return replace(entry, clips=tuple(clips), skipped=tuple(skipped))


def _is_still_there(recording: Path, entry: SourceEntry) -> bool:
    try:
        size_bytes = recording.stat().st_size
        return size_bytes == entry.size_bytes and sha256_of(recording) == entry.sha256
    except (OSError, InputError):
        return False


@dataclass(frozen=True)
class _Piece:
    """What becomes one clip. ``pictures`` must be used up before the next piece is asked for."""

    sightings: list[Sighting]
    pictures: Iterator[np.ndarray]
    samples: Float32[np.ndarray, " S"]
    alone: bool
    heard: str  # which of several sound tracks


def _source_pieces(job: Job, tracker: Tracker, tell: Callable[[float], None]) -> Iterator[_Piece]:
    info = probe_video(job.recording)
    if not info.has_sound:
        raise InputError(f"no sound{info.heard}")
    longest = max(1, math.floor(job.config.longest_clip_s * FRAME_RATE_HZ))
    shortest = math.ceil(job.config.shortest_clip_s * FRAME_RATE_HZ)
    size = longest
    if info.frames:
        size = max(shortest, math.ceil(info.frames / math.ceil(info.frames / longest)))
    sightings = told(sight(read_frames(job.recording), tracker), info.frames, tell)
    pictures = read_frames(job.recording)
    # Second by second, so that damage is met in the piece where it lies.
    tape = _Tape(iter_clip_speech(job.recording, chunk_s=1.0))
    for piece, alone in _cut_up(sightings, size, shortest):
        samples = tape.take(len(piece) * SAMPLES_PER_FRAME)
        yield _Piece(piece, itertools.islice(pictures, len(piece)), samples, alone, info.heard)


def _usable(piece: _Piece, start: int, config: PrepareConfig) -> tuple[FaceTrack, int]:
    frames = len(piece.sightings)
    if frames < config.shortest_clip_s * FRAME_RATE_HZ:
        raise InputError(
            f"too short, {counted(frames, 'frame')} of at least "
            f"{math.ceil(config.shortest_clip_s * FRAME_RATE_HZ)}"
        )
    if np.abs(piece.samples).max(initial=0) < _SILENCE:
        raise InputError(f"no sound{piece.heard}, only silence")
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


def told(
    sightings: Iterator[Sighting], expected: int | None, tell: Callable[[float], None]
) -> Iterator[Sighting]:
    """The same; ``tell`` is told the share of the ``expected`` number that is done."""
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
