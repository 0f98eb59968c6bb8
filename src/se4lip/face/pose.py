"""Where the head is: one rigid shape of a person's face and its pose in every frame.

The tracker sees each frame by itself. A head is rigid where speech and expression do not move it,
so over many frames its shape and poses are over-determined, and can be told apart from the noise of
the landmarks (bundle adjustment: Triggs et al. 1999).

Head coordinates: centimetres, origin near the middle of the head's front, x to the picture's right,
y down, z away from the camera, so that a head that looks into the camera has no rotation. Monocular
pictures do not show absolute size; the face is taken to be `FACE_WIDTH_CM` wide.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from se4lip.face.rigid import nearest_rotations, similarities
from se4lip.face.smoothing import smoothed
from se4lip.mesh import CHIN, FOREHEAD, RIGID, WIDEST
from se4lip.types import LANDMARKS, Camera, InputError

Points = Float[np.ndarray, "T 478 3"]
Poses = Float[np.ndarray, "T 3 4"]

FACE_WIDTH_CM = 14.0  # between the mesh's widest points


@dataclass(frozen=True)
class PoseConfig:
    """``focal_relative`` is the focal length over the picture's longer side: it cannot be measured
    from a head that moves little, and a wrong one is absorbed by the shape's depth."""

    focal_relative: float = 3.0
    rounds: int = 8  # alternations of poses and shape
    shape_frames: int = 1500  # of all frames, as many as the shape is fitted to
    outlier_px: float = 3.0  # Huber's threshold, in standard deviations of a landmark
    depth_trust: float = 0.1  # weight of the tracker's own depth against what the frames show
    smooth_frames: float = 1.5  # standard deviation of the smoothing over time; 0 is none
    # The same for the distance to the camera. Landmarks mistake a nod for a step towards the
    # camera, and heads step far more slowly than they nod.
    depth_smooth_frames: float = 12.0


@dataclass(frozen=True)
class Skull:
    """What is rigid about a person: the mean face, and how far each landmark strays from it."""

    camera: Camera
    shape_cm: Float[np.ndarray, "478 3"]
    sigma_px: Float[np.ndarray, " 478"]


@dataclass(frozen=True)
class HeadFit:
    """``poses`` are the ``camera_from_head`` of every clip's frames, ``reprojection_px`` the root
    mean square distance of rigid landmarks before smoothing."""

    skull: Skull
    poses: list[Poses]
    reprojection_px: float


def fit_head(
    clips_px: Sequence[Points], width_px: int, height_px: int, config: PoseConfig | None = None
) -> HeadFit:
    """The head of one person in one or more clips from one camera.

    ``clips_px`` are landmarks as in `types.FaceTrack`: pixels, and depth in the same unit.

    Raises: InputError when there are no frames or a landmark is not finite.
    """
    config = config or PoseConfig()
    landmarks = _checked(clips_px)
    camera = plausible_camera(width_px, height_px, config)
    some = np.unique(np.linspace(0, len(landmarks) - 1, config.shape_frames).round().astype(int))
    skull = Skull(camera, *_fit_shape(landmarks[some], camera, config))
    poses, error_px = _followed(clips_px, skull, config)
    return HeadFit(skull, poses, error_px)


def follow_head(
    clips_px: Sequence[Points], skull: Skull, config: PoseConfig | None = None
) -> list[Poses]:
    """Poses of a known head in further clips from the same camera."""
    _checked(clips_px)
    return _followed(clips_px, skull, config or PoseConfig())[0]


def plausible_camera(width_px: int, height_px: int, config: PoseConfig | None = None) -> Camera:
    """A pinhole with its axis in the middle of the picture."""
    focal = (config or PoseConfig()).focal_relative * max(width_px, height_px)
    return Camera(focal, width_px / 2, height_px / 2, width_px, height_px)


def faces_apart(fit: HeadFit, clips_px: Sequence[Points]) -> float:
    """How far a clip's mean face lies from the one head that was fitted to all clips: the median of
    the clips, as `face_apart`. Clips of one person who looks about the same way lie 0.2 to 0.45
    apart, those of several people mostly 0.5 to 1."""
    pairs = zip(fit.poses, clips_px, strict=True)
    return float(np.median([face_apart(fit.skull, poses, clip) for poses, clip in pairs]))


def face_apart(skull: Skull, poses: Poses, clip_px: Points) -> float:
    """How far a clip's mean face lies from a skull that follows it.

    Per cent of the face's width in the picture: root mean square over the rigid landmarks.
    """
    rigid = list(RIGID)
    seen = project_px(skull.camera, apply(poses, skull.shape_cm))
    right, left = (seen[:, point] for point in WIDEST)
    width_px = np.linalg.norm(left - right, axis=-1).mean()
    error_px = (seen - clip_px[..., :2])[:, rigid].mean(0)
    return float(100 * np.sqrt((error_px**2).sum(-1).mean()) / width_px)


def smooth_poses(poses: Poses, sigma_frames: float) -> Poses:
    """Poses averaged over time by a Gaussian window; constant velocity passes unchanged.

    Rotations are averaged as matrices and brought back to rotations.
    """
    found = smoothed(poses.reshape(len(poses), 12), sigma_frames).reshape(-1, 3, 4)
    found[:, :, :3], _ = nearest_rotations(found[:, :, :3])
    return found


