"""Lips that a head would show, judged without drawing them: its mouth codes as landmarks.

The same landmarks and the same metrics as in `evaluate avatar`, but read off the head's own mouth
model in place of its pictures: no renderer and no tracker come between the features and the figure,
and all clips of a test set cost seconds. No network judges here.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
import torch
from jaxtyping import Float

from se4lip.artifacts.avatar import Avatar
from se4lip.features.base import Rows
from se4lip.metrics import closure, landmarks
from se4lip.types import FaceTrack

# name: whether more is better
FIGURES = {
    "aperture_correlation": True,
    "width_correlation": True,
    "lmd_px256": False,
}


@dataclass(frozen=True)
class Asked:
    """One clip that heads are asked about: what the real lips did, and when phones were said.

    ``of_this_person``: whether lips can be compared point by point, or only how they move.
    """

    name: str
    samples: Float[np.ndarray, " S"]
    track: FaceTrack
    phones: list[closure.Phone] = field(default_factory=list)
    of_this_person: bool = True


def shown_landmarks(avatar: Avatar, rows: Rows, frames: int) -> Float[np.ndarray, "T 478 3"]:
    """Landmarks in head coordinates (cm) of the mouth that ``avatar`` makes of features."""
    with torch.inference_mode():
        codes = avatar.head.speech(torch.from_numpy(rows)).numpy()
    return avatar.person.mouth.decode(codes[np.arange(frames).clip(max=len(codes) - 1)])


def real_landmarks(avatar: Avatar, asked: Asked) -> Float[np.ndarray, "T 478 3"]:
    """The real mouth in the same coordinates for the avatar's person, else as it was tracked."""
    if not asked.of_this_person:
        return asked.track.landmarks_px.astype(np.float64)
    person = avatar.person
    codes = person.mouth_codes(asked.track, person.head_poses(asked.track))
    return person.mouth.decode(codes)


def judge(
    shown: Float[np.ndarray, "T 478 3"],
    real: Float[np.ndarray, "T 478 3"],
    asked: Asked,
    closed_below: float,
) -> dict[str, float]:
    """Figures of one clip; NaN where one cannot be computed. Closures are counts, to be added up.

    ``closed_below`` is the aperture at which this person's mouth counts as closed, from all real
    clips together.
    """
    counts = closure.count_closures(landmarks.lip_aperture(shown), asked.phones, closed_below)
    comparable = asked.of_this_person
    return {
        "aperture_correlation": landmarks.correlation(
            landmarks.lip_aperture(shown), landmarks.lip_aperture(real)
        ),
        "width_correlation": landmarks.correlation(
            landmarks.lip_width(shown), landmarks.lip_width(real)
        ),
        "lmd_px256": landmarks.lip_distance_px256(shown, real) if comparable else math.nan,
        "closed": float(counts.closed) if comparable and asked.phones else math.nan,
        "missed": float(counts.missed) if comparable and asked.phones else math.nan,
        "wrong": float(counts.wrong) if comparable and asked.phones else math.nan,
    }
