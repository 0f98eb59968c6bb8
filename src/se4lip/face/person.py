"""One filmed person: what stays the same in all their frames, and what is read off each one.

What stays: the camera, the square of the picture that is kept, the rigid face, how the mouth moves,
what the torso looks like, and in which ways hair, clothes and light differ between recordings.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Float32, UInt8
from torch.nn import functional

from se4lip.face.expression import MouthModel, eye_codes
from se4lip.face.pose import (
    HeadFit,
    Poses,
    Skull,
    apply,
    face_apart,
    follow_head,
    head_points,
    project_px,
)
from se4lip.face.smoothing import smoothed
from se4lip.face.torso import TorsoTemplate, follow_torso
from se4lip.mesh import CHIN, OUTER_EYE_CORNERS
from se4lip.types import Camera, FaceTrack

Pictures = UInt8[np.ndarray, "T H W 3"]

_MOUTH_SMOOTH_FRAMES = 0.6  # landmarks of single pictures tremble by a third of a pixel
_EYES_SMOOTH_FRAMES = 0.5
_TORSO_SMOOTH_FRAMES = 1.0
_LOOK_PX = 32
# Per cent of a face's width. Clips of one head lie 0.1 to 0.7 from it, three other young men 1.0
# to 1.2, other people 2 and more.
_SAME_FACE = 1.5
_SAME_CM = 0.001  # of mouth and skull: heads of one data set differ by a thousandth of this


@dataclass(frozen=True)
class Framing:
    """The square of the source picture that a head is drawn in, and the size it is drawn at."""

    left_px: int
    top_px: int
    side_px: int
    size_px: int

    def picture(self, source: UInt8[np.ndarray, "H W 3"]) -> UInt8[np.ndarray, "h h 3"]:
        part = source[self.top_px : self.top_px + self.side_px]
        part = part[:, self.left_px : self.left_px + self.side_px]
        if self.side_px == self.size_px:
            return np.ascontiguousarray(part)
        channels_first = torch.from_numpy(np.ascontiguousarray(part)).permute(2, 0, 1)[None]
        resized = functional.interpolate(
            channels_first, (self.size_px, self.size_px), mode="bicubic", antialias=True
        )
        return resized[0].permute(1, 2, 0).contiguous().numpy()

    def camera(self, source: Camera) -> Camera:
        """The camera that sees what `picture` keeps."""
        scale = self.size_px / self.side_px
        return Camera(
            focal_px=source.focal_px * scale,
            cx_px=(source.cx_px - self.left_px) * scale,
            cy_px=(source.cy_px - self.top_px) * scale,
            width_px=self.size_px,
            height_px=self.size_px,
        )


def framed(fit: HeadFit, size_px: int, face_heights: float = 1.9) -> Framing:
    """The square around the head in all its poses: ``face_heights`` faces high, or wider if the
    head wanders; the chin and some torso are kept before hair is."""
    camera = fit.skull.camera
    face = [project_px(camera, apply(poses, fit.skull.shape_cm)) for poses in fit.poses]
    low = np.concatenate([points.min(1) for points in face])
    high = np.concatenate([points.max(1) for points in face])
    left, top = np.percentile(low, 1, axis=0)
    right, bottom = np.percentile(high, 99, axis=0)
    height = np.median(high[:, 1] - low[:, 1])
    side = max(face_heights * height, 1.3 * (bottom - top), 1.3 * (right - left))
    side = int(min(side, camera.width_px, camera.height_px))
    x = (left + right - side) / 2
    y = (top + bottom) / 2 - 0.5 * side
    return Framing(
        left_px=int(np.clip(x, 0, camera.width_px - side)),
        top_px=int(np.clip(y, 0, camera.height_px - side)),
        side_px=side,
        size_px=size_px,
    )


@dataclass(frozen=True)
class Look:
    """How hair, clothes and light differ from clip to clip: principal components of a thumbnail
    that is laid onto the head and leaves out the lower face.

    Clips whose thumbnail lies within ``radius`` of the mean are of this look."""

    mean: Float32[np.ndarray, " P"]
    axes: Float32[np.ndarray, "L P"]
    radius: float

    @property
    def width(self) -> int:
        return len(self.axes)

    def code(self, thumbnail: Float32[np.ndarray, " P"]) -> Float32[np.ndarray, " L"]:
        return self.axes @ (thumbnail - self.mean)

    def includes(self, thumbnail: Float32[np.ndarray, " P"]) -> bool:
        return bool(np.linalg.norm(thumbnail - self.mean) <= self.radius)


def fit_look(thumbnails: Float32[np.ndarray, "clips P"], width: int, is_only_look: bool) -> Look:
    """Codes of the training clips have mean 0 and spread 1. The only look includes every clip."""
    mean = thumbnails.mean(0)
    radius = np.inf if is_only_look else np.linalg.norm(thumbnails - mean, axis=1).max()
    _, spreads, axes = np.linalg.svd(thumbnails - mean, full_matrices=False)
    width = min(width, len(thumbnails) - 1)
    spreads = np.maximum(spreads[:width] / np.sqrt(len(thumbnails)), 1e-6)
    return Look(mean, (axes[:width] / spreads[:, None]).astype(np.float32), float(radius))


@dataclass(frozen=True)
class Person:
    """Reads motion off tracked clips. ``poses`` are always those of `head_poses`."""

    skull: Skull
    framing: Framing
    mean_pose: Float[np.ndarray, "3 4"]
    mouth: MouthModel
    eyes_mean: Float32[np.ndarray, " E"]
    torso: TorsoTemplate | None  # of a close-up
    look: Look

    @property
    def camera(self) -> Camera:
        return self.framing.camera(self.skull.camera)

    def head_poses(self, track: FaceTrack) -> Poses:
        return follow_head([track.landmarks_px], self.skull)[0]

    def mouth_codes(self, track: FaceTrack, poses: Poses) -> Float32[np.ndarray, "T K"]:
        codes = self.mouth.encode(head_points(track.landmarks_px, poses, self.skull))
        return smoothed(codes, _MOUTH_SMOOTH_FRAMES).astype(np.float32)

    def eyes(self, track: FaceTrack) -> Float32[np.ndarray, "T E"]:
        codes = eye_codes(track.blendshapes) - self.eyes_mean
        return smoothed(codes, _EYES_SMOOTH_FRAMES).astype(np.float32)

    def torso_poses(self, pictures: Pictures, poses: Poses) -> Float[np.ndarray, "T 3 4"]:
        """``camera_from_torso`` of consecutive framed pictures; the head's where it is all there
        is."""
        if self.torso is None:
            return poses
        found = smoothed(follow_torso(pictures, self.torso), _TORSO_SMOOTH_FRAMES)
        return torso_in_camera(found, self.torso, self.camera, self.mean_pose)

    def look_code(self, pictures: Pictures, poses: Poses) -> Float32[np.ndarray, " L"]:
        """One code for a clip, from one or a few of its framed pictures."""
        return self.look.code(self._thumbnail(pictures, poses))

    def has_this_face(self, track: FaceTrack, poses: Poses) -> bool:
        """Whether a clip can be of this person: no face of theirs lies so far off (`face_apart`).

        A face that is much alike passes, and whatever was filmed in another size: by a camera that
        was not fitted, the same face lies off as well.
        """
        camera = self.skull.camera
        if (track.width_px, track.height_px) != (camera.width_px, camera.height_px):
            return True
        return face_apart(self.skull, poses, track.landmarks_px) <= _SAME_FACE

    def has_this_look(self, pictures: Pictures, poses: Poses) -> bool:
        """Whether a clip shows the hair, clothes and light that are drawn, by a few pictures."""
        return self.look.includes(self._thumbnail(pictures, poses))

    def _thumbnail(self, pictures: Pictures, poses: Poses) -> Float32[np.ndarray, " P"]:
        return look_thumbnail(pictures, poses, self.camera, self.mean_pose, self.skull)


def same_mouth(one: Person, other: Person) -> bool:
    """Whether a code means the same mouth for both. Heads made of one data set by another machine
    may differ by rounding."""
    pairs = (
        (one.mouth.shape_cm, other.mouth.shape_cm),
        (one.mouth.basis_cm, other.mouth.basis_cm),
        (one.skull.shape_cm, other.skull.shape_cm),
    )
    return one.skull.camera == other.skull.camera and all(
        a.shape == b.shape and bool(np.abs(a - b).max() < _SAME_CM) for a, b in pairs
    )


def mean_pose(poses: Sequence[Poses]) -> Float[np.ndarray, "3 4"]:
    mean = np.concatenate(poses).mean(0)
    u, _, vt = np.linalg.svd(mean[:, :3])
    return np.concatenate((u @ vt, mean[:, 3:]), axis=1)


def torso_in_camera(
    found: Float[np.ndarray, "T 4"],
    template: TorsoTemplate,
    camera: Camera,
    canonical: Float[np.ndarray, "3 4"],
) -> Float[np.ndarray, "T 3 4"]:
    """Poses in the picture (`face.torso`) as rigid motion in space, the torso at the head's depth.

    The torso is at rest where the mean head pose ``canonical`` puts it.
    """
    z = canonical[2, 3]
    cm_per_px = z / camera.focal_px
    centre = (template.centre_px - [camera.cx_px, camera.cy_px]) * cm_per_px
    cosine, sine = np.cos(found[:, 2]), np.sin(found[:, 2])
    zero, one = np.zeros_like(cosine), np.ones_like(cosine)
    rows = np.stack((cosine, -sine, zero, sine, cosine, zero, zero, zero, one), -1)
    turn = rows.reshape(-1, 3, 3)
    pivot = np.array([*centre, z])
    shift = np.stack((found[:, 0] * cm_per_px, found[:, 1] * cm_per_px, -found[:, 3] * z), -1)
    offset = pivot - np.einsum("tij,j->ti", turn, pivot) + shift
    moved = np.einsum("tij,j->ti", turn, canonical[:, 3]) + offset
    return np.concatenate((turn @ canonical[:, :3], moved[..., None]), axis=-1)


def look_thumbnail(
    pictures: Pictures,
    poses: Poses,
    camera: Camera,
    canonical: Float[np.ndarray, "3 4"],
    skull: Skull,
) -> Float32[np.ndarray, " P"]:
    """Mean of a few pictures, shifted and scaled as if the head were in its mean pose, without
    the face from the eyes down."""
    count, size = len(pictures), camera.width_px
    origin = project_px(camera, poses[:, :, 3])
    goal = project_px(camera, canonical[:, 3])
    zoom = canonical[2, 3] / poses[:, 2, 3]  # picture pixels per canonical pixel
    theta = np.zeros((count, 2, 3), np.float32)
    theta[:, 0, 0] = theta[:, 1, 1] = zoom
    theta[:, :, 2] = 2 * (origin - zoom[:, None] * goal) / size - (1 - zoom)[:, None]
    grid = functional.affine_grid(
        torch.from_numpy(theta), [count, 3, 4 * _LOOK_PX, 4 * _LOOK_PX], align_corners=False
    )
    source = torch.from_numpy(pictures).permute(0, 3, 1, 2).float() / 255
    laid = functional.grid_sample(source, grid, padding_mode="border", align_corners=False)
    small = functional.avg_pool2d(laid, 4).mean(0).permute(1, 2, 0).numpy()
    face = project_px(camera, apply(canonical[None], skull.shape_cm)[0]) * (_LOOK_PX / size)
    y, x = np.mgrid[:_LOOK_PX, :_LOOK_PX] + 0.5
    eyes_y, chin_y = face[list(OUTER_EYE_CORNERS), 1].mean(), face[CHIN, 1]
    speaking = (
        (y > eyes_y) & (y < chin_y + 1) & (x > face[:, 0].min() - 1) & (x < face[:, 0].max() + 1)
    )
    border = _LOOK_PX // 16
    inner = np.zeros_like(speaking)
    inner[border:-border, border:-border] = True
    return small[inner & ~speaking].astype(np.float32).ravel()
