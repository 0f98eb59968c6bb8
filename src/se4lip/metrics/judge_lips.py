"""What the second sync judge sees of a face: distances on its mesh, and how far the mouth moves.

No picture, and nothing of the encoder's lip branch but the tracker behind both: lengths in space,
which neither a turning head nor a camera changes much, each in face widths, and MediaPipe's mouth
blendshapes. Left and right are averaged: speech is the same on both sides, and how a mouth is
crooked is the person's own. Landmark numbers are MediaPipe's face mesh.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float32

from se4lip.metrics.landmarks import Landmarks, face_width_px

# Each distance, and its mirror image where it has one.
# fmt: off
GAPS = (  # between the inner lips, from the middle outwards
    ((14, 13),), ((87, 82), (317, 312)), ((178, 81), (402, 311)), ((88, 80), (318, 310)),
    ((95, 191), (324, 415)))
HEIGHTS = (  # of both lips together
    ((17, 0),), ((84, 37), (314, 267)), ((181, 39), (405, 269)), ((91, 40), (321, 270)),
    ((146, 185), (375, 409)))
THICKNESSES = (  # of either lip
    ((0, 13),), ((37, 82), (267, 312)), ((39, 81), (269, 311)),
    ((17, 14),), ((84, 87), (314, 317)), ((181, 178), (405, 402)))
WIDTHS = (
    ((61, 291),), ((78, 308),), ((40, 270),), ((91, 321),), ((37, 267),), ((84, 314),),
    ((0, 61), (0, 291)), ((17, 61), (17, 291)))
JAW = (  # chin, jaw and lips against nose and eyes
    ((2, 152),), ((6, 152),), ((152, 17),), ((152, 14),), ((152, 61), (152, 291)),
    ((2, 0),), ((2, 13),), ((2, 14),), ((2, 17),), ((2, 61), (2, 291)),
    ((33, 61), (263, 291)), ((6, 176), (6, 400)), ((33, 172), (263, 397)))
CHEEKS = (
    ((234, 61), (454, 291)), ((50, 61), (280, 291)), ((205, 61), (425, 291)), ((205, 425),),
    ((187, 411),), ((2, 205), (2, 425)))
SHAPES = (  # of MediaPipe's 52: jaw forward and open, mouth close, dimple, frown, funnel, ...
    (23,), (25,), (27,), (28, 29), (30, 31), (32,), (34, 35), (36, 37), (38,), (40,), (41,), (42,),
    (43,), (44, 45), (46, 47), (48, 49))
# fmt: on
DISTANCES = (*GAPS, *HEIGHTS, *THICKNESSES, *WIDTHS, *JAW, *CHEEKS)
MOTION_WIDTH = len(DISTANCES) + len(SHAPES)
# Face widths and blendshapes that make one unit, so that both are about one when somebody speaks.
_LENGTH_UNIT, _SHAPE_UNIT = 0.02, 0.15


def face_motion(
    landmarks: Landmarks, blendshapes: Float32[np.ndarray, "T 52"]
) -> Float32[np.ndarray, "T 59"]:
    """Distances and blendshapes of every frame, each less its mean over the clip."""
    points = landmarks.astype(np.float64)
    first, second = (np.array([(one[0][end], one[-1][end]) for one in DISTANCES]) for end in (0, 1))
    lengths = np.linalg.norm(points[:, first] - points[:, second], axis=-1).mean(-1)
    lengths /= np.median(face_width_px(landmarks)) * _LENGTH_UNIT
    sides = np.array([(one[0], one[-1]) for one in SHAPES])
    shapes = blendshapes[:, sides].mean(-1) / _SHAPE_UNIT
    motion = np.concatenate((lengths, shapes), axis=1)
    return (motion - motion.mean(0)).astype(np.float32)
