"""Speech to mouth: a speech window learns the mouth's codes from every take."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Float32
from torch import Tensor
from torch.nn import functional

from se4lip.face.expression import MouthModel
from se4lip.head.speech_window import SpeechWindow
from se4lip.mesh import LIPS, LOWER_INNER_LIP, UPPER_INNER_LIP
from se4lip.metrics.closure import closed_below
from se4lip.metrics.landmarks import correlation
from se4lip.train.avatar_phones import NOTHING, Asked, Demands, span_mm

_SEGMENT_FRAMES = 60
_SEGMENTS = 16  # a step
_EDGE_FRAMES = 9  # of a segment, whose codes would be made of rows that are not in it
_GATE = 0.2  # weight of the gate's cross entropy, beside millimetres
_GAP = 0.3  # weight of the distance between the lips
_CLOSED = 7.0  # times that where they close in speech
_SILENT_SHARE = (0.25, 0.5)  # of what is drawn, at least and at most
_UNFILMED_SHARE = 0.2  # of the speech that is drawn, at most
LEAST_SPEECH_FRAMES = 5  # in a take that is to tell what silence is
_STILL_FRAMES, _REST_FRAMES = 2, 6  # from speech: as filmed up to the first, at rest from the last
_MARGIN_FRAMES = 5  # around speech, that are no silence: lips open before they are heard


@dataclass(frozen=True)
class Heard:
    """Features and mouth codes of one take, row by row, NaN where nobody saw the mouth; and where
    somebody speaks in it: 1, where nobody does: 0, and where that is not known: NaN, as it is for
    all of it if it is not given. ``asked`` is what the phones of a row ask of the lips
    (`train.avatar_phones`), nothing if it is not given."""

    features: Float32[np.ndarray, "T D"]
    mouth: Float32[np.ndarray, "T K"]
    spoken: Float32[np.ndarray, " T"] | None = None
    asked: Asked | None = None

    def __len__(self) -> int:
        return len(self.mouth)


def aperture_cm(mouth: MouthModel, codes: Float[np.ndarray, "T K"]) -> Float[np.ndarray, " T"]:
    """How far the lips are apart in the middle."""
    upper, lower = UPPER_INNER_LIP, LOWER_INNER_LIP
    moved = mouth.basis_cm[:, lower, 1] - mouth.basis_cm[:, upper, 1]
    return mouth.shape_cm[lower, 1] - mouth.shape_cm[upper, 1] + codes @ moved


def resting_code(
    mouth: MouthModel,
    codes: Sequence[Float32[np.ndarray, "T K"]],
    speaking: Sequence[Bool[np.ndarray, " T"]],
) -> Float32[np.ndarray, " K"]:
    """The closed mouth: what the lips do in silence, in the half of it when they are closest.

    Without silence, the mean of the twentieth of all frames in which they are closest.
    """
    reach = np.ones(2 * _MARGIN_FRAMES + 1)
    silent = np.concatenate(
        [np.convolve(s, reach)[_MARGIN_FRAMES:-_MARGIN_FRAMES] == 0 for s in speaking]
    )
    every = np.concatenate(codes)
    share = 0.5
    if silent.sum() < 10:
        silent[:], share = True, 0.05
    gap = aperture_cm(mouth, every)
    closed = silent & (gap <= np.quantile(gap[silent], share))
    return every[closed].mean(0)


class MouthTask:
    """One step: segments of takes. Millimetres of the lips, the gap between them counting most
    where it closes in speech, and whether somebody speaks."""

    def __init__(
        self,
        module: SpeechWindow,
        mouth: MouthModel,
        heard: Sequence[Heard],
        validation: Sequence[Heard],
    ) -> None:
        self.module = module
        self.mouth = mouth
        self.validation = validation
        lips = list(LIPS)
        self.lips_mm = torch.from_numpy(
            10 * mouth.basis_cm[:, lips].reshape(mouth.width, -1)
        ).float()
        _, self.gap_mm = span_mm(mouth, UPPER_INNER_LIP, LOWER_INNER_LIP, axis=1)
        self.features = torch.from_numpy(np.concatenate([h.features for h in heard]))
        codes = np.concatenate([h.mouth for h in heard])
        seen = np.isfinite(codes).all(1)
        self.seen = torch.from_numpy(seen)
        self.codes = torch.from_numpy(np.where(seen[:, None], codes, np.float32(0)))
        unknown = (np.full(len(h), np.nan, np.float32) for h in heard)
        self.spoken = torch.from_numpy(
            np.concatenate(
                [u if h.spoken is None else h.spoken for h, u in zip(heard, unknown, strict=True)]
            )
        )
        gap = aperture_cm(mouth, self.codes.numpy())
        # What is shut is seen in speech: rest, of which there may be any amount, would hide it.
        spoken = seen & (self.spoken != 0).numpy()
        shut = torch.from_numpy(gap < closed_below(gap[spoken if spoken.any() else seen]))
        talking = self.seen & (self.spoken == 1)
        self.closed = (shut & talking).float()
        asked = (np.zeros(len(h), np.int8) if h.asked is None else h.asked for h in heard)
        self.asked = torch.from_numpy(np.concatenate([*asked]))
        self.demands: Demands | None = None
        if self.asked.any():
            measured = talking if talking.any() else self.seen  # takes without sound
            self.demands = Demands(mouth, self.codes.numpy(), measured.numpy())
        self.length = torch.tensor([len(h) for h in heard])
        self.first = self.length.cumsum(0) - self.length
        self.weight = drawing_weights(heard)

    def loss(self, step: int) -> tuple[Tensor, dict[str, float]]:
        frames = _SEGMENT_FRAMES + 2 * _EDGE_FRAMES
        take = torch.multinomial(self.weight, _SEGMENTS, replacement=True)
        length = self.length[take, None]
        start = (torch.rand(_SEGMENTS, 1) * length).long() - frames // 2
        at = start + torch.arange(frames)
        rows = self.first[take, None] + at.clamp(min=0).minimum(length - 1)
        inside = (at >= 0) & (at < length)
        inside[:, :_EDGE_FRAMES] = inside[:, -_EDGE_FRAMES:] = False
        codes, heed = self.module.codes_and_heed(self.features[rows])
        seen = inside & self.seen[rows]
        error = (codes - self.codes[rows]) * seen[..., None]
        both = (seen[:, 1:] & seen[:, :-1])[..., None]
        lips = error @ self.lips_mm
        frames_seen = seen.sum().clamp(min=1)
        count = frames_seen * self.lips_mm.shape[1]
        place = lips.abs().sum() / count
        speed = ((lips[:, 1:] - lips[:, :-1]) * both).abs().sum() / count
        code = error.abs().sum() / (frames_seen * error.shape[-1])
        # Lips that close do it in a frame or two, which a mean over frames would hardly miss.
        gap = (error @ self.gap_mm).abs() * (1 + (_CLOSED - 1) * self.closed[rows])
        known = inside & self.spoken[rows].isfinite()
        gate = functional.binary_cross_entropy_with_logits(
            heed[known], self.spoken[rows][known], reduction="sum"
        ) / known.sum().clamp(min=1)
        lips_mm = place + 0.5 * speed + _GAP * gap.sum() / frames_seen
        figures = {"lips_mm": place.item(), "gate": gate.item()}
        total = lips_mm + 0.1 * code + _GATE * gate
        if self.demands is not None:
            missed = self.demands.missed_mm(codes, self.asked[rows].where(inside, NOTHING))
            total, figures["asked_mm"] = total + missed, missed.item()
        return total, figures

    @torch.no_grad()
    def validate(self, module: SpeechWindow) -> dict[str, float]:
        if not self.validation:
            return {}
        module.eval()
        apart, ours, real = [], [], []
        for one in self.validation:
            found = module(torch.from_numpy(one.features)).numpy()
            lips = (found - one.mouth) @ self.lips_mm.numpy()
            apart.append(np.linalg.norm(lips.reshape(len(one), -1, 3)[..., :2], axis=-1).mean())
            ours.append(aperture_cm(self.mouth, found))
            real.append(aperture_cm(self.mouth, one.mouth))
        agreement = correlation(np.concatenate(ours), np.concatenate(real))
        return {"lips_mm": float(np.mean(apart)), "aperture_correlation": agreement}


def drawing_weights(heard: Sequence[Heard]) -> Float[Tensor, " takes"]:
    """How often takes are drawn: by their length, but those without speech a quarter of the time
    at least and half of it at most, and speech whose lips nobody saw a fifth of the rest at most. A
    portrait of 20 s would else hear hardly anything but noise and other people.
    """
    weight = torch.tensor([float(len(one)) for one in heard])
    silent = torch.tensor([one.spoken is not None and not np.any(one.spoken) for one in heard])
    unfilmed = torch.tensor([bool(np.isnan(one.mouth).any()) for one in heard]) & ~silent
    filmed = ~silent & ~unfilmed
    _held_to(weight, unfilmed, filmed, (0.0, _UNFILMED_SHARE))
    _held_to(weight, silent, ~silent, _SILENT_SHARE)
    return weight


def _held_to(
    weight: Float[Tensor, " takes"],
    these: Bool[Tensor, " takes"],
    others: Bool[Tensor, " takes"],
    share: tuple[float, float],
) -> None:
    """Scales the weight of ``these`` to a ``share`` of the two between two bounds, in place."""
    own, rest = weight[these].sum(), weight[others].sum()
    if own and rest:
        wanted = (own / (own + rest)).clamp(*share)
        weight[these] *= wanted / (1 - wanted) * rest / own


def silent_take(features: Float32[np.ndarray, "T D"], rest: Float32[np.ndarray, " K"]) -> Heard:
    """Sound in which nobody speaks, and the mouth that belongs to it."""
    count = len(features)
    return Heard(features, np.repeat(rest[None], count, axis=0), np.zeros(count, np.float32))


def resting_in_silence(
    mouth: Float32[np.ndarray, "T K"],
    speaking: Bool[np.ndarray, " T"],
    rest: Float32[np.ndarray, " K"],
) -> tuple[Float32[np.ndarray, "T K"], Float32[np.ndarray, " T"]]:
    """The mouth of a take, brought to rest where its silence is long, and who speaks (`Heard`).

    Near speech the mouth is as it was filmed, for lips open before they are heard and close after;
    from there it comes to rest in a few frames. A take in which hardly anybody is heard is left
    alone: its sound may be missing.
    """
    if speaking.sum() < LEAST_SPEECH_FRAMES:
        return mouth, np.full(len(mouth), np.nan, np.float32)
    share, spoken = coming_to_rest(speaking)
    return (mouth + share[:, None] * (rest - mouth)).astype(np.float32), spoken


def coming_to_rest(
    speaking: Bool[np.ndarray, " T"],
) -> tuple[Float[np.ndarray, " T"], Float32[np.ndarray, " T"]]:
    """How far a mouth has come to rest, 0 near speech and 1 some frames away from all of it, and
    who speaks (`Heard`): nobody where it is at rest, unknown on the way there."""
    away = _frames_from(speaking) - _STILL_FRAMES
    share = (away / (_REST_FRAMES - _STILL_FRAMES)).clip(0, 1)
    spoken = np.select([speaking, share == 1], [1, 0], np.nan)
    return share, spoken.astype(np.float32)


def _frames_from(speaking: Bool[np.ndarray, " T"]) -> Float[np.ndarray, " T"]:
    """How many frames each frame is away from the nearest that is true."""
    frame = np.arange(len(speaking), dtype=float)
    last = np.maximum.accumulate(np.where(speaking, frame, -np.inf))
    following = np.minimum.accumulate(np.where(speaking, frame, np.inf)[::-1])[::-1]
    return np.minimum(frame - last, following - frame)
