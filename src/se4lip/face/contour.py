"""The moving contour of the lips, freed of head pose, face size and the speaker's own mouth.

What remains is motion, which is what speech explains, and which looks the same on a face that no
network has seen.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Float32, Int

from se4lip.mesh import (
    FOREHEAD,
    LIPS,
    MOUTH_BLENDSHAPES,
    NOSE_BASE,
    NOSTRILS,
    OUTER_EYE_CORNERS,
    OUTER_LIPS,
    STEADY,
)
from se4lip.types import LANDMARKS, FaceTrack

_STEADY = (*STEADY, *NOSTRILS)
_AXES = (*OUTER_EYE_CORNERS, NOSE_BASE, FOREHEAD)  # the points `face_axes` looks at
CONTOUR_WIDTH = 3 * len(LIPS) + len(MOUTH_BLENDSHAPES)
POINT_GAIN, SHAPE_GAIN = 10, 2  # both of spread near one

_MIRRORED_PAIRS = (
    (24, 26),
    (28, 29),
    (30, 31),
    (33, 39),
    (34, 35),
    (36, 37),
    (44, 45),
    (46, 47),
    (48, 49),
)


def face_points(track: FaceTrack, points: tuple[int, ...]) -> Float32[np.ndarray, "T K 3"]:
    """``points`` in face coordinates: x to the speaker's left, y down, unit = outer eye distance.

    Each frame is turned and moved (not scaled) onto the clip's mean face by its steady points
    (Kabsch 1976); one scale serves the whole clip, so a leaning head does not open its mouth.
    """
    # Only what is used is made float64: an hour has 90,000 frames.
    steady = track.landmarks_px[:, _STEADY].astype(np.float64)
    mean = steady[len(steady) // 2]
    for _ in range(3):  # the mean face and the turns onto it settle at once
        turns, shifts = _rigid(steady, mean)
        mean = (np.einsum("tij,tkj->tki", turns, steady) + shifts[:, None]).mean(0)
    used = np.array((*points, *_AXES))
    moved = np.einsum("tij,tkj->tki", turns, track.landmarks_px[:, used].astype(np.float64))
    moved += shifts[:, None]
    mean_face = np.full((LANDMARKS, 3), np.nan)
    mean_face[used] = moved.mean(0)
    origin, axes, unit = face_axes(mean_face)
    return ((moved[:, : len(points)] - origin) @ axes.T / unit).astype(np.float32)


def face_axes(
    face: Float[np.ndarray, "478 3"],
) -> tuple[Float[np.ndarray, "3"], Float[np.ndarray, "3 3"], float]:
    """Origin, axes (x, y and z of the face, as rows) and unit of a face's own coordinates, from
    its outer eye corners, forehead and nose."""
    right_eye, left_eye = face[list(OUTER_EYE_CORNERS)]
    across = left_eye - right_eye
    unit = np.linalg.norm(across)
    x = across / unit
    y = face[NOSE_BASE] - face[FOREHEAD]
    y = y - x * (x @ y)
    y = y / np.linalg.norm(y)
    return (left_eye + right_eye) / 2, np.stack((x, y, np.cross(x, y))), float(unit)


def lip_contour(track: FaceTrack) -> Float32[np.ndarray, "T 147"]:
    """Lip points in face coordinates and mouth blendshapes, each less its mean over the clip."""
    points = face_points(track, LIPS).reshape(len(track), -1)
    shapes = track.blendshapes[:, MOUTH_BLENDSHAPES]
    contour = np.concatenate((POINT_GAIN * points, SHAPE_GAIN * shapes), axis=1)
    return (contour - contour.mean(0)).astype(np.float32)


def mirrored_columns() -> tuple[Int[np.ndarray, " 147"], Float32[np.ndarray, " 147"]]:
    """``contour[:, order] * sign`` is the contour of the mirrored face."""
    half = len(OUTER_LIPS)
    ring = (half // 2 - np.arange(half)) % half
    points = np.concatenate((ring, half + ring))
    order = (3 * points[:, None] + np.arange(3)).ravel()
    shapes = {index: index for index in MOUTH_BLENDSHAPES}
    for left, right in _MIRRORED_PAIRS:
        shapes[left], shapes[right] = right, left
    first = MOUTH_BLENDSHAPES[0]
    order = np.concatenate((order, [3 * len(LIPS) + shapes[i] - first for i in MOUTH_BLENDSHAPES]))
    sign = np.ones(CONTOUR_WIDTH, np.float32)
    sign[0 : 3 * len(LIPS) : 3] = -1
    return order, sign


def _rigid(
    source: Float32[np.ndarray, "T K 3"], target: Float32[np.ndarray, "K 3"]
) -> tuple[np.ndarray, np.ndarray]:
    """Rotations and shifts that take each ``source[t]`` nearest to ``target``."""
    centre, goal = source.mean(1, keepdims=True), target.mean(0)
    # As `rigid.nearest_rotations`, in another order: encoders have learned from these very bits.
    u, _, vt = np.linalg.svd(np.einsum("tki,kj->tij", source - centre, target - goal))
    flip = np.sign(np.linalg.det(np.einsum("tij,tjk->tik", u, vt)))
    u[:, :, 2] *= flip[:, None]
    turns = np.einsum("tij,tjk->tki", u, vt)
    return turns, goal - np.einsum("tij,tj->ti", turns, centre[:, 0])
