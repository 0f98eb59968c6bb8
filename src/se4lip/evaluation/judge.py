"""The verb ``evaluate judge``: how much speech the second judge needs to find a known offset.

Sound is moved against lips by a known number of frames, -15 to 15, and the judge is asked where it
lies: right is within one frame. Short clips are moved by a third of their length at most, for what
moves out of a clip is lost. A data set may have been recorded with its sound late: that is read
off all its clips together, printed, and taken off first. A question is about as many clips, end to
end, as hold so many seconds of speech. The shortest speech from which at least 95 of 100 questions
are answered rightly, in every data set, is what the judge needs: its gate. With less it may not
judge. Clips of a second lose most of their windows at their ends, so there is a second figure from
the data sets of longer clips alone.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Float32
from torch import Tensor

from se4lip.artifacts.judge import judge_header, load_judge, store_gate
from se4lip.audio.voice_activity import speech_frames
from se4lip.metrics.judge import Gate, Judge, judge_rows, read_rows
from se4lip.metrics.judge_lips import face_motion
from se4lip.metrics.sync import FRAME_MS
from se4lip.train.split import Split, clips_of, open_datasets
from se4lip.types import FRAME_RATE_HZ, SAMPLES_PER_FRAME, Clip, InputError, Speech, within


@dataclass(frozen=True)
class ExamConfig:
    """``questions`` are asked of every data set and length; their shifts are spread evenly."""

    speech_s: tuple[float, ...] = (1.5, 3.0, 6.0, 12.0, 24.0, 48.0, 96.0)
    questions: int = 155
    needed: float = 0.95
    tolerance_frames: int = 1
    max_shift: int = 15
    clips: int = 480  # of each data set at most, evenly spread
    piece_frames: int = 75  # longer recordings are cut, so that a length is a length
    seed: int = 0

    def __post_init__(self) -> None:
        within(self, questions=(1, math.inf), needed=(0, 1), tolerance_frames=(0, math.inf))
        within(self, max_shift=(1, 1000), clips=(1, math.inf), piece_frames=(1, math.inf))
        within(self, speech_s=(0, math.inf), seed=(0, 1 << 62))
        if not self.speech_s:
            raise InputError("no length of speech was given: give --speech-s at least one")


@dataclass(frozen=True)
class ExamRow:
    """One data set, one length. ``clip_s`` is the median length of its clips, ``mean_clips`` how
    many a question holds on average, ``largest_shift_frames`` how far sound was moved."""

    dataset: str
    speech_s: float
    accuracy: float
    questions: int
    mean_clips: float
    clip_s: float = 3.0
    largest_shift_frames: int = 15


@dataclass(frozen=True)
class Exam:
    """``own_offset_frames``: how late the judge finds the sound of each whole data set."""

    judge: str
    sha256: str
    split: Split
    rows: tuple[ExamRow, ...]
    own_offset_frames: dict[str, float]
    gate: Gate

    def plain(self) -> dict[str, Any]:
        return asdict(self)


def evaluate_judge(
    datasets: Sequence[Path],
    judge: Path | None = None,
    split: Split = "all",
    store: bool = False,
    config: ExamConfig = ExamConfig(),
    on_progress: Callable[[float], None] = lambda share: None,
) -> Exam:
    """Examine ``judge`` on people it never saw; ``store`` writes its gate into the weights file.

    Raises:
        InputError: no data, data without speech, files that cannot be read, or nothing but the
            shipped judge to store in.
    """
    if store and judge is None:
        raise InputError(
            "the shipped judge stays as it is: to store what was found give other weights, --judge"
        )
    network, header = load_judge(judge), judge_header(judge)
    rows, own = [], {}
    for i, data in enumerate(open_datasets(datasets)):
        names = clips_of(data, split)
        names = names[:: max(1, -(-len(names) // config.clips))]
        asked = _Questions(network, map(data.clip, names), config)
        if not asked.clips:
            raise InputError(
                f"data set {data.path} holds no clip with speech to examine a judge on"
            )
        own[data.name] = asked.own_offset_frames
        for k, speech_s in enumerate(config.speech_s):
            on_progress((i + k / len(config.speech_s)) / len(datasets))
            row = asked.row(data.name, speech_s)
            if row is not None:
                rows.append(row)
    gate = Gate(
        least_speech_s=needed_speech_s(rows, config.needed),
        least_speech_long_s=needed_speech_s(
            [row for row in rows if row.clip_s >= Gate.long_clip_s], config.needed
        ),
        needed=config.needed,
        tolerance_frames=config.tolerance_frames,
        examined_on=(*own,),
    )
    exam = Exam(str(header.metadata["name"]), header.sha256, split, (*rows,), own, gate)
    if store:
        store_gate(judge, gate, {"rows": [asdict(row) for row in rows], "own_offset_frames": own})
    return exam


def needed_speech_s(rows: Sequence[ExamRow], needed: float) -> float | None:
    """The shortest length from which every longer one is answered in every data set.

    A data set too small for a length says nothing about it, but one must have been asked.
    """
    enough = None
    for length in sorted({row.speech_s for row in rows}, reverse=True):
        if any(row.accuracy < needed for row in rows if row.speech_s == length):
            break
        enough = length
    return enough


class _Questions:
    """Clips of one data set in pieces of a few seconds, moved and asked about."""

    def __init__(self, judge: Judge, clips: Iterable[Clip], config: ExamConfig) -> None:
        self.judge, self.config = judge, config
        self.clips = [
            piece
            for clip in clips
            for piece in _pieces(clip, config.piece_frames)
            if len(piece) >= judge.config.window_frames
        ]
        self.motion = [
            torch.from_numpy(face_motion(clip.track.landmarks_px, clip.track.blendshapes))
            for clip in self.clips
        ]
        self.rows: dict[tuple[int, int], Float[Tensor, "N K"]] = {}
        self.own_offset_frames = self.offset(range(len(self.clips)), 0)

    def row(self, dataset: str, speech_s: float) -> ExamRow | None:
        config, generator = self.config, np.random.default_rng(self.config.seed)
        right = asked = clips = 0
        if math.isnan(self.own_offset_frames):
            return None
        whole = round(self.own_offset_frames)
        frames = int(np.median([len(clip) for clip in self.clips]))
        most = min(config.max_shift, frames // 3)
        shifts = np.arange(-most, most + 1)
        for question in range(config.questions):
            group = self.group(speech_s, generator)
            if group is None:
                return None
            shift = int(shifts[question % len(shifts)])
            asked, clips = asked + 1, clips + len(group)
            found = self.offset(group, shift - whole) - self.own_offset_frames + whole
            right += abs(found - shift) <= config.tolerance_frames
        clip_s = frames / FRAME_RATE_HZ
        return ExamRow(dataset, speech_s, right / asked, asked, clips / asked, clip_s, most)

    def group(self, speech_s: float, generator: np.random.Generator) -> list[int] | None:
        """Clips in random order until they hold ``speech_s`` of speech; None if all do not."""
        group, frames = [], 0
        for index in generator.permutation(len(self.clips)):
            group.append(int(index))
            frames += len(self.similarity(int(index), 0))
            if frames >= speech_s * FRAME_RATE_HZ:
                return group
        return None

    def offset(self, group: Sequence[int], shift: int) -> float:
        """What is read, in frames and parts of them; NaN where the speech is too little."""
        rows = [self.similarity(index, shift) for index in group]
        reading = read_rows(self.judge, rows, self.config.max_shift)
        return math.nan if reading is None else reading.offset_ms / FRAME_MS

    def similarity(self, index: int, shift: int) -> Float[Tensor, "N K"]:
        """Rows of speech of one clip whose sound was moved ``shift`` frames later."""
        key = index, shift
        if key not in self.rows:
            samples = _moved_later(self.clips[index], shift)
            motion = self.motion[index]
            speaking = torch.from_numpy(speech_frames(samples))
            self.rows[key] = judge_rows(
                self.judge, torch.from_numpy(samples), motion, speaking, self.config.max_shift
            )
        return self.rows[key]


def _pieces(clip: Clip, frames: int) -> Iterator[Clip]:
    """Long recordings in parts of nearly equal length, none longer than ``frames``, unless parts
    would be short for it: what was a long clip is examined as one."""
    parts, long_frames = -(-len(clip) // frames), Gate.long_clip_s * FRAME_RATE_HZ
    if frames >= long_frames > len(clip) // parts:
        parts = max(1, parts - 1)
    for part in np.array_split(np.arange(len(clip)), parts):
        here = slice(part[0], part[-1] + 1)
        track = replace(
            clip.track,
            landmarks_px=clip.track.landmarks_px[here],
            blendshapes=clip.track.blendshapes[here],
            camera_from_face=clip.track.camera_from_face[here],
        )
        sound = clip.speech.samples[part[0] * SAMPLES_PER_FRAME :][: len(part) * SAMPLES_PER_FRAME]
        yield replace(clip, lips=clip.lips[here], track=track, speech=Speech(sound))


def _moved_later(clip: Clip, frames: int) -> Float32[np.ndarray, " S"]:
    """The clip's sound, moved; silence moves in."""
    samples = np.zeros((len(clip) + 2 * abs(frames)) * SAMPLES_PER_FRAME, np.float32)
    origin = (abs(frames) + frames) * SAMPLES_PER_FRAME
    given = clip.speech.samples[: len(clip) * SAMPLES_PER_FRAME]
    samples[origin : origin + len(given)] = given
    return samples[abs(frames) * SAMPLES_PER_FRAME :][: len(clip) * SAMPLES_PER_FRAME]
