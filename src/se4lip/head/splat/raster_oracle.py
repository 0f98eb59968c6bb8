"""The definition of the picture in plain PyTorch: any dtype, any device, autograd, slow.

Follows the numbered text at the top of `raster` and nothing else.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from se4lip.head.camera import rotation_from_quat, transform
from se4lip.head.splat.gaussians import Gaussians
from se4lip.head.splat.raster_config import (
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
    spreads_px: Float[Tensor, "M 2"]
    precisions: Float[Tensor, "M 2 2"]
    rows: Int[Tensor, " M"]


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
    u, v = (jacobian @ ball_to_camera).unbind(-2)

    # cov2d = [[uu, uv], [uv, vv]]; by Lagrange's identity its determinant needs no subtraction,
    # so that needles and sheets of any size keep it positive
    eps = config.eps2d_px2
    uu, uv, vv = (u * u).sum(-1) + eps, (u * v).sum(-1), (v * v).sum(-1) + eps
    determinant = torch.linalg.cross(u, v).square().sum(-1) + eps * (uu + vv) - eps * eps
    precisions = torch.stack([vv, -uv, -uv, uu], -1) / determinant[:, None]

    centres_px = torch.stack([focal * x / z + camera.cx_px, focal * y / z + camera.cy_px], -1)
    spreads_px = torch.stack([uu, vv], -1).sqrt()
    return Splats(centres_px, spreads_px, precisions.unflatten(-1, (2, 2)), drawn)


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
    config: RasterConfig,
) -> tuple[Float[Tensor, "H W C"], Float[Tensor, "H W"]]:
    """As `raster.rasterize`, which checks the inputs.

    Pixels are taken 16x16 at a time, with the splats that can reach them, to bound the memory.
    """
    centres_px, spreads_px, precisions, rows = project(gaussians, camera, camera_from_head, config)
    opacities, colours = gaussians.opacities[rows], gaussians.colours[rows]

    # alpha falls below ALPHA_MIN at sqrt(2 ln(opacity / ALPHA_MIN)) standard deviations
    reach = (2 * torch.log(opacities.detach() / ALPHA_MIN).clamp_min(0)).sqrt() + 1e-3
    reach_px = spreads_px.detach() * reach[:, None]
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
