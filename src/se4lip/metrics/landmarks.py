"""What the lips do, from the tracker's landmarks alone: nothing here has heard the sound.

Landmarks are ``[T, 478, 3]`` as in ``types.FaceTrack``: pixels of the picture, depth in the same
unit. A row of NaN is a frame without a face; such frames are left out. Lengths are given in pixels
of a face 256 px wide (``_px256``) or in face widths, so that near and far cameras compare. A figure
for which no frame is left is NaN.

The face's width is the distance in space of the mesh's widest points, which neither speech nor a
turning head changes much.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Complex128, Float, Float64

from se4lip.mesh import (
    EYE_LINE,
    LIDS,
    LIPS,
    LOWER_INNER,
    MOUTH_BLENDSHAPES,
    MOUTH_CORNERS,
    STEADY,
    UPPER_INNER,
    WIDEST,
)
from se4lip.metrics.report import mean_known
from se4lip.types import InputError

Landmarks = Float[np.ndarray, "T 478 3"]

FACE_PX = 256

# What MediaPipe makes of a still face on a head that moves as speakers' heads do stays under this
# in 999 of 1,000 frames (benchmarks/still_face.py), and four fifths of real speech lie above it.
STILL_PX256 = 1.5
_MOVE_FRAMES = 3
_BLINK = 0.5  # of how far the lids are usually apart


def face_width_px(landmarks: Landmarks) -> Float64[np.ndarray, " T"]:
    return _distance(landmarks, *WIDEST)


def lip_aperture(landmarks: Landmarks) -> Float64[np.ndarray, " T"]:
    """How far the lips are apart in the middle of the mouth, in face widths."""
    gaps = [_distance(landmarks, a, b) for a, b in zip(UPPER_INNER, LOWER_INNER, strict=True)]
    return np.mean(gaps, axis=0) / face_width_px(landmarks)


def lip_width(landmarks: Landmarks) -> Float64[np.ndarray, " T"]:
    """The distance of the corners of the mouth, in face widths."""
    return _distance(landmarks, *MOUTH_CORNERS) / face_width_px(landmarks)


def lids_apart(landmarks: Landmarks) -> Float64[np.ndarray, " T"]:
    """How far the lids are apart in the middle of the eyes, in eye widths."""
    eyes = zip(LIDS, (EYE_LINE[:2], EYE_LINE[2:]), strict=True)
    gaps = [_distance(landmarks, *lids) / _distance(landmarks, *ends) for lids, ends in eyes]
    return np.mean(gaps, axis=0)


def blinks(landmarks: Landmarks) -> Bool[np.ndarray, " T"]:
    """Where the lids are less than half as far apart as they usually are."""
    apart = lids_apart(landmarks)
    seen = apart[np.isfinite(apart)]
    return apart < _BLINK * np.median(seen) if len(seen) else np.zeros(len(apart), bool)


def lip_distance_px256(predicted: Landmarks, real: Landmarks) -> float:
    """LMD: how far lip landmarks lie from the real ones in the picture, on average.

    Plain: a head that is held differently counts as an error of the lips.

    Source: Chen et al., "Lip movements generation at a glance", ECCV 2018, section 4.1; their
    figure is the mean distance over landmarks and frames, the scale of 256 px is ours.
    """
    _same_frames(predicted, real)
    apart = np.abs(_plane(predicted, LIPS) - _plane(real, LIPS))
    return mean_known(apart) * _scale(real)


def lip_distance_head_aligned_px256(predicted: Landmarks, real: Landmarks) -> float:
    """LMD after each predicted face was laid onto the real one by points that speech does not move.

    A similarity transform in the picture (shift, turn, scale) takes out head motion, not the lips.
    """
    _same_frames(predicted, real)
    moved = _laid_onto(_plane(predicted, LIPS), _plane(predicted, STEADY), _plane(real, STEADY))
    return mean_known(np.abs(moved - _plane(real, LIPS))) * _scale(real)


def correlation(a: Float[np.ndarray, " T"], b: Float[np.ndarray, " T"]) -> float:
    """Pearson's, over the frames in which both are known; NaN if either never changes."""
    both = np.isfinite(a) & np.isfinite(b)
    if both.sum() < 3:
        return float("nan")
    a, b = a[both] - a[both].mean(), b[both] - b[both].mean()
    spread = np.sqrt((a @ a) * (b @ b))
    # A mouth that stands still but for rounding has no correlation with anything.
    still = min(np.abs(a).max(), np.abs(b).max()) < 1e-9
    return float("nan") if still else float(a @ b / spread)


def blendshape_error(
    predicted: Float[np.ndarray, "T 52"], real: Float[np.ndarray, "T 52"]
) -> float:
    """Mean absolute difference of MediaPipe's 27 mouth and jaw blendshapes.

    A proxy of the action-unit error of papers, in [0, 1]; blendshapes are not action units.
    """
    _same_frames(predicted, real)
    return mean_known(np.abs(predicted - real)[:, MOUTH_BLENDSHAPES])


def jitter_px256(landmarks: Landmarks) -> float:
    """Mean acceleration of the lips, in px per frame and frame, head motion taken out.

    Real speech has some; more than the real video's is trembling, less is smearing.
    """
    lips = _stabilised(landmarks)
    return mean_known(np.abs(lips[2:] - 2 * lips[1:-1] + lips[:-2]))


