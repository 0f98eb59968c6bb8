"""How well sound and lips agree in time, from two rows of embeddings and a speech mask.

One sign convention for the whole package: **a positive offset means that the sound comes later than
the picture**. The lips of frame ``t`` are then heard at frame ``t + offset``, so that is where the
similarity ``lips[t] . speech[t + k]`` peaks. A clip whose sound was delayed by k frames reads +k.
(joonson/syncnet_python prints the opposite sign.)

Row ``t`` of an embedding is about the ``window_frames`` frames centred on frame ``t``, an odd
number; a window counts only when all its frames lie inside the clip. Similarity is the cosine.

Source: Chung & Zisserman, "Out of time: automated lip sync in the wild", ACCV-W 2016, for the task
(31 offsets, one frame of tolerance, averaging over consecutive windows) and for "median minus
minimum" confidence.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn.functional import normalize

from se4lip.types import FRAME_RATE_HZ, InputError

FRAME_MS = 1000 / FRAME_RATE_HZ


@dataclass(frozen=True)
class OffsetCounts:
    """How often the true offset was found. Counts of several clips are added with ``+``."""

    right: int = 0
    total: int = 0
    candidates: int = 0
    """Offsets there were to choose from, summed over the ``total`` questions."""
    lucky: float = 0.0
    """Questions a blind guess would have got right, in expectation."""

    def __add__(self, other: OffsetCounts) -> OffsetCounts:
        return OffsetCounts(
            self.right + other.right,
            self.total + other.total,
            self.candidates + other.candidates,
            self.lucky + other.lucky,
        )

    @property
    def accuracy(self) -> float:
        return self.right / self.total if self.total else float("nan")

    @property
    def mean_candidates(self) -> float:
        return self.candidates / self.total if self.total else float("nan")

    @property
    def chance(self) -> float:
        return self.lucky / self.total if self.total else float("nan")


def offset_accuracy(
    speech_emb: Float[Tensor, "T D"],
    lip_emb: Float[Tensor, "T D"],
    speech_mask: Bool[Tensor, " T"],
    max_shift: int = 15,
    context_frames: int = 5,
    window_frames: int = 5,
    tolerance: int = 1,
) -> OffsetCounts:
    """Choosing the true offset of a clip in sync among ``2 max_shift + 1``.

    A question is a run of ``context_frames`` frames of lips, all of them inside speech: the
    similarity is averaged over its ``context_frames - window_frames + 1`` consecutive windows, and
    the best of the offsets -max_shift ... max_shift is right when it lies within ``tolerance``
    frames of 0. Offsets that need sound from outside the clip are no candidates, which makes the
    questions of short clips easier: report ``mean_candidates`` and ``chance`` beside ``accuracy``.
    A tie between a right and a wrong offset is wrong. Questions with no wrong candidate left are
    not asked.
    """
    _check(speech_emb, lip_emb, speech_mask)
    windows = context_frames - window_frames + 1
    if windows < 1 or window_frames < 1 or window_frames % 2 == 0:
        raise InputError(
            f"a context of {context_frames} frames and windows of {window_frames} do not fit: "
            "windows need an odd length, the context at least one window"
        )
    similarity = shifted_similarity(speech_emb, lip_emb, max_shift, window_frames)
    if len(similarity) < context_frames:
        return OffsetCounts()
    # A NaN (an offset outside the clip) in any window of the run makes the run's mean NaN.
    runs = similarity.unfold(0, windows, 1).mean(-1)

    # Question q is about the frames q ... q + context - 1; its first window is centred on q + half.
    half = window_frames // 2
    spoken = speech_mask.to(runs.device).unfold(0, context_frames, 1).all(-1)
    runs = runs[half : half + len(spoken)][spoken]

    candidate = ~runs.isnan()
    shift = torch.arange(-max_shift, max_shift + 1, device=runs.device)
    near = (shift.abs() <= tolerance).expand_as(candidate)
    asked = (candidate & near).any(1) & (candidate & ~near).any(1)
    runs, candidate, near = runs[asked], candidate[asked], near[asked]

    floor = runs.new_tensor(-torch.inf)
    best_near = torch.where(candidate & near, runs, floor).amax(1)
    best_far = torch.where(candidate & ~near, runs, floor).amax(1)
    choices = candidate.sum(1)
    return OffsetCounts(
        right=int((best_near > best_far).sum()),
        total=len(runs),
        candidates=int(choices.sum()),
        lucky=float(((candidate & near).sum(1) / choices).sum()),
    )


def shifted_similarity(
    speech_emb: Float[Tensor, "T D"],
    lip_emb: Float[Tensor, "T D"],
    max_shift: int,
    window_frames: int = 5,
) -> Float[Tensor, "T K"]:
    """Cosine of ``lips[t]`` and ``speech[t + k]``; column ``k + max_shift``, K = 2 max_shift + 1.

    NaN where either window reaches outside the clip.
    """
    frames = len(lip_emb)
    speech, lips = normalize(speech_emb, dim=-1), normalize(lip_emb, dim=-1)
    similarity = lips.new_full((frames, 2 * max_shift + 1), torch.nan)
    # Rows first ... last - 1 have a whole window.
    first, last = window_frames // 2, frames - window_frames // 2
    for shift in range(-max_shift, max_shift + 1):
        a, b = max(first, first - shift), min(last, last - shift)
        if a < b:
            column = (lips[a:b] * speech[a + shift : b + shift]).sum(-1)
            similarity[a:b, shift + max_shift] = column
    return similarity


@dataclass(frozen=True)
class SyncConfig:
    max_shift: int = 15
    window_frames: int = 5
    least_windows: int = 10
    """An offset is considered when this many windows of speech have lips to be compared with."""
    rival_frames: int = 2
    """An offset this far from the best one is a rival of it, a nearer one is its own flank."""
    centred: bool = False
    """Whether the best offset is looked for in each window's similarity less its mean. In short
    clips every offset is an average of other windows, and some windows are like everything."""


@dataclass(frozen=True)
class SyncReading:
    """Where the sound lies against the picture, and how far to believe it.

    ``confidence`` is SyncNet's: the median over the offsets of the mean distance, less its minimum;
    it depends on the encoder and cannot be compared between encoders. ``lead`` is ours: by how many
    standard errors the best offset beats its nearest rival (Welch's t; overlapping windows are
    counted once). A best offset of chance seldom leads by 2, and longer clips lead by more.
    ``at_edge`` means that the best offset is the largest that could be tried: the true one may lie
    beyond.
    """

    offset_frames: int
    offset_ms: float
    similarity: float
    distance: float
    confidence: float
    lead: float
    windows: int
    at_edge: bool


def measure_offset(
    speech_emb: Float[Tensor, "T D"],
    lip_emb: Float[Tensor, "T D"],
    speech_mask: Bool[Tensor, " T"],
    config: SyncConfig = SyncConfig(),
) -> SyncReading | None:
    """The offset at which sound and lips of a whole clip agree best; None if it says too little.

    Every window of sound inside speech is compared with the lips up to ``max_shift`` frames before
    and after it. ``offset_ms`` is read between the frames, off a parabola through the peak.
    """
    _check(speech_emb, lip_emb, speech_mask)
    return read_similarity(similarity_by_sound(speech_emb, lip_emb, config), speech_mask, config)


def sync_timeline(
    speech_emb: Float[Tensor, "T D"],
    lip_emb: Float[Tensor, "T D"],
    speech_mask: Bool[Tensor, " T"],
    config: SyncConfig = SyncConfig(),
    seconds: int = 1,
) -> list[SyncReading | None]:
    """One reading for every ``seconds`` of sound; None where nobody speaks long enough."""
    _check(speech_emb, lip_emb, speech_mask)
    similarity = similarity_by_sound(speech_emb, lip_emb, config)
    step = seconds * FRAME_RATE_HZ
    return [
        read_similarity(similarity[start : start + step], speech_mask[start : start + step], config)
        for start in range(0, len(similarity), step)
    ]


def similarity_by_sound(
    speech_emb: Float[Tensor, "T D"], lip_emb: Float[Tensor, "T D"], config: SyncConfig
) -> Float[Tensor, "T K"]:
    """``shifted_similarity`` by rows of sound, so that one mask fits every offset."""
    swapped = shifted_similarity(lip_emb, speech_emb, config.max_shift, config.window_frames)
    return swapped.flip(1)


def read_similarity(
    similarity: Float[Tensor, "T K"], mask: Bool[Tensor, " T"], config: SyncConfig
) -> SyncReading | None:
    """What rows of ``similarity_by_sound``, of one clip or of many end to end, say together."""
    similarity = similarity[mask.to(similarity.device)].double().cpu()
    counts = (~similarity.isnan()).sum(0)
    tried = (counts >= config.least_windows).nonzero()[:, 0]
    if len(tried) <= 2 * config.rival_frames:
        return None
    similarity, counts = similarity[:, tried], counts[tried]
    # Unit vectors: |a - b|^2 = 2 - 2 a.b
    distance = (2 - 2 * similarity).clamp_min(0).sqrt().nanmean(0)
    level = similarity.nanmean(0)
    if config.centred:
        similarity = similarity - similarity.nanmean(1, keepdim=True)
    mean = similarity.nanmean(0)
    best = int(mean.argmax())

    far = (torch.arange(len(tried)) - best).abs() >= config.rival_frames
    rival = int(torch.where(far, mean, -torch.inf).argmax())
    # Not window by window: in a short clip the two may have no window in common.
    error = sum(_squared_error(similarity[:, k], config) for k in (best, rival)) ** 0.5
    return SyncReading(
        offset_frames=int(tried[best]) - config.max_shift,
        offset_ms=FRAME_MS * (int(tried[best]) - config.max_shift + _peak(mean, best)),
        similarity=float(level[best]),
        distance=float(distance[best]),
        confidence=float(distance.median() - distance[best]),
        lead=float(mean[best] - mean[rival]) / max(error, 1e-9),
        windows=int(counts[best]),
        at_edge=best in (0, len(tried) - 1),
    )


def _squared_error(values: Float[Tensor, " N"], config: SyncConfig) -> float:
    """Of their mean; windows that overlap are counted once."""
    values = values[~values.isnan()]
    return float(values.var(correction=0)) / max(1.0, len(values) / config.window_frames)


def _peak(curve: Float[Tensor, " K"], best: int) -> float:
    """Where between the samples a parabola through the three highest has its top, -0.5 to 0.5."""
    if not 0 < best < len(curve) - 1:
        return 0.0
    before, top, after = (float(value) for value in curve[best - 1 : best + 2])
    bend = before - 2 * top + after
    return 0.5 * (before - after) / bend if bend < 0 else 0.0


def _check(
    speech_emb: Float[Tensor, "T D"], lip_emb: Float[Tensor, "T D"], mask: Bool[Tensor, " T"]
) -> None:
    if speech_emb.ndim != 2 or speech_emb.shape != lip_emb.shape:
        raise InputError(
            f"speech embeddings {list(speech_emb.shape)} and lip embeddings "
            f"{list(lip_emb.shape)} differ, but both must be [T, D]: cut them to the same frames"
        )
    if mask.shape != lip_emb.shape[:1]:
        raise InputError(
            f"the speech mask has shape {list(mask.shape)}, but {len(lip_emb)} frames were given: "
            "pass one flag per frame"
        )
    for name, rows in (("speech", speech_emb), ("lip", lip_emb)):
        if not bool(torch.isfinite(rows).all()):
            raise InputError(
                f"the {name} embeddings hold NaN or infinite values: check the encoder"
            )
