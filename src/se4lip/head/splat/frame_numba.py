"""A frame for showing: what `SplatHead` does before it rasterizes, without gradients, on the CPU.

The same arithmetic as `SplatHead.gaussians`, `posed` and `background`, which are its oracle, in the
rasteriser's own threads. Torch wakes its threads for every one of some forty operations and waits
for them; and where it was imported before us, they spin on the cores that the rasteriser wants.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import no_type_check

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from se4lip.head import lanes
from se4lip.head.lanes import claim, compiler, lanes_for, numbers, run_in_lanes
from se4lip.head.splat import raster_projection
from se4lip.head.splat.deform import CHANGES, Branch
from se4lip.head.splat.gaussians import Gaussians, RawGaussians
from se4lip.head.splat.raster_projection import CHUNK

ROWS = 16
"""Rows of the plate that a lane takes at a time."""

jit = compiler(lanes, raster_projection)
f32 = np.float32


def placed_numba(
    raw: RawGaussians,
    head_share: Float[Tensor, " N"],
    driven: Iterable[tuple[Branch, Float[Tensor, " K"]]],
    camera_from_head: tuple[Float[Tensor, "3 4"], Float[Tensor, " 4"]],
    camera_from_torso: tuple[Float[Tensor, "3 4"], Float[Tensor, " 4"]],
) -> Gaussians:
    """Gaussians in camera coordinates: ``raw`` changed by each branch, which a code drives,
    and carried by two poses, each as a matrix and as a quaternion."""
    count = len(head_share)
    change = np.zeros((count, CHANGES), np.float32)
    for branch, code in driven:
        first, size = branch.config.start, len(branch.share)
        parts = map(numbers, (branch.vectors, branch.share, branch.weights(code)))
        run_in_lanes(add_change, lanes_for(-(-size // CHUNK)), change, first, *parts)
    given = [*map(numbers, raw.tensors().values())]
    made = [np.empty_like(array) for array in given]
    poses = [numbers(part) for part in (*camera_from_head, *camera_from_torso)]
    run_in_lanes(
        place, lanes_for(-(-count // CHUNK)), change, numbers(head_share), *poses, *given, *made
    )
    return Gaussians(*map(torch.from_numpy, made))


def tinted_numba(
    plate: Float[Tensor, "H W 3"], tint: Float[Tensor, "3 h w"]
) -> Float[Tensor, "H W 3"]:
    """``plate`` and ``tint``, which is enlarged to its size bilinearly (no corners aligned)."""
    out = np.empty(plate.shape, np.float32)
    across, down = (_between(tint.shape[2], len(out[0])), _between(tint.shape[1], len(out)))
    lanes_of_rows = lanes_for(-(-len(out) // ROWS))
    run_in_lanes(add_tint, lanes_of_rows, numbers(plate), numbers(tint), *across, *down, out)
    return torch.from_numpy(out)


def _between(few: int, many: int) -> tuple[np.ndarray, np.ndarray]:
    """For each of ``many`` cells which two of ``few`` it lies between, the first of them and the
    second's share."""
    at = (np.arange(many) + 0.5) * (few / many) - 0.5
    at = np.clip(at, 0, few - 1)
    first = np.minimum(at.astype(np.int32), np.int32(max(0, few - 2)))
    return first, (at - first).astype(np.float32)


@jit
@no_type_check
def add_change(counter, change, first, vectors, share, weights):
    """Adds ``share * (weights @ vectors)`` to the rows of ``change`` from ``first`` on."""
    count, width = len(share), change.shape[1]
    flat = vectors.reshape(len(weights), count * width)
    sums = np.empty(CHUNK * width, np.float32)
    while True:
        begin = claim(counter) * CHUNK
        if begin >= count:
            break
        end = min(begin + CHUNK, count)
        start, length = begin * width, (end - begin) * width
        sums[:length] = 0
        for j in range(len(weights)):
            weight, vector = weights[j], flat[j]
            for i in range(length):
                sums[i] += weight * vector[start + i]
        for g in range(begin, end):
            for k in range(width):
                change[first + g, k] += share[g] * sums[(g - begin) * width + k]


@jit
@no_type_check
def place(
    counter,
    change,
    head_share,
    head,
    head_turn,
    torso,
    torso_turn,
    means,
    log_scales,
    quats,
    opacity_logits,
    colours,
    means_out,
    scales_out,
    quats_out,
    opacities_out,
    colours_out,
):
    """Changes, activates and carries the Gaussians: ``change`` as in `deform`."""
    channels = colours.shape[1]
    while True:
        begin = claim(counter) * CHUNK
        if begin >= len(means):
            break
        for g in range(begin, min(begin + CHUNK, len(means))):
            share = min(max(head_share[g], f32(0)), f32(1))
            rest = f32(1) - share
            x = means[g, 0] + change[g, 0]
            y = means[g, 1] + change[g, 1]
            z = means[g, 2] + change[g, 2]
            for i in range(3):
                with_head = head[i, 0] * x + head[i, 1] * y + head[i, 2] * z + head[i, 3]
                with_torso = torso[i, 0] * x + torso[i, 1] * y + torso[i, 2] * z + torso[i, 3]
                means_out[g, i] = share * with_head + rest * with_torso
                scales_out[g, i] = math.exp(log_scales[g, i] + change[g, 6 + i])
            for i in range(channels):
                colours_out[g, i] = colours[g, i] + change[g, 3 + i]
            logit = opacity_logits[g] + change[g, 9]
            opacities_out[g] = f32(1) / (f32(1) + math.exp(-logit))
            aw = share * head_turn[0] + rest * torso_turn[0]
            ax = share * head_turn[1] + rest * torso_turn[1]
            ay = share * head_turn[2] + rest * torso_turn[2]
            az = share * head_turn[3] + rest * torso_turn[3]
            bw, bx, by, bz = quats[g, 0], quats[g, 1], quats[g, 2], quats[g, 3]
            quats_out[g, 0] = aw * bw - ax * bx - ay * by - az * bz
            quats_out[g, 1] = aw * bx + ax * bw + ay * bz - az * by
            quats_out[g, 2] = aw * by - ax * bz + ay * bw + az * bx
            quats_out[g, 3] = aw * bz + ax * by - ay * bx + az * bw


@jit
@no_type_check
def add_tint(counter, plate, tint, left, left_share, top, top_share, out):
    """``out`` is ``plate`` and the enlarged ``tint``; `_between` says where each cell lies."""
    height, width, channels = plate.shape
    few_rows, few = tint.shape[1], tint.shape[2]
    line = np.empty((channels, few), np.float32)
    while True:
        begin = claim(counter) * ROWS
        if begin >= height:
            break
        for row in range(begin, min(begin + ROWS, height)):
            above, share = top[row], top_share[row]
            below = min(above + 1, few_rows - 1)
            for c in range(channels):
                for i in range(few):
                    line[c, i] = (f32(1) - share) * tint[c, above, i] + share * tint[c, below, i]
            for column in range(width):
                i, share = left[column], left_share[column]
                k = min(i + 1, few - 1)
                for c in range(channels):
                    mixed = (f32(1) - share) * line[c, i] + share * line[c, k]
                    out[row, column, c] = plate[row, column, c] + mixed
