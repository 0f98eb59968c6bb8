"""The definition of the picture in plain PyTorch: any dtype, any device, autograd, slow.

Follows the numbered text at the top of `raster` and nothing else.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from se4lip.head.camera import transform
from se4lip.head.splat.gaussians import Gaussians
from se4lip.head.splat.raster import (
    ALPHA_MAX,
    ALPHA_MIN,
    FRUSTUM_MARGIN,
    TRANSMITTANCE_MIN,
    RasterConfig,
)
from se4lip.types import Camera

TILE_PX = 16


class Splats(NamedTuple):
    """Gaussians in the picture plane, front to back; ``rows`` says which of the scene."""

    centres_px: Float[Tensor, "M 2"]
    covariances_px2: Float[Tensor, "M 2 2"]
    rows: Int[Tensor, " M"]


def rotation_from_quat(quats: Float[Tensor, "N 4"]) -> Float[Tensor, "N 3 3"]:
    """Rotation matrices of quaternions (w, x, y, z) of any length."""
    w, x, y, z = (quats / quats.norm(dim=-1, keepdim=True)).unbind(-1)
    rows = [
        *(1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)),
        *(2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)),
        *(2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)),
    ]
    return torch.stack(rows, -1).unflatten(-1, (3, 3))


def project(
    gaussians: Gaussians,
    camera: Camera,
    camera_from_head: Float[Tensor, "3 4"],
    config: RasterConfig,
) -> Splats:
    """Steps 1 and 2, and the depth order of step 4."""
    centres = transform(camera_from_head, gaussians.means)
    drawn = torch.nonzero(centres[:, 2] >= config.near)[:, 0]
    drawn = drawn[torch.argsort(centres[drawn, 2], stable=True)]
    x, y, z = centres[drawn].unbind(-1)

    # a Gaussian's shape is a linear map of the unit ball: cov3d = A A^T
    ball_to_camera = camera_from_head[:, :3] @ (
        rotation_from_quat(gaussians.quats[drawn]) * gaussians.scales[drawn, None, :]
    )
    cov3d = ball_to_camera @ ball_to_camera.mT

    focal = camera.focal_px
    margin_x, margin_y = (FRUSTUM_MARGIN * n / 2 for n in (camera.width_px, camera.height_px))
    slope_x = (x / z).clamp(
        (-camera.cx_px - margin_x) / focal, (camera.width_px - camera.cx_px + margin_x) / focal
    )
    slope_y = (y / z).clamp(
        (-camera.cy_px - margin_y) / focal, (camera.height_px - camera.cy_px + margin_y) / focal
    )
    zero, one = torch.zeros_like(z), torch.ones_like(z)
    jacobian = torch.stack([one, zero, -slope_x, zero, one, -slope_y], -1).unflatten(-1, (2, 3))
    jacobian = jacobian * (focal / z)[:, None, None]
    low_pass = config.eps2d_px2 * torch.eye(2, dtype=z.dtype, device=z.device)

    centres_px = torch.stack([focal * x / z + camera.cx_px, focal * y / z + camera.cy_px], -1)
    return Splats(centres_px, jacobian @ cov3d @ jacobian.mT + low_pass, drawn)


def composite(
    centres_px: Float[Tensor, "M 2"],
    precisions: Float[Tensor, "M 2 2"],
    opacities: Float[Tensor, " M"],
    colours: Float[Tensor, "M C"],
    pixels_px: Float[Tensor, "P 2"],
) -> tuple[Float[Tensor, "P C"], Float[Tensor, " P"]]:
    """Steps 3 and 4 at pixel centres: colour without background, and what shines through."""
    offset = pixels_px - centres_px[:, None]
    distance2 = torch.einsum("mpi,mij,mpj->mp", offset, precisions, offset)
    alpha = (opacities[:, None] * torch.exp(-distance2 / 2)).clamp_max(ALPHA_MAX)
    alpha = torch.where(alpha >= ALPHA_MIN, alpha, 0)
    through = torch.cumprod(1 - alpha, 0)
    alpha = torch.where(through > TRANSMITTANCE_MIN, alpha, 0)
    through = torch.cumprod(1 - alpha, 0)
    ahead = torch.cat([torch.ones_like(pixels_px[None, :, 0]), through])
    return torch.einsum("mp,mc->pc", alpha * ahead[:-1], colours), ahead[-1]


def rasterize_oracle(
    gaussians: Gaussians,
    camera: Camera,
    background: Float[Tensor, " C"] | Float[Tensor, "H W C"],
    camera_from_head: Float[Tensor, "3 4"],
    screen_offsets_px: Float[Tensor, "N 2"] | None,
    config: RasterConfig,
) -> tuple[Float[Tensor, "H W C"], Float[Tensor, "H W"]]:
    """As `raster.rasterize`, which checks the inputs.

    Pixels are taken 16x16 at a time, with the splats that can reach them, to bound the memory.
    """
    centres_px, covariances_px2, rows = project(gaussians, camera, camera_from_head, config)
    if screen_offsets_px is not None:
        centres_px = centres_px + screen_offsets_px[rows]
    opacities, colours = gaussians.opacities[rows], gaussians.colours[rows]
    precisions = torch.linalg.inv(covariances_px2)

    # alpha falls below ALPHA_MIN at sqrt(2 ln(opacity / ALPHA_MIN)) standard deviations
    reach = (2 * torch.log(opacities.detach() / ALPHA_MIN).clamp_min(0)).sqrt() + 1e-3
    reach_px = covariances_px2.detach().diagonal(dim1=-2, dim2=-1).sqrt() * reach[:, None]
    lowest, highest = centres_px.detach() - reach_px, centres_px.detach() + reach_px

    rgb_rows, through_rows = [], []
    for top in range(0, camera.height_px, TILE_PX):
        rgb_tiles, through_tiles = [], []
        for left in range(0, camera.width_px, TILE_PX):
            bottom = min(top + TILE_PX, camera.height_px)
            right = min(left + TILE_PX, camera.width_px)
            pixels = torch.cartesian_prod(
                torch.arange(top, bottom, device=rows.device),
                torch.arange(left, right, device=rows.device),
            ).flip(-1)
            corner = centres_px.new_tensor([left, top])
            far_corner = centres_px.new_tensor([right, bottom])
            near_by = ((highest >= corner) & (lowest <= far_corner)).all(-1)
            rgb, through = composite(
                centres_px[near_by],
                precisions[near_by],
                opacities[near_by],
                colours[near_by],
                pixels.to(centres_px.dtype) + 0.5,
            )
            size = (bottom - top, right - left)
            rgb_tiles.append(rgb.unflatten(0, size))
            through_tiles.append(through.unflatten(0, size))
        rgb_rows.append(torch.cat(rgb_tiles, 1))
        through_rows.append(torch.cat(through_tiles, 1))
    through = torch.cat(through_rows)
    return torch.cat(rgb_rows) + through[..., None] * background, 1 - through
