"""The first guess of a head: Gaussians laid over a reference picture, on and around the face mesh.

Inside the face every Gaussian sits on the surface of the landmark mesh and borrows its motion from
the landmarks nearest to it. Hair, neck and shoulders continue that surface outwards and away from
the camera; training moves them where they belong.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from se4lip.head.splat.gaussians import RawGaussians
from se4lip.types import Camera, within

Polygon = Float[np.ndarray, "K 2"]

# Landmarks around the face, from the forehead clockwise in the picture.
FACE_OVAL = (
    *(10, 338, 297, 332, 284, 251, 389, 356, 454, 323, 361, 288, 397, 365, 379, 378, 400, 377, 152),
    *(148, 176, 149, 150, 136, 172, 58, 132, 93, 234, 127, 162, 21, 54, 103, 67, 109),
)


@dataclass(frozen=True)
class CanonicalConfig:
    """Spacings are between neighbouring Gaussians, in pixels of the picture trained at."""

    interior_px: float = 1.2
    lips_px: float = 1.2
    face_px: float = 1.6
    hair_px: float = 2.0
    torso_px: float = 2.4
    jaw_margin: float = 0.07  # of the face's height: how far beyond the oval the jaw pulls skin
    interior_depth_cm: float = 1.0  # of the teeth, behind the lips
    slope: float = 0.6  # how fast hair and neck recede from the camera, cm per cm
    opacity: float = 0.9

    def __post_init__(self) -> None:
        spacings = ("interior_px", "lips_px", "face_px", "hair_px", "torso_px")
        within(self, **dict.fromkeys(spacings, (0.25, 100)), opacity=(1e-3, 0.999))
        within(self, jaw_margin=(1e-3, 1), interior_depth_cm=(0, 10), slope=(0, 100))


@dataclass(frozen=True)
class Canonical:
    """``raw`` without colours yet (zeros), in order of ``runs`` (see `head.SplatHead`).

    ``mouth_basis_cm``, ``eye_basis_cm`` say how every Gaussian follows the codes at first;
    the shares are how much the branches may move it.
    """

    raw: RawGaussians
    runs: tuple[int, int, int, int, int, int]
    mouth_basis_cm: Float[Tensor, "K N 3"]
    eye_basis_cm: Float[Tensor, "E N 3"]
    mouth_share: Float[Tensor, " N"]
    eye_share: Float[Tensor, " N"]
    head_share: Float[Tensor, " N"]


def canonical_head(
    shape_cm: Float[np.ndarray, "478 3"],
    mouth_basis_cm: Float[np.ndarray, "K 478 3"],
    eye_basis_cm: Float[np.ndarray, "E 478 3"],
    lower_share: Float[np.ndarray, " 478"],
    inner_lips: tuple[int, ...],
    outer_lips: tuple[int, ...],
    camera: Camera,
    camera_from_head: Float[np.ndarray, "3 4"],
    config: CanonicalConfig | None = None,
) -> Canonical:
    """Gaussians for a face of ``shape_cm`` (mouth open) seen by ``camera`` in its mean pose."""
    config = config or CanonicalConfig()
    seen = shape_cm @ camera_from_head[:, :3].T + camera_from_head[:, 3]
    mesh_px = camera.focal_px * seen[:, :2] / seen[:, 2:] + [camera.cx_px, camera.cy_px]
    face = _Outlines(*(mesh_px[list(p)] for p in (FACE_OVAL, inner_lips, outer_lips)))
    interior, skin, rest = _chosen_pixels(face, camera, config)

    of_mouth = _interpolate(skin, mesh_px, lower_share[:, None])[:, 0]
    of_mouth *= np.clip(1 - _outside(skin, face.oval) / face.margin_px(config), 0, 1)
    part = np.where(of_mouth > 0.99, 0, np.where(of_mouth > 0.01, 1, 2))
    order = np.argsort(part, kind="stable")
    skin, of_mouth, part = skin[order], of_mouth[order], part[order]
    pixels = np.concatenate((interior, skin, rest))
    sizes = [len(interior), *(np.sum(part == p) for p in range(3)), len(rest)]
    runs = tuple(int(n) for n in np.concatenate(([0], np.cumsum(sizes))))

    depth = _interpolate(pixels, mesh_px, seen[:, 2:])[:, 0]
    depth += config.slope * seen[:, 2].mean() / camera.focal_px * _outside(pixels, face.oval)
    depth[: runs[1]] = seen[list(inner_lips), 2].mean() + config.interior_depth_cm
    rays = (pixels - [camera.cx_px, camera.cy_px]) / camera.focal_px
    points = np.concatenate((rays, np.ones((len(rays), 1))), axis=1) * depth[:, None]
    means = (points - camera_from_head[:, 3]) @ camera_from_head[:, :3]
    spacing = np.concatenate(
        [
            np.full(len(interior), config.interior_px),
            np.where(face.near_lips(skin), config.lips_px, config.face_px),
            np.where(rest[:, 1] < face.chin_y, config.hair_px, config.torso_px),
        ]
    )
    scales = 0.6 * spacing * depth / camera.focal_px
    flat = np.log(scales)[:, None] + [0.0, 0.0, np.log(0.4)]
    logit = np.log(config.opacity / (1 - config.opacity))

    mouth_basis = _follow(pixels, mesh_px, mouth_basis_cm)
    # upper teeth belong to the head; tongue and lower teeth go with the lower lip
    sunk = np.clip((interior[:, 1] - face.inner[:, 1].min()) / np.ptp(face.inner[:, 1]), 0, 1)
    jaw = mouth_basis_cm[:, [14, 17]].mean(1)
    mouth_basis[:, : runs[1]] = jaw[:, None] * (sunk * sunk)[None, :, None]
    mouth_share, eye_share = np.zeros((2, len(pixels)))
    mouth_share[: runs[1]] = 1
    mouth_share[runs[1] : runs[4]] = of_mouth
    eye_share[runs[2] : runs[4]] = 1 - of_mouth[runs[2] - runs[1] :]
    neck = np.clip((pixels[:, 1] - face.chin_y) / (0.35 * face.height_px), 0, 1)
    return Canonical(
        raw=RawGaussians(
            means=_tensor(means),
            log_scales=_tensor(flat),
            quats=_tensor(np.tile([1.0, 0, 0, 0], (len(pixels), 1))),
            opacity_logits=torch.full((len(pixels),), float(logit)),
            colours=torch.zeros(len(pixels), 3),
        ),
        runs=runs,  # type: ignore[arg-type]
        mouth_basis_cm=_tensor(mouth_basis),
        eye_basis_cm=_tensor(_follow(pixels, mesh_px, eye_basis_cm)),
        mouth_share=_tensor(mouth_share),
        eye_share=_tensor(eye_share),
        head_share=_tensor(1 - neck * neck * (3 - 2 * neck)),
    )


@dataclass(frozen=True)
class _Outlines:
    """Of a face in the picture, in pixels."""

    oval: Polygon
    inner: Polygon  # of the lips
    outer: Polygon

    @property
    def height_px(self) -> float:
        return float(np.ptp(self.oval[:, 1]))

    @property
    def chin_y(self) -> float:
        return float(self.oval[:, 1].max())

    def margin_px(self, config: CanonicalConfig) -> float:
        """How far beyond the oval the jaw pulls skin."""
        return config.jaw_margin * self.height_px

    def near_lips(self, points: Float[np.ndarray, "N 2"]) -> Bool[np.ndarray, " N"]:
        near = distance_to(points, self.outer) < 0.03 * self.height_px
        return inside(points, self.outer) | near

    def with_jaw(
        self, points: Float[np.ndarray, "N 2"], config: CanonicalConfig
    ) -> Bool[np.ndarray, " N"]:
        """Inside the oval, or below its middle and within the margin."""
        low = points[:, 1] > np.median(self.oval[:, 1])
        near = distance_to(points, self.oval) < self.margin_px(config)
        return inside(points, self.oval) | (low & near)


def _chosen_pixels(
    face: _Outlines, camera: Camera, config: CanonicalConfig
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Where Gaussians lie in the picture, ``[N, 2]`` each: between the lips, on lips and skin, and
    around the face."""
    interior = _lattice(camera, config.interior_px)
    near = distance_to(interior, face.inner) < 1.5
    interior = interior[inside(interior, face.inner) | near]
    lips = _lattice(camera, config.lips_px)
    lips = lips[face.near_lips(lips) & ~inside(lips, face.inner)]
    skin = _lattice(camera, config.face_px)
    skin = skin[face.with_jaw(skin, config) & ~face.near_lips(skin)]
    around = _lattice(camera, config.hair_px)
    hair_x = (around[:, 0] - face.oval[:, 0].mean()) / (0.9 * np.ptp(face.oval[:, 0]))
    hair_y = (around[:, 1] - face.oval[:, 1].mean()) / face.height_px
    hair = around[(hair_x**2 + hair_y**2 < 1) & (around[:, 1] < face.chin_y)]
    below = _lattice(camera, config.torso_px)
    rest = np.concatenate((hair, below[below[:, 1] >= face.chin_y]))
    return interior, np.concatenate((lips, skin)), rest[~face.with_jaw(rest, config)]


