"""Feature planes: what is stored at a place in three dimensions is read off a few pictures.

A level is a picture of feature vectors laid across two of the three axes; a point reads each level
bilinearly where it falls on it, and all readings side by side are its features. Sources: Chan et
al. 2022 (EG3D, tri-planes), Li et al. 2023 (ER-NeRF, three planes instead of a volume).

All levels are rows of one table ``[texels, 16]``, level after level, row by row. Coordinates lie in
[-1, 1], both ends on a texel; beyond them the border is held.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional

from se4lip.head.lanes import lane_count, lanes_for, run_in_lanes

CHANNELS = 16


@dataclass(frozen=True)
class Level:
    """A picture across axes ``across`` (its columns) and ``down`` (its rows) of x, y, z = 0, 1, 2.

    ``first`` is its first row in the table."""

    across: int
    down: int
    rows: int
    columns: int
    first: int

    @property
    def texels(self) -> int:
        return self.rows * self.columns


def levels(rows: int, columns: int, layers: int, coarser: int = 4) -> tuple[Level, ...]:
    """A fine and a coarse picture of the front, and two coarse ones of the depth."""
    few_rows, few_columns = max(2, rows // coarser), max(2, columns // coarser)
    shapes = (
        (0, 1, rows, columns),
        (0, 1, few_rows, few_columns),
        (0, 2, layers, few_columns),
        (1, 2, layers, few_rows),
    )
    found: list[Level] = []
    first = 0
    for shape in shapes:
        found.append(Level(*shape, first))
        first += found[-1].texels
    return tuple(found)


def texel_count(of: Sequence[Level]) -> int:
    return of[-1].first + of[-1].texels


def look_up(
    table: Float[Tensor, "texels 16"], of: Sequence[Level], points: Float[Tensor, "N 3"]
) -> Float[Tensor, "N features"]:
    """Features of points, 16 from each level; differentiable in the table and the points."""
    if table.device.type == "cpu" and table.dtype == points.dtype == torch.float32:
        found: Tensor = _LookUp.apply(table, points, tuple(of))
        return found
    return look_up_plain(table, of, points)


def look_up_plain(
    table: Float[Tensor, "texels C"], of: Sequence[Level], points: Float[Tensor, "N 3"]
) -> Float[Tensor, "N features"]:
    """`look_up` in plain PyTorch, on any device, in any precision, of any width."""
    found = []
    for level in of:
        picture = table[level.first : level.first + level.texels].T.unflatten(
            1, (level.rows, level.columns)
        )
        at = points[None, None, :, [level.across, level.down]]
        read = functional.grid_sample(
            picture[None], at, mode="bilinear", padding_mode="border", align_corners=True
        )
        found.append(read[0, :, 0].T)
    return torch.cat(found, dim=1)


class _LookUp(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, table: Tensor, points: Tensor, of: tuple[Level, ...]) -> Tensor:
        from se4lip.head.nerf import plane_kernels

        numbers, at = _numbers(table), _numbers(points)
        found = np.empty((len(at), CHANNELS * len(of)), np.float32)
        shapes = _shapes(of)
        run_in_lanes(
            plane_kernels.read, lane_count(), numbers, shapes, at.reshape(-1), found.reshape(-1)
        )
        ctx.save_for_backward(table, points)
        ctx.of = of
        return torch.from_numpy(found)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        from se4lip.head.nerf import plane_kernels

        table, points = ctx.saved_tensors
        table_grad = np.zeros(table.numel(), np.float32)
        # one part for each level, so that no two threads add to the same number
        points_grad = np.zeros((len(ctx.of), len(points), 3), np.float32)
        run_in_lanes(
            plane_kernels.differentiate,
            lanes_for(len(ctx.of)),
            _numbers(table),
            _shapes(ctx.of),
            _numbers(points).reshape(-1),
            _numbers(gradients[0]),
            table_grad,
            points_grad,
        )
        to_points = torch.from_numpy(points_grad.sum(0)) if ctx.needs_input_grad[1] else None
        return torch.from_numpy(table_grad).view(table.shape), to_points, None


def _numbers(tensor: Tensor) -> np.ndarray:
    flat: np.ndarray = tensor.detach().contiguous().numpy()
    return flat.reshape(-1) if tensor.shape[-1] != 3 else flat


def _shapes(of: Sequence[Level]) -> np.ndarray:
    return np.array([[v.across, v.down, v.rows, v.columns, v.first] for v in of], np.int64)
