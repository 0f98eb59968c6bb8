"""Stabilised mouth crops: a window that follows the face rigidly and never the lips or the jaw.

A lip coordinate system is laid over the face: origin at the mouth's resting place, x along the
line of the eyes to the right of the picture, y down, the crop reaching from -1 to 1 on both axes.
``image_from_lips`` ``[T, 2, 3]`` takes it to source pixels: ``p_px = A @ (x, y, 1)``.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Float64, UInt8
from torch.nn import functional

from se4lip.face.rigid import nearest_rotations
from se4lip.face.smoothing import smoothed
from se4lip.mesh import MOUTH_CORNERS, OUTER_EYE_CORNERS, STABLE
from se4lip.types import FRAME_RATE_HZ, FaceTrack, within


@dataclass(frozen=True)
class LipsConfig:
    """Where the window lies. Lengths are in distances of the outer eye corners."""

    width: float = 1.15
    below_mouth_corners: float = 0.12
    motion_smooth_s: float = 0.12
    scale_smooth_s: float = 0.8
    size_px: int = 96

    def __post_init__(self) -> None:
        within(self, width=(0.01, 100), below_mouth_corners=(-10, 10), size_px=(8, 1024))
        within(self, motion_smooth_s=(0, 60), scale_smooth_s=(0, 60))


def image_from_lips_transforms(
    track: FaceTrack,
    config: LipsConfig = LipsConfig(),
) -> Float64[np.ndarray, "T 2 3"]:
    """The lip window of every frame as a similarity transform to source pixels.

    Scale is taken from distances in space, so that a turned head is not shrunk. The mouth's place
    on the face is its median over the clip; an opening jaw does not move the window.
    """
    # Only what is used is made float64: an hour has 90,000 frames.
    stable, mouth, eye_corners = (
        track.landmarks_px[:, points].astype(np.float64)
        for points in (STABLE, MOUTH_CORNERS, OUTER_EYE_CORNERS)
    )
    scale, rotation, centre = _rigid_motion(stable)
    mouth = mouth.mean(1)
    # Face coordinates: x = rotation^T (p - centre) / scale.
    local = np.einsum("tji,tj->ti", rotation, mouth - centre) / scale[:, None]
    eyes = eye_corners[:, 1] - eye_corners[:, 0]
    local_eyes = np.median(np.einsum("tji,tj->ti", rotation, eyes) / scale[:, None], axis=0)
    eye_distance = float(np.linalg.norm(local_eyes))
    across = local_eyes / eye_distance
    # Down the face: from the eyes' middle to the mouth, at right angles to the line of the eyes.
    middle = np.median(local, axis=0) - _local_eye_middle(eye_corners, scale, rotation, centre)
    down = middle - across * (middle @ across)
    down /= np.linalg.norm(down)
    anchor = np.median(local, axis=0) + config.below_mouth_corners * eye_distance * down

    scale = np.exp(smoothed(np.log(scale)[:, None], config.scale_smooth_s * FRAME_RATE_HZ)[:, 0])
    place = centre + scale[:, None] * np.einsum("tij,j->ti", rotation, anchor)
    place = smoothed(place[:, :2], config.motion_smooth_s * FRAME_RATE_HZ)
    # Roll from the direction of the eyes in the picture, smoothed as a vector: angles wrap.
    roll = smoothed(
        np.einsum("tij,j->ti", rotation, across)[:, :2], config.motion_smooth_s * FRAME_RATE_HZ
    )
    roll /= np.linalg.norm(roll, axis=1, keepdims=True)
    half_px = 0.5 * config.width * eye_distance * scale
    transforms = np.empty((len(track), 2, 3))
    transforms[:, 0, 0] = transforms[:, 1, 1] = half_px * roll[:, 0]
    transforms[:, 1, 0] = half_px * roll[:, 1]
    transforms[:, 0, 1] = -half_px * roll[:, 1]
    transforms[:, :, 2] = place
    return transforms


def crop_lips(
    frames: Iterable[UInt8[np.ndarray, "H W 3"]],
    transforms: Float[np.ndarray, "T 2 3"],
    size_px: int = LipsConfig.size_px,
) -> UInt8[np.ndarray, "T {size_px} {size_px} 3"]:
    """Cut the lip window out of each frame, bilinear, averaged where it is made smaller.

    Frames are taken one at a time. Outside the picture its border is repeated.
    """
    crops = np.empty((len(transforms), size_px, size_px, 3), np.uint8)
    for crop, frame, transform in zip(crops, frames, transforms, strict=True):
        crop[:] = _crop(frame, transform, size_px)
    return crops


def _rigid_motion(
    points: Float64[np.ndarray, "T K 3"],
) -> tuple[Float64[np.ndarray, " T"], Float64[np.ndarray, "T 3 3"], Float64[np.ndarray, "T 3"]]:
    """Scale, rotation and centre of each frame's points relative to their mean shape.

    Source: Umeyama, Least-squares estimation of transformation parameters (1991).
    """
    centre = points.mean(1)
    shapes = points - centre[:, None]
    size = np.linalg.norm(shapes, axis=(1, 2))
    reference = shapes[np.argsort(size)[len(size) // 2]] / np.median(size)
    for _ in range(3):
        covariance = np.einsum("tki,kj->tij", shapes, reference)
        rotation, stretches = nearest_rotations(covariance)
        scale = stretches.sum(1) / (reference**2).sum()
        aligned = np.einsum("tji,tkj->tki", rotation, shapes) / scale[:, None, None]
        reference = aligned.mean(0)
    return scale, rotation, centre


def _local_eye_middle(
    eye_corners: Float64[np.ndarray, "T 2 3"],
    scale: Float64[np.ndarray, " T"],
    rotation: Float64[np.ndarray, "T 3 3"],
    centre: Float64[np.ndarray, "T 3"],
) -> Float64[np.ndarray, " 3"]:
    middle = eye_corners.mean(1) - centre
    return np.median(np.einsum("tji,tj->ti", rotation, middle) / scale[:, None], axis=0)


def _crop(
    frame: UInt8[np.ndarray, "H W 3"], transform: Float[np.ndarray, "2 3"], size_px: int
) -> UInt8[np.ndarray, "S S 3"]:
    # Only the part of the picture under the window is made floating point.
    height, width = frame.shape[:2]
    corners = np.array([(-1, -1, 1), (1, -1, 1), (-1, 1, 1), (1, 1, 1)]) @ transform.T
    first = np.clip(np.floor(corners.min(0)) - 1, 0, (width - 1, height - 1)).astype(int)
    last = np.clip(np.ceil(corners.max(0)) + 1, first + 1, (width, height)).astype(int)
    part = frame[first[1] : last[1], first[0] : last[0]].astype(np.float32)
    # More samples than pixels, then their mean: no source pixel is stepped over.
    pitch_px = 2 * np.hypot(transform[0, 0], transform[1, 0]) / size_px
    finer = max(1, int(np.ceil(pitch_px)))
    # From lip coordinates to those of the part, which torch also counts from -1 to 1.
    half = (last - first)[:, None] / 2
    part_from_lips = transform / half
    part_from_lips[:, 2] -= first / half[:, 0] + 1
    grid = functional.affine_grid(
        torch.from_numpy(part_from_lips.astype(np.float32))[None],
        [1, 3, size_px * finer, size_px * finer],
        align_corners=False,
    )
    samples = functional.grid_sample(
        torch.from_numpy(part).permute(2, 0, 1)[None],
        grid,
        mode="bilinear",
        padding_mode="border",
        align_corners=False,
    )
    crop = functional.avg_pool2d(samples, finer)[0].permute(1, 2, 0)
    return crop.round().clamp(0, 255).to(torch.uint8).numpy()