def head_points(landmarks_px: Points, poses: Poses, skull: Skull) -> Points:
    """Landmarks in head coordinates, centimetres: what is left when the head is held still.

    The picture gives the ray of each landmark, the tracker's depth (set right by the rigid
    points' mean) where on it.
    """
    moved, camera = apply(poses, skull.shape_cm), skull.camera
    rigid = list(RIGID)
    cm_per_px = moved[:, rigid, 2].mean(1) / camera.focal_px
    depth_px = landmarks_px[..., 2] - landmarks_px[:, rigid, 2].mean(1, keepdims=True)
    z = moved[:, rigid, 2].mean(1)[:, None] + depth_px * cm_per_px[:, None]
    xy = landmarks_px[..., :2] - [camera.cx_px, camera.cy_px]
    seen = np.concatenate((xy * z[..., None] / camera.focal_px, z[..., None]), axis=-1)
    return (seen - poses[:, None, :, 3]) @ poses[:, :, :3]


def apply(poses: Poses, points_cm: Float[np.ndarray, "K 3"]) -> Float[np.ndarray, "T K 3"]:
    """Head points in camera coordinates."""
    return points_cm @ poses[:, :, :3].mT + poses[:, None, :, 3]


def project_px(camera: Camera, points: Float[np.ndarray, "*n 3"]) -> Float[np.ndarray, "*n 2"]:
    """Pixels of points in camera coordinates."""
    return camera.focal_px * points[..., :2] / points[..., 2:] + [camera.cx_px, camera.cy_px]


# --- fitting ------------------------------------------------------------------------------------


def _checked(clips_px: Sequence[Points]) -> Points:
    if not sum(len(clip) for clip in clips_px):
        raise InputError("there are no frames with a face: give at least one clip with a face")
    for clip in clips_px:
        if clip.shape[1:] != (LANDMARKS, 3):
            raise InputError(f"landmarks have shape {clip.shape}, needed [T, {LANDMARKS}, 3]")
    landmarks = np.concatenate([np.asarray(clip, np.float64) for clip in clips_px])
    if not np.isfinite(landmarks).all():
        raise InputError("landmarks hold NaN: leave out the frames without a face")
    return landmarks


def _fit_shape(
    landmarks: Points, camera: Camera, config: PoseConfig
) -> tuple[np.ndarray, np.ndarray]:
    """The mean face, and how far each landmark strays from it in the picture."""
    shape = _first_shape(landmarks)
    depth_guess = shape[:, 2].copy()
    sigma_px = np.ones(LANDMARKS)
    poses = _first_poses(landmarks, shape, camera)
    for _ in range(config.rounds):
        poses = _refine_poses(poses, landmarks, Skull(camera, shape, sigma_px), config)
        shape = _refine_shape(poses, landmarks, shape, depth_guess, camera, config)
        errors = _residuals(poses, shape, landmarks, camera)
        sigma_px = np.maximum(np.sqrt((errors**2).sum(-1).mean(0) / 2), 0.05)
    return shape, sigma_px


def _followed(
    clips_px: Sequence[Points], skull: Skull, config: PoseConfig
) -> tuple[list[Poses], float]:
    """Smoothed poses of each clip, and the reprojection error before smoothing."""
    rigid = list(RIGID)
    found, squares, count = [], 0.0, 0
    for clip in clips_px:
        landmarks = np.asarray(clip, np.float64)
        poses = _first_poses(landmarks, skull.shape_cm, skull.camera)
        for _ in range(2):
            poses = _refine_poses(poses, landmarks, skull, config)
        poses[:, 2, 3:] = smoothed(poses[:, 2, 3:], config.depth_smooth_frames)
        for _ in range(2):
            poses = _refine_poses(poses, landmarks, skull, config, freedom=5)
        error_px = _residuals(poses, skull.shape_cm, landmarks, skull.camera)[:, rigid]
        squares, count = squares + (error_px**2).sum(), count + error_px[..., 0].size
        found.append(smooth_poses(poses, config.smooth_frames))
    return found, float(np.sqrt(squares / count))


