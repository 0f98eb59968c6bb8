"""Scenes of Gaussians for the tests of the rasteriser."""

from __future__ import annotations

import torch
from torch import Tensor

from poses import pose_from_vector
from se4lip.head.splat.gaussians import Gaussians, RawGaussians
from se4lip.types import Camera

IDENTITY = (1.0, 0.0, 0.0, 0.0)


def square_camera(size_px: int = 17, focal_px: float = 20.0) -> Camera:
    """Its axis goes through the centre of the middle pixel when the size is odd."""
    return Camera(focal_px, size_px / 2, size_px / 2, size_px, size_px)


def one_gaussian(
    mean: tuple[float, ...] = (0.0, 0.0, 2.0),
    scale: float | tuple[float, ...] = 0.2,
    quat: tuple[float, ...] = IDENTITY,
    opacity: float = 0.8,
    colour: tuple[float, ...] = (1.0, 0.5, 0.25),
    dtype: torch.dtype = torch.float32,
) -> Gaussians:
    scales = (scale,) * 3 if isinstance(scale, float) else scale
    values = ([mean], [scales], [quat], [opacity], [colour])
    return Gaussians(*(torch.tensor(value, dtype=dtype) for value in values))


def cloud(
    count: int, seed: int, channels: int = 3, depth: float = 4.0, largest: float = 0.25
) -> Gaussians:
    """Gaussians of all shapes in a ball before the camera, some of them behind others, beyond the
    picture's borders, or very thin."""
    g = torch.Generator().manual_seed(seed)
    return Gaussians(
        means=torch.randn(count, 3, generator=g) * 0.5 + torch.tensor([0.0, 0.0, depth]),
        scales=torch.rand(count, 3, generator=g) ** 2 * largest + 0.005,
        quats=torch.randn(count, 4, generator=g),
        opacities=torch.rand(count, generator=g),
        colours=torch.rand(count, channels, generator=g),
    )


def concatenated(*parts: Gaussians) -> Gaussians:
    """One scene of several."""
    fields = zip(*(part.tensors().values() for part in parts), strict=True)
    return Gaussians(*map(torch.cat, fields))


def round_ones(points: Tensor, colours: Tensor, opacity: float = 0.1) -> RawGaussians:
    """Balls at ``points``, each as wide as its nearest neighbours are far."""
    distances = torch.cdist(points, points).topk(4, largest=False).values[:, 1:]
    return RawGaussians(
        means=points,
        log_scales=distances.square().mean(1).sqrt().log()[:, None].repeat(1, 3),
        quats=torch.tensor([IDENTITY]).repeat(len(points), 1),
        opacity_logits=torch.full((len(points),), opacity).logit(),
        colours=colours,
    )


def tilted_pose(seed: int = 0, dtype: torch.dtype = torch.float32) -> Tensor:
    """A head turned and shifted a little."""
    g = torch.Generator().manual_seed(seed)
    rotation = torch.randn(3, generator=g, dtype=torch.float64) * 0.1
    translation = torch.randn(3, generator=g, dtype=torch.float64) * 0.1
    return pose_from_vector(rotation, translation).to(dtype)
