"""Lips that a head would show, judged without drawing them: its mouth codes as landmarks.

The same landmarks and the same metrics as in `evaluate avatar`, but read off the person's own mouth
model in place of pictures: no renderer and no tracker come between the features and the figure, so
the figures are the same for any renderer, and all clips of a test set cost seconds. No network
judges here.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from jaxtyping import Float

from se4lip.face.person import Person
from se4lip.features.base import Rows
from se4lip.head.speech_window import SpeechWindow
from se4lip.metrics import closure, landmarks
from se4lip.types import FaceTrack

VERSION = 3  # of the figures: raise it when they are computed otherwise

# name: whether more is better
FIGURES = {
    "aperture_correlation": True,
    "width_correlation": True,
    "lmd_px256": False,
}
LAGS = tuple(range(-4, 5))  # frames, at which lips of unknown sync are compared
_STILL = 1e-9
CLOSURES = ("closed", "missed", "wrong")


@dataclass(frozen=True)
class Asked:
    """One clip that heads are asked about: what the real lips did, and when phones were said.

    ``recording``: what is one recording is one unit of the intervals, however it was cut.
    ``of_this_person``: whether lips can be compared point by point, or only how they move.
    """

    name: str
    samples: Float[np.ndarray, " S"]
    track: FaceTrack
    phones: list[closure.Phone] = field(default_factory=list)
    of_this_person: bool = True
    recording: str = ""

    @property
    def unit(self) -> str:
        return self.recording or self.name


def shown_landmarks(
    window: SpeechWindow, person: Person, rows: Rows, frames: int
) -> Float[np.ndarray, "T 478 3"]:
    """Landmarks in head coordinates (cm) of the mouth that ``window`` makes of features."""
    with torch.inference_mode():
        codes = window(torch.from_numpy(rows)).numpy()
    return person.mouth.decode(codes[np.arange(frames).clip(max=len(codes) - 1)])


def real_landmarks(person: Person, asked: Asked) -> Float[np.ndarray, "T 478 3"]:
    """The real mouth in the same coordinates for the heads' person, else as it was tracked."""
    if not asked.of_this_person:
        return asked.track.landmarks_px.astype(np.float64)
    codes = person.mouth_codes(asked.track, person.head_poses(asked.track))
    return person.mouth.decode(codes)


def judge(
    shown: Float[np.ndarray, "T 478 3"],
    real: Float[np.ndarray, "T 478 3"],
    asked: Asked,
    closed_below: float,
) -> dict[str, Any]:
    """Figures of one clip; NaN where one cannot be computed. Closures are counts, to be added up.

    ``closed_below`` is the aperture at which this person's mouth counts as closed, from all real
    clips together. Of other people, whose sync nobody knows, the correlations at all `LAGS` are
    given too.
    """
    of_shape = {
        "aperture": (landmarks.lip_aperture(shown), landmarks.lip_aperture(real)),
        "width": (landmarks.lip_width(shown), landmarks.lip_width(real)),
    }
    found: dict[str, Any] = {}
    for name, (ours, theirs) in of_shape.items():
        found[f"{name}_correlation"] = agreement(ours, theirs)
        if not asked.of_this_person:
            found[f"{name}_by_lag"] = [lagged_correlation(ours, theirs, lag) for lag in LAGS]
    if asked.of_this_person:
        found["lmd_px256"] = landmarks.lip_distance_px256(shown, real)
        found |= closures(of_shape["aperture"][0], asked.phones, closed_below)
    return found


def agreement(shown: Float[np.ndarray, " T"], real: Float[np.ndarray, " T"]) -> float:
    """Correlation; 0 of a mouth that stands still where the real one moves, which has none.

    Such a clip must not leave the mean: it would be the better for being the worst.
    """
    found = landmarks.correlation(shown, real)
    still = np.ptp(shown[np.isfinite(shown)]) < _STILL if np.isfinite(shown).any() else False
    moves = not math.isnan(landmarks.correlation(real, real))
    return 0.0 if math.isnan(found) and still and moves else found


def closures(
    aperture: Float[np.ndarray, " T"], phones: list[closure.Phone], closed_below: float
) -> dict[str, float]:
    """Counts of `metrics.closure` for one clip; none where no phones are known."""
    if not phones:
        return {}
    counts = closure.count_closures(aperture, phones, closed_below)
    return {name: float(getattr(counts, name)) for name in CLOSURES}


def lagged_correlation(
    shown: Float[np.ndarray, " T"], real: Float[np.ndarray, " T"], lag: int
) -> float:
    """Correlation of what is shown ``lag`` frames later with what is real. Shown lips follow the
    sound, so a positive lag fits sound that comes later than the picture (`metrics.sync`)."""
    if abs(lag) >= len(real):
        return math.nan
    if lag >= 0:
        return agreement(shown[lag:], real[: len(real) - lag])
    return agreement(shown[:lag], real[-lag:])
