"""The scene both raster benchmarks draw: a head-like shell of Gaussians that fills the picture."""

from __future__ import annotations

import torch

from se4lip.head.splat.gaussians import Gaussians
from se4lip.types import Camera


def head(count: int, seed: int = 0) -> Gaussians:
    """Gaussians on the front of an ellipsoid, each 0.5 to 1.5 times as wide as its neighbours are
    far, with opacities of 0.1 to 1; they cover 0.69 of the picture."""
    g = torch.Generator().manual_seed(seed)
    direction = torch.nn.functional.normalize(torch.randn(count, 3, generator=g), dim=-1)
    direction[:, 2] = -direction[:, 2].abs()
    radius = 0.75 + 0.05 * torch.randn(count, 1, generator=g)
    points = direction * radius * torch.tensor([0.75, 1.0, 0.8]) + torch.tensor([0.0, 0.0, 4.0])
    colours = torch.rand(count, 3, generator=g)
    near = [
        torch.cdist(block, points).topk(4, largest=False).values for block in points.split(1024)
    ]
    spacing = torch.cat(near)[:, 1:].square().mean(1, keepdim=True).sqrt()
    return Gaussians(
        means=points,
        scales=spacing * (0.5 + torch.rand(count, 3, generator=g)),
        quats=torch.randn(count, 4, generator=g),
        opacities=torch.rand(count, generator=g) * 0.9 + 0.1,
        colours=colours,
    )


def camera(size_px: int) -> Camera:
    return Camera(2.2 * size_px, size_px / 2, size_px / 2, size_px, size_px)