def _first_shape(landmarks: Points) -> np.ndarray:
    """Mean of the tracker's 3-D landmarks after turning them onto each other (Procrustes)."""
    rigid = list(RIGID)
    mean = landmarks[len(landmarks) // 2]
    for _ in range(3):
        source = landmarks[:, rigid]
        target = np.broadcast_to(mean[rigid], source.shape)
        turns, scales, shifts = similarities(source, target)
        moved = landmarks @ (scales[:, None, None] * turns).mT + shifts[:, None]
        mean = moved.mean(0)
    mean = mean - mean[rigid].mean(0)
    # upright and frontal: the x axis through the sides of the face, y along its middle
    right, left = mean[list(WIDEST)]
    x = left - right
    width = np.linalg.norm(x)
    y = mean[CHIN] - mean[FOREHEAD]
    x = x / width
    y = y - x * (x @ y)
    y = y / np.linalg.norm(y)
    return mean @ np.stack((x, y, np.cross(x, y))).T * (FACE_WIDTH_CM / width)


def _first_poses(landmarks: Points, shape: np.ndarray, camera: Camera) -> Poses:
    """From the similarity that carries the shape onto the tracker's 3-D landmarks."""
    rigid = list(RIGID)
    target = np.broadcast_to(shape[rigid], (len(landmarks), len(rigid), 3))
    turns, px_per_cm, shifts = similarities(target, landmarks[:, rigid])
    z = camera.focal_px / px_per_cm
    xy = (shifts[:, :2] - [camera.cx_px, camera.cy_px]) / px_per_cm[:, None]
    return np.concatenate((turns, np.stack((xy[:, 0], xy[:, 1], z), -1)[..., None]), axis=-1)


def _residuals(poses: Poses, shape: np.ndarray, landmarks: Points, camera: Camera) -> np.ndarray:
    return project_px(camera, apply(poses, shape)) - landmarks[..., :2]


def _picture_jacobian(camera: Camera, points: np.ndarray) -> np.ndarray:
    """Derivative [..., 2, 3] of a pixel by its point in camera coordinates."""
    x, y, z = np.moveaxis(points, -1, 0)
    zero = np.zeros_like(z)
    rows = np.stack((1 / z, zero, -x / z**2, zero, 1 / z, -y / z**2), -1)
    return camera.focal_px * rows.reshape(*z.shape, 2, 3)


def _robust_weights(errors: np.ndarray, sigma_px: np.ndarray, config: PoseConfig) -> np.ndarray:
    distance = np.linalg.norm(errors, axis=-1) / sigma_px
    return np.minimum(1, config.outlier_px / np.maximum(distance, 1e-9)) / sigma_px**2


def _refine_poses(
    poses: Poses,
    landmarks: Points,
    skull: Skull,
    config: PoseConfig,
    freedom: int = 6,
) -> Poses:
    """One Gauss-Newton step of every pose by the rigid landmarks, turning about the head's origin.

    Five degrees of freedom leave the depth alone.
    """
    rigid = list(RIGID)
    turned = skull.shape_cm[rigid] @ poses[:, :, :3].mT
    points = turned + poses[:, None, :, 3]
    errors = project_px(skull.camera, points) - landmarks[:, rigid, :2]
    weights = _robust_weights(errors, skull.sigma_px[rigid], config)
    by_point = _picture_jacobian(skull.camera, points)
    jacobian = np.concatenate((by_point @ -_cross(turned), by_point), axis=-1)[..., :freedom]
    jacobian = jacobian.reshape(len(poses), -1, freedom)
    weighted = (jacobian * np.repeat(weights, 2, axis=1)[..., None]).mT
    normal = weighted @ jacobian
    gradient = (weighted @ errors.reshape(len(poses), -1, 1))[..., 0]
    damping = 1e-6 * np.einsum("tii->ti", normal)[..., None] * np.eye(freedom)
    step = np.zeros((len(poses), 6))
    step[:, :freedom] = -np.linalg.solve(normal + damping, gradient[..., None])[..., 0]
    turns, _ = nearest_rotations(poses[:, :, :3] + _cross(step[:, :3]) @ poses[:, :, :3])
    return np.concatenate((turns, (poses[:, :, 3] + step[:, 3:])[..., None]), axis=-1)


def _refine_shape(
    poses: Poses,
    landmarks: Points,
    shape: np.ndarray,
    depth_guess: np.ndarray,
    camera: Camera,
    config: PoseConfig,
) -> np.ndarray:
    """One Gauss-Newton step of every landmark, each for itself; depth is held near the tracker's.

    The whole is then put back to its size and place, which pictures leave open.
    """
    points = apply(poses, shape)
    errors = project_px(camera, points) - landmarks[..., :2]
    jacobian = _picture_jacobian(camera, points) @ poses[:, None, :, :3]
    by_landmark = jacobian.transpose(1, 0, 2, 3).reshape(len(shape), -1, 3)
    normal = by_landmark.mT @ by_landmark
    gradient = (by_landmark.mT @ errors.transpose(1, 0, 2).reshape(len(shape), -1, 1))[..., 0]
    hold = config.depth_trust * normal[:, 0, 0]
    normal[:, 2, 2] += hold
    gradient[:, 2] += hold * (shape[:, 2] - depth_guess)
    shape = shape - np.linalg.solve(normal, gradient[..., None])[..., 0]
    shape = shape - shape[list(RIGID)].mean(0)
    right, left = shape[list(WIDEST)]
    return shape * (FACE_WIDTH_CM / np.linalg.norm(left - right))


def _cross(vectors: Float[np.ndarray, "*n 3"]) -> Float[np.ndarray, "*n 3 3"]:
    """Matrices that take the cross product with a vector from the left."""
    x, y, z = np.moveaxis(vectors, -1, 0)
    zero = np.zeros_like(x)
    rows = np.stack((zero, -z, y, z, zero, -x, -y, x, zero), -1)
    return rows.reshape(*x.shape, 3, 3)
