"""A data set in memory, cut into batches of stretches of speech and lips.

Lips stay 8-bit and sound 16-bit until they are drawn, on the device that trains: GRID s1's 47
minutes are 2 GB, and nothing has to be loaded during training. Of a clip whose pictures are blank
one is kept.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from se4lip.audio.timebase import COLUMN_HOP, COLUMNS_PER_FRAME, Window
from se4lip.audio.voice_activity import speech_frames
from se4lip.face.contour import CONTOUR_WIDTH, lip_contour
from se4lip.types import SAMPLES_PER_FRAME, Clip, InputError


@dataclass(frozen=True)
class Corpus:
    """All clips end to end. Clip ``i`` holds frames ``first[i] ... first[i] + frames[i]``.

    ``samples`` are frame-aligned: clip ``i``'s sound begins at ``first[i] * 640`` and is cut or
    padded to its pictures. Frame ``m`` shows the picture ``lips[shown[m]]``.
    """

    lips: Tensor  # uint8 [pictures, H, W, 3]
    shown: Int[Tensor, " M"]
    contour: Float[Tensor, "M C"]
    samples: Tensor  # int16 [frames * 640]
    silent: Bool[Tensor, " M"]
    first: Int[Tensor, " clips"]
    frames: Int[Tensor, " clips"]

    @staticmethod
    def of(clips: Iterable[Clip], shortest: int, untracked: Iterable[Clip] = ()) -> Corpus:
        """Gather ``clips``, leaving out those under ``shortest`` frames.

        Contours of the ``untracked``, which come last, are zeros: of pictures alone.
        """
        lips: list[Tensor] = []
        shown, contours, samples, silent, frames = [], [], [], [], []
        pictures = 0
        whole = ((clip, lip_contour(clip.track)) for clip in clips)
        still = ((clip, np.zeros((len(clip), CONTOUR_WIDTH), np.float32)) for clip in untracked)
        for clip, contour in itertools.chain(whole, still):
            length = len(clip)
            if length < shortest:
                continue
            sound = np.zeros(length * SAMPLES_PER_FRAME, np.float32)
            given = clip.speech.samples[: len(sound)]
            sound[: len(given)] = given
            if lips and lips[0].shape[1:] != clip.lips.shape[1:]:
                sizes = sorted({lips[0].shape[1], clip.lips.shape[1]})
                raise InputError(
                    f"lip pictures of {sizes[0]} and of {sizes[1]} px cannot train together: "
                    "prepare all recordings with one --lips.size-px"
                )
            seen = clip.lips if clip.lips.max() > clip.lips.min() else clip.lips[:1]
            lips.append(torch.from_numpy(np.ascontiguousarray(seen, dtype=np.uint8)))
            shown.append(pictures + torch.arange(length).clamp(max=len(seen) - 1))
            pictures += len(seen)
            contours.append(torch.from_numpy(contour))
            samples.append(torch.from_numpy((sound * 32767).astype(np.int16)))
            silent.append(torch.from_numpy(~speech_frames(sound)))
            frames.append(length)
        if not frames:
            raise InputError(
                f"no clip of {shortest} frames or more to train on: prepare longer recordings"
            )
        counts = torch.tensor(frames)
        return Corpus(
            lips=torch.cat(lips),
            shown=torch.cat(shown),
            contour=torch.cat(contours),
            samples=torch.cat(samples),
            silent=torch.cat(silent),
            first=torch.cumsum(counts, 0) - counts,
            frames=counts,
        )

    def to(self, device: torch.device) -> Corpus:
        return Corpus(
            **{name: getattr(self, name).to(device) for name in self.__dataclass_fields__}
        )

    def __len__(self) -> int:
        return len(self.frames)


@dataclass(frozen=True)
class Stretches:
    """Which clip, from which frame, at which speed: the part of a batch that augmentation is
    not."""

    clip: Int[Tensor, " B"]
    start: Float[Tensor, " B"]  # frames into the clip, whole numbers
    speed: Float[Tensor, " B"]  # source frames per frame

    def __getitem__(self, rows: slice) -> Stretches:
        return Stretches(self.clip[rows], self.start[rows], self.speed[rows])

    def moments(self, count: int, stride: int, first: int) -> Float[Tensor, "B count"]:
        """How many frames into its clip each ``stride``-th frame of a stretch lies, from its
        frame ``first`` on."""
        return self.start[:, None] + self.speed[:, None] * (first + stride * torch.arange(count))


def check_speeds(speeds: tuple[float, float]) -> None:
    """Raises: InputError when the faster one stands first."""
    if speeds[0] > speeds[1]:
        raise InputError(f"speeds are {speeds[0]} to {speeds[1]}: give the slower one first")


def draw_stretches(
    corpus_frames: Int[Tensor, " clips"],
    batch: int,
    frames: int,
    speeds: tuple[float, float],
    generator: torch.Generator,
) -> Stretches:
    """Clips in proportion to their length, speeds log-uniform for half of them, starts uniform.

    No clip comes twice, unless there are too few of them.
    """
    few = len(corpus_frames) < batch
    clip = torch.multinomial(corpus_frames.float(), batch, replacement=few, generator=generator)
    low, high = np.log(speeds[0]), np.log(speeds[1])
    speed = torch.exp(low + (high - low) * torch.rand(batch, generator=generator))
    speed = torch.where(torch.rand(batch, generator=generator) < 0.5, speed, torch.ones(batch))
    length = corpus_frames[clip].float()
    room = (length - 1 - (frames - 1) * speed).clamp(min=0)
    # Half a frame of room on either side, so that first and last frames are drawn as often as
    # others.
    start = (torch.rand(batch, generator=generator) * (room + 1)).floor().clamp(max=room.floor())
    return Stretches(clip, start, speed)


def cut_lips(
    corpus: Corpus, at: Stretches, frames: int
) -> tuple[
    Float[Tensor, "B T H W 3"], Float[Tensor, "B T C"], Bool[Tensor, "B T"], Bool[Tensor, "B T"]
]:
    """Pictures (0..255), contours, silence and validity of ``frames`` frames, blended in time."""
    device = corpus.lips.device
    clip, start, speed = (value.to(device) for value in (at.clip, at.start, at.speed))
    length, first = corpus.frames[clip][:, None], corpus.first[clip][:, None]
    time = start[:, None] + speed[:, None] * torch.arange(frames, device=device)
    valid = time <= length - 1
    time = time.clamp(max=length - 1)
    low = time.floor().long()
    high = torch.minimum(low + 1, length - 1)
    share = time - low
    low, high = first + low, first + high

    def blend(rows: Tensor, low: Tensor, high: Tensor) -> Tensor:
        blended = rows.new_empty((*share.shape, *rows.shape[1:]), dtype=torch.float32)
        for out, before, after, weight in zip(blended, low, high, share, strict=True):
            out.copy_(rows[before])
            if weight.any():  # half of the stretches keep their speed, and pictures are large
                out.lerp_(rows[after].float(), weight.reshape(-1, *(1,) * (rows.ndim - 1)))
        return blended

    silent = corpus.silent[torch.where(share < 0.5, low, high)]
    pictures = blend(corpus.lips, corpus.shown[low], corpus.shown[high])
    return pictures, blend(corpus.contour, low, high), silent, valid


def cut_speech(
    corpus: Corpus, at: Stretches, lead_columns: int, columns: int, fastest: float
) -> tuple[Float[Tensor, "B S"], Float[Tensor, "B L"]]:
    """Samples of each stretch and where its ``columns`` columns lie in them (in columns,
    fractional).

    The first column wanted lies ``lead_columns`` (of the stretch's own speed) before the stretch's
    first frame. What lies outside the clip is silence.
    """
    device = corpus.samples.device
    clip, start, speed = (value.to(device) for value in (at.clip, at.start, at.speed))
    origin = (COLUMNS_PER_FRAME * start - lead_columns * speed).floor()
    offset = COLUMNS_PER_FRAME * start - lead_columns * speed - origin
    where = offset[:, None] + speed[:, None] * torch.arange(columns, device=device)
    samples = int(np.ceil(columns * fastest) + 4) * COLUMN_HOP
    index = origin.long()[:, None] * COLUMN_HOP + torch.arange(samples, device=device)
    inside = (index >= 0) & (index < (corpus.frames[clip] * SAMPLES_PER_FRAME)[:, None])
    index = (index + (corpus.first[clip] * SAMPLES_PER_FRAME)[:, None]).clamp(
        0, len(corpus.samples) - 1
    )
    return corpus.samples[index].float() / 32767 * inside, where


def columns_at(
    power: Float[Tensor, "B L0 F"], where: Float[Tensor, "B L"]
) -> Float[Tensor, "B L F"]:
    """Powers at fractional columns, linear between neighbours."""
    low = where.floor().long().clamp(0, power.shape[1] - 2)
    share = (where - low)[..., None].clamp(0, 1)
    rows = torch.arange(len(power), device=power.device)[:, None]
    return torch.lerp(power[rows, low], power[rows, low + 1], share)


def lead_frames(speech: Window, lips: Window) -> int:
    """How many frames before the first lip picture of a stretch the first speech window begins."""
    return speech.past_frames - lips.past_frames