def _lattice(camera: Camera, spacing_px: float) -> Float[np.ndarray, "N 2"]:
    """A triangular lattice over the picture and a little beyond."""
    rows = np.arange(-4, camera.height_px + 4, spacing_px * 0.866)
    columns = np.arange(-4, camera.width_px + 4, spacing_px)
    x = columns[None] + np.where(np.arange(len(rows)) % 2, spacing_px / 2, 0)[:, None]
    return np.stack((x, np.broadcast_to(rows[:, None], x.shape)), -1).reshape(-1, 2)


def _tensor(array: np.ndarray) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(array)).float()


def inside(points: Float[np.ndarray, "N 2"], polygon: Polygon) -> Bool[np.ndarray, " N"]:
    """Which points lie inside a closed polygon (even-odd rule)."""
    x, y = points[:, 0], points[:, 1]
    crossings = np.zeros(len(points), bool)
    for (ax, ay), (bx, by) in zip(polygon, np.roll(polygon, -1, axis=0), strict=True):
        if ay != by:
            crossings ^= ((ay > y) != (by > y)) & (x < (bx - ax) * (y - ay) / (by - ay) + ax)
    return crossings


def distance_to(points: Float[np.ndarray, "N 2"], polygon: Polygon) -> Float[np.ndarray, " N"]:
    """Distance to the nearest edge of a closed polygon, from either side."""
    nearest = np.full(len(points), np.inf)
    for a, b in zip(polygon, np.roll(polygon, -1, axis=0), strict=True):
        edge = b - a
        along = np.clip((points - a) @ edge / max(edge @ edge, 1e-12), 0, 1)
        nearest = np.minimum(nearest, np.linalg.norm(points - a - along[:, None] * edge, axis=1))
    return nearest


def _outside(points: np.ndarray, polygon: Polygon) -> np.ndarray:
    return np.where(inside(points, polygon), 0, distance_to(points, polygon))


def _interpolate(points: np.ndarray, mesh: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Values [K, C] of mesh points carried to ``points``: the six nearest, by inverse square."""
    found = []
    for block in np.array_split(points, max(1, len(points) // 2000)):
        squared = ((block[:, None] - mesh) ** 2).sum(-1)
        near = np.argpartition(squared, 6, axis=1)[:, :6]
        weight = 1 / (np.take_along_axis(squared, near, axis=1) + 0.5)
        weight /= weight.sum(1, keepdims=True)
        found.append(np.einsum("nk,nkc->nc", weight, values[near]))
    return np.concatenate(found)


def _follow(points: np.ndarray, mesh: np.ndarray, basis: np.ndarray) -> np.ndarray:
    """A basis [K, 478, 3] on the mesh, carried to points: [K, N, 3]."""
    flat = basis.transpose(1, 0, 2).reshape(len(mesh), -1)
    return _interpolate(points, mesh, flat).reshape(len(points), len(basis), 3).transpose(1, 0, 2)
