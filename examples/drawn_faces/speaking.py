"""A filmed speaker's lips, made into movements of another head."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from heads import MOUTH_UNITS, Mesh, Person
from jaxtyping import Float, Int

from se4lip.face.contour import face_axes, face_points
from se4lip.mesh import CHIN, LIPS, LOWER_INNER, UPPER_INNER
from se4lip.types import FaceTrack

POINTS = (*LIPS, CHIN)
_ACROSS_DOWN_OUT = (1.0, 1.0, 0.15)  # how far a tracker is trusted; depth it guesses
_CHIN_TRUST, _GAP_TRUST, _EASE = 0.5, 3.0, 0.02
_AT_MOST = 1.3  # of a unit


def movements(track: FaceTrack) -> Float[np.ndarray, "T K 3"]:
    """How far each of `POINTS` is from where it rests, in distances of the outer eye corners.

    Axes are the face's (`contour.face_points`). A mouth rests where its lips are nearest.
    """
    points = face_points(track, POINTS).astype(np.float64)
    gap = _gap(points)
    resting = np.argsort(gap)[: max(1, len(gap) // 8)]
    return points - points[resting].mean(0)


def _gap(points: Float[np.ndarray, "*any K 3"]) -> Float[np.ndarray, "*any"]:
    upper, lower = ([POINTS.index(i) for i in lip] for lip in (UPPER_INNER, LOWER_INNER))
    return (points[..., lower, 1] - points[..., upper, 1]).mean(-1)


@dataclass(frozen=True)
class Landmarks:
    """Which vertex of the mesh stands for each of the tracker's points."""

    vertices: Int[np.ndarray, " 478"]

    def units_of(self, mesh: Mesh, person: Person) -> Float[np.ndarray, "U K 3"]:
        """What each of `MOUTH_UNITS` does to `POINTS`, in the person's own face coordinates."""
        _, axes, unit = face_axes(person.rest[self.vertices] * (1, -1, -1))
        lips = self.vertices[list(POINTS)]
        moved = np.stack([mesh.units[name][lips] for name in MOUTH_UNITS])
        return (moved * (1, -1, -1)) @ axes.T / unit


def strengths(
    wanted: Float[np.ndarray, "T K 3"], units: Float[np.ndarray, "U K 3"], rounds: int = 300
) -> Float[np.ndarray, "T U"]:
    """How strong each unit must be for the lips to go where they are wanted, 0 to `_AT_MOST`.

    Least squares within bounds by accelerated projected gradients (Beck & Teboulle 2009). The gap
    between the lips counts for itself: a mouth that all but closes does not close.
    """
    trust = np.tile(_ACROSS_DOWN_OUT, (len(POINTS), 1))
    trust[-1] *= _CHIN_TRUST
    rows = np.concatenate(((units * trust).reshape(len(units), -1), 0 * units[:, :1, 0]), axis=1)
    goals = np.concatenate(((wanted * trust).reshape(len(wanted), -1), 0 * wanted[:, :1, 0]), 1)
    weight = _GAP_TRUST * np.sqrt(len(LIPS))
    rows[:, -1], goals[:, -1] = weight * _gap(units), weight * _gap(wanted)
    square = rows @ rows.T + _EASE * np.eye(len(rows))
    toward = goals @ rows.T
    step = 1 / np.linalg.eigvalsh(square)[-1]
    now = ahead = np.zeros((len(wanted), len(units)))
    pace = 1.0
    for _ in range(rounds):
        new = (ahead - step * (ahead @ square - toward)).clip(0, _AT_MOST)
        faster = (1 + np.sqrt(1 + 4 * pace**2)) / 2
        ahead, now, pace = new + (pace - 1) / faster * (new - now), new, faster
    return now