def silent_motion_px256(
    landmarks: Landmarks, speaking: Bool[np.ndarray, " T"], margin_frames: int = 5
) -> float:
    """Mean speed of the lips while nobody speaks, in px per frame, head motion taken out.

    Frames within ``margin_frames`` of speech do not count: lips open before they are heard.
    """
    _same_frames(landmarks, speaking)
    silent = _far_from_speech(speaking, margin_frames)
    speed = np.abs(np.diff(_stabilised(landmarks), axis=0))
    return mean_known(speed[silent[1:] & silent[:-1]])


def moves_in_silence(
    landmarks: Landmarks,
    speaking: Bool[np.ndarray, " T"],
    threshold_px256: float = STILL_PX256,
    margin_frames: int = 5,
) -> Bool[np.ndarray, " N"]:
    """Of each silent frame, whether the mouth moves in it: the mean is a share of frames.

    It moves at frame ``t`` where the lips of the three frames from ``t`` on lie on average more
    than ``threshold_px256`` from those of the three before, head motion taken out. Single frames
    would not do: a tracker's points tremble by more than lips at rest move. Frames within
    ``margin_frames`` of speech do not count, nor do those whose six frames are not all silent, nor
    those with a blink in them, which moves a tracker's lips where no pixel of the mouth changes.
    """
    _same_frames(landmarks, speaking)
    apart, silent = lip_moves_px256(landmarks), _far_from_speech(speaking, margin_frames)
    if len(apart) == 0:
        return np.zeros(0, bool)
    asked = silent & ~blinks(landmarks)
    whole = np.lib.stride_tricks.sliding_window_view(asked, 2 * _MOVE_FRAMES).all(-1)
    return apart[whole & np.isfinite(apart)] > threshold_px256


def lip_moves_px256(landmarks: Landmarks) -> Float64[np.ndarray, " T-5"]:
    """How far three frames' mean lips lie from those of the three frames before; NaN if unseen."""
    reach = _MOVE_FRAMES
    if len(landmarks) < 2 * reach:
        return np.zeros(0)
    lips = np.lib.stride_tricks.sliding_window_view(_stabilised(landmarks), reach, axis=0).mean(-1)
    return np.abs(lips[reach:] - lips[:-reach]).mean(-1)


def _far_from_speech(
    speaking: Bool[np.ndarray, " T"], margin_frames: int
) -> Bool[np.ndarray, " T"]:
    reach = np.ones(2 * margin_frames + 1)
    return np.convolve(speaking, reach)[margin_frames : margin_frames + len(speaking)] == 0


def mouth_boxes_px(landmarks: Landmarks, margin: float = 0.35) -> Float64[np.ndarray, "T 4"]:
    """Left, top, right, bottom of the lips, widened on every side by ``margin`` mouth widths."""
    lips = landmarks[:, LIPS, :2].astype(np.float64)
    low, high = lips.min(1), lips.max(1)
    border = margin * (high[:, :1] - low[:, :1])
    return np.concatenate((low - border, high + border), axis=1)


def _distance(landmarks: Landmarks, a: int, b: int) -> Float64[np.ndarray, " T"]:
    return np.linalg.norm(landmarks[:, a].astype(np.float64) - landmarks[:, b], axis=1)


def _plane(landmarks: Landmarks, points: tuple[int, ...]) -> Complex128[np.ndarray, "T K"]:
    """Points of the picture as complex numbers: a similarity transform is then ``a z + b``."""
    xy = landmarks[:, points, :2].astype(np.float64)
    return xy[..., 0] + 1j * xy[..., 1]


def _laid_onto(
    points: Complex128[np.ndarray, "T K"],
    steady: Complex128[np.ndarray, "T M"],
    goal: Complex128[np.ndarray, "... M"],
) -> Complex128[np.ndarray, "T K"]:
    """``points`` after the similarity that takes ``steady`` nearest to ``goal``, frame by frame."""
    centre = steady.mean(-1, keepdims=True)
    goal_centre = goal.mean(-1, keepdims=True)
    source, target = steady - centre, goal - goal_centre
    with np.errstate(invalid="ignore"):  # a frame without a face stays NaN
        turn = (source.conj() * target).sum(-1, keepdims=True)
        turn = turn / (np.abs(source) ** 2).sum(-1, keepdims=True)
        return turn * (points - centre) + goal_centre


def _stabilised(landmarks: Landmarks) -> Complex128[np.ndarray, "T K"]:
    """Lips of a head held still, in pixels of a face 256 px wide."""
    steady = _plane(landmarks, STEADY)
    seen = np.flatnonzero(np.isfinite(steady).all(1))
    if len(seen) == 0:
        return np.full((len(landmarks), len(LIPS)), np.nan, np.complex128)
    shape = steady[seen[len(seen) // 2]]
    width = face_width_px(landmarks)[seen[len(seen) // 2]]
    for _ in range(2):  # the mean shape, so that one frame's noise is not everybody's
        shape = np.nanmean(_laid_onto(steady, steady, shape), axis=0)
    return _laid_onto(_plane(landmarks, LIPS), steady, shape) * (FACE_PX / width)


def _scale(real: Landmarks) -> float:
    widths = face_width_px(real)
    widths = widths[np.isfinite(widths)]
    return FACE_PX / float(np.median(widths)) if len(widths) else float("nan")


def _same_frames(a: np.ndarray, b: np.ndarray) -> None:
    if len(a) != len(b):
        raise InputError(
            f"{len(a)} and {len(b)} frames cannot be compared one by one: cut both to the same part"
        )
