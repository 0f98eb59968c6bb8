"""The CPU back end: forward and hand-written backward in numba, float32.

Compiling takes 5 s or more once per machine and is cached (beside the sources in ``__pycache__``,
or where ``NUMBA_CACHE_DIR`` says); loading from the cache takes 0.7 s. It
draws with `lanes.lane_count` threads; any number of Python threads may draw at once, and forked
children too. Pictures and gradients are the same to the bit
for any number of threads.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd.function import once_differentiable

from se4lip.head.lanes import lane_count, lanes_for, numbers, run_in_lanes
from se4lip.head.splat import raster_binning, raster_kernels, raster_projection
from se4lip.head.splat.gaussians import Gaussians
from se4lip.head.splat.raster_config import RasterConfig
from se4lip.head.splat.raster_kernels import SPLAT_WIDTH, TILE_PX
from se4lip.head.splat.raster_projection import CHUNK
from se4lip.types import Camera, InputError


def rasterize_numba(
    gaussians: Gaussians,
    camera: Camera,
    background: Float[Tensor, " C"] | Float[Tensor, "H W C"],
    camera_from_head: Float[Tensor, "3 4"],
    config: RasterConfig,
) -> tuple[Float[Tensor, "H W C"], Float[Tensor, "H W"]]:
    """As `raster.rasterize`, which checks the inputs.

    Raises: InputError when the tensors are not float32 on the CPU.
    """
    means = gaussians.means
    if means.dtype != torch.float32 or means.device.type != "cpu":
        raise InputError(
            f"Gaussians are {means.dtype} on {means.device}, but the numba back end draws "
            "torch.float32 on cpu: convert them, or choose another back end"
        )
    rgb, alpha = _Rasterize.apply(
        *gaussians.tensors().values(),
        background,
        camera_from_head,
        camera,
        config,
    )
    return rgb, alpha


@dataclass(frozen=True)
class _Tiled:
    """Splats, and which tile draws which; arrays as in `raster_kernels`."""

    splats: np.ndarray
    pair_starts: np.ndarray
    starts: np.ndarray
    lists: np.ndarray
    tile_order: np.ndarray
    tiles_x: int


def _view(camera: Camera, config: RasterConfig) -> tuple[float, ...]:
    """The camera as `raster_projection` reads it."""
    lens = (camera.focal_px, camera.cx_px, camera.cy_px, camera.width_px, camera.height_px)
    return (*map(float, lens), config.eps2d_px2, config.near)


def _tile(
    means: np.ndarray,
    scales: np.ndarray,
    quats: np.ndarray,
    opacities: np.ndarray,
    pose: np.ndarray,
    camera: Camera,
    config: RasterConfig,
) -> _Tiled:
    """Projects the Gaussians and lists them by tile and depth."""
    count = len(means)
    tiles_x, tiles_y = -(-camera.width_px // TILE_PX), -(-camera.height_px // TILE_PX)
    splats, depths = np.empty((count, SPLAT_WIDTH), np.float32), np.empty(count, np.float32)
    boxes = np.empty((count, 4), np.int32)
    run_in_lanes(
        raster_projection.project,
        lanes_for(-(-count // CHUNK)),
        means,
        scales,
        quats,
        opacities,
        pose,
        _view(camera, config),
        splats,
        depths,
        boxes,
    )
    order = raster_binning.depth_order(depths, boxes)
    pair_starts = np.empty(count + 1, np.int64)
    starts = np.empty(tiles_x * tiles_y + 1, np.int64)
    raster_binning.count_pairs(boxes, tiles_x, pair_starts, starts)
    lists = np.empty((pair_starts[-1], 2), np.int32)
    raster_binning.fill_lists(order, boxes, tiles_x, pair_starts, starts, lists)
    # the fullest tiles first, so that no lane is left with a big one at the end
    tile_order = np.argsort(-np.diff(starts), kind="stable")
    return _Tiled(splats, pair_starts, starts, lists, tile_order, tiles_x)


class _Rasterize(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        means: Tensor,
        scales: Tensor,
        quats: Tensor,
        opacities: Tensor,
        colours: Tensor,
        background: Tensor,
        pose: Tensor,
        camera: Camera,
        config: RasterConfig,
    ) -> tuple[Tensor, Tensor]:
        channels = colours.shape[1]
        pose_f64 = numbers(pose).astype(np.float64)
        tiled = _tile(
            numbers(means),
            numbers(scales),
            numbers(quats),
            numbers(opacities),
            pose_f64,
            camera,
            config,
        )
        plate = numbers(background).reshape(
            (1, 1, channels) if background.ndim == 1 else (background.shape)
        )
        size = (camera.height_px, camera.width_px)
        rgb = np.empty((*size, channels), np.float32)
        through, needed = np.empty(size, np.float32), np.empty(size, np.int32)
        run_in_lanes(
            raster_kernels.draw_tiles,
            lane_count(),
            tiled.tile_order,
            tiled.starts,
            tiled.lists,
            tiled.splats,
            numbers(colours),
            plate,
            rgb,
            through,
            needed,
            tiled.tiles_x,
        )
        ctx.save_for_backward(means, scales, quats, colours)
        ctx.tiled, ctx.plate, ctx.through, ctx.needed = tiled, plate, through, needed
        ctx.pose, ctx.view, ctx.background_rank = pose_f64, _view(camera, config), background.ndim
        return torch.from_numpy(rgb), torch.from_numpy(1 - through)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, rgb_grad: Tensor, alpha_grad: Tensor) -> tuple[Tensor | None, ...]:
        means, scales, quats, colours = map(numbers, ctx.saved_tensors)
        tiled, count, channels = ctx.tiled, *colours.shape
        rgb_slope, alpha_slope = numbers(rgb_grad), numbers(alpha_grad)
        moments = np.empty((len(tiled.lists), 6 + channels), np.float32)
        run_in_lanes(
            raster_kernels.differentiate_tiles,
            lane_count(),
            tiled.tile_order,
            tiled.starts,
            tiled.lists,
            tiled.splats,
            colours,
            ctx.plate,
            ctx.through,
            ctx.needed,
            rgb_slope,
            alpha_slope,
            moments,
            tiled.tiles_x,
        )
        widths: tuple[tuple[int, ...], ...] = ((3,), (3,), (4,), (), (channels,))
        grads = [np.empty((count, *width), np.float32) for width in widths]
        chunks = -(-count // CHUNK)
        pose_grads = np.zeros((chunks, 3, 4))
        run_in_lanes(
            raster_projection.differentiate,
            lanes_for(chunks),
            means,
            scales,
            quats,
            ctx.pose,
            ctx.view,
            tiled.splats,
            tiled.pair_starts,
            moments,
            *grads,
            pose_grads,
        )
        background_grad = None
        if ctx.needs_input_grad[5]:
            background_grad = ctx.through[..., None] * rgb_slope
            if ctx.background_rank == 1:
                background_grad = background_grad.sum((0, 1), dtype=np.float64).astype(np.float32)
        pose_grad = pose_grads.sum(0).astype(np.float32)
        found = (*grads, background_grad, pose_grad)
        wanted = ctx.needs_input_grad
        return (
            *(torch.from_numpy(g) if w else None for g, w in zip(found, wanted, strict=False)),
            None,
            None,
        )
