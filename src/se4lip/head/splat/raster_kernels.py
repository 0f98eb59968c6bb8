"""The numba kernels behind `raster_numba`: tiles, and the derivative of tiles.

Arrays, float32 unless said otherwise (N Gaussians, P pairs of a Gaussian and a tile it may touch):

    splats  [N, 9]   centre x, y (px); precision a, b, c as in ``q = a dx^2 + 2 b dx dy + c dy^2``;
                     opacity; reach in x and y (px), where alpha falls to ALPHA_MIN; correlation of
                     x and y
    depths  [N]      along the camera's axis, positive
    boxes   [N, 4]   int32 tiles touched: left, top, right, bottom (exclusive); empty if not drawn
    starts  [tiles + 1]  int64, where each tile's part of ``lists`` begins
    lists   [P, 2]   int32, tile by tile and front to back: Gaussian, pair number. Pair numbers
                     count up along the Gaussians, so that a Gaussian's pairs lie together
    moments [P, 6 + C]   what the backward pass of a tile found for one pair: sums over pixels of
                     s, s dx, s dy, s dx^2, s dx dy, s dy^2 with ``s = dloss/d(-q/2)``, and of
                     ``weight * dloss/drgb``

Every pair's moments are written once, by one thread, and added in pair order: gradients depend
neither on the number of threads nor on which of them drew what.

A row of a tile is one `simd.Lanes`, sixteen pixels at once.
"""

from __future__ import annotations

import math
from typing import no_type_check

import numpy as np
from numba import njit

from se4lip.head import lanes
from se4lip.head.lanes import claim, compiler
from se4lip.head.splat import raster_config, simd
from se4lip.head.splat.raster_config import ALPHA_MAX, ALPHA_MIN, TRANSMITTANCE_MIN
from se4lip.head.splat.simd import (
    WIDTH,
    exp2,
    lane_max,
    lane_sum,
    larger,
    load,
    smaller,
    spread,
    store,
    where_greater,
)

TILE_PX = WIDTH
TILE_AREA = TILE_PX * TILE_PX
SPLAT_WIDTH = 9

f32 = np.float32
_ALPHA_MAX = f32(ALPHA_MAX)
_ALPHA_MIN = f32(ALPHA_MIN)
_THROUGH_MIN = f32(TRANSMITTANCE_MIN)
_ZERO, _HALF, _ONE, _TWO = f32(0), f32(0.5), f32(1), f32(2)
_POWER_OF_Q = f32(-0.5 / math.log(2))
"""exp(-q / 2) is 2 to the power of this times q."""
_LEAST_POWER = f32(-16)
"""2^-16 is far below ALPHA_MIN."""
_SLACK_PX = f32(0.01)
"""Which rows a splat touches is worked out in float32; a row too many does no harm."""

# every licence but to assume that there are no infinities
FAST = {"contract", "reassoc", "nsz", "arcp", "afn"}
jit = compiler(lanes, raster_config, simd, fastmath=FAST)
inline = njit(fastmath=FAST, inline="always")


@inline
@no_type_check
def _rows_touched(splat, top, left, rows, seen):
    """First and last + 1 row of a tile that a splat's ellipse touches; none if first >= last.

    In units of its reach the ellipse is ``y = rho t +- sqrt((1 - rho^2)(1 - t^2))``, highest at
    ``t = rho`` and lowest at ``t = -rho``, or where the tile's own columns come nearest to that.
    """
    per_reach = _ONE / splat[6]
    first_t = (f32(left) + _HALF - splat[0]) * per_reach
    last_t = first_t + f32(seen - 1) * per_reach
    # of needles rho is one in float32, and one minus its square was lost
    room = abs(splat[8])
    rho = math.copysign(math.sqrt(_ONE - room), splat[8])
    low_t, high_t = min(max(-rho, first_t), last_t), min(max(rho, first_t), last_t)
    middle = splat[1] - f32(top) - _HALF
    low = rho * low_t - math.sqrt(max(_ZERO, room * (_ONE - low_t * low_t)))
    high = rho * high_t + math.sqrt(max(_ZERO, room * (_ONE - high_t * high_t)))
    if last_t <= -_ONE or first_t >= _ONE:
        return 0, 0
    first = max(0, math.ceil(middle + splat[7] * low - _SLACK_PX))
    last = min(rows, math.floor(middle + splat[7] * high + _SLACK_PX) + 1)
    return first, last


@jit
@no_type_check
def draw_tiles(
    counter, tile_order, starts, lists, splats, colours, background, rgb, through, needed, tiles_x
):
    """Composites tiles onto ``background`` [1, 1, C] or [H, W, C]. Out come ``rgb`` [H, W, C],
    ``through`` [H, W] (what shines through) and ``needed`` [H, W]: how many places of the tile's
    list the pixel went through.

    ``ahead`` is the transmittance so far; a pixel that is full keeps it with a minus sign.
    """
    height, width, channels = rgb.shape
    plate = background.shape[0] > 1 or background.shape[1] > 1
    ahead = np.empty(TILE_AREA, np.float32)
    depth = np.empty(TILE_AREA, np.float32)
    paint = np.empty(channels * TILE_AREA, np.float32)
    columns = load(np.arange(TILE_PX).astype(np.float32), 0)
    while True:
        item = claim(counter)
        if item >= len(tile_order):
            break
        tile = tile_order[item]
        top, left = TILE_PX * (tile // tiles_x), TILE_PX * (tile % tiles_x)
        rows, seen = min(TILE_PX, height - top), min(TILE_PX, width - left)
        ahead[:] = -_ONE
        for r in range(rows):
            ahead[r * TILE_PX : r * TILE_PX + seen] = _ONE
        depth[:] = _ZERO
        paint[:] = _ZERO
        open_rows = (1 << rows) - 1
        begin, end = starts[tile], starts[tile + 1]
        for place in range(begin, end):
            step = place - begin
            if step & 15 == 15:
                for r in range(rows):
                    if lane_max(load(ahead, r * TILE_PX)) < _ZERO:
                        open_rows &= ~(1 << r)
                if open_rows == 0:
                    break
            g = lists[place, 0]
            a, b = splats[g, 2] * _POWER_OF_Q, splats[g, 3] * _POWER_OF_Q * _TWO
            c, opacity = splats[g, 4] * _POWER_OF_Q, splats[g, 5]
            dx = columns + (f32(left) + _HALF - splats[g, 0])
            first_row, end_row = _rows_touched(splats[g], top, left, rows, seen)
            for r in range(first_row, end_row):
                if (open_rows >> r) & 1 == 0:
                    continue
                at = r * TILE_PX
                dy = f32(top + r) + _HALF - splats[g, 1]
                power = (a * dx + b * dy) * dx + c * dy * dy
                alpha = smaller(exp2(larger(power, _LEAST_POWER)) * opacity, _ALPHA_MAX)
                alpha = where_greater(_ALPHA_MIN, alpha, _ZERO, alpha)
                before = load(ahead, at)
                weight = before * alpha
                behind = before - weight
                weight = where_greater(behind, _THROUGH_MIN, weight, _ZERO)
                full = smaller(before, _ZERO - before)
                store(ahead, at, where_greater(behind, _THROUGH_MIN, behind, full))
                drawn = where_greater(weight, _ZERO, f32(step + 1), load(depth, at))
                store(depth, at, drawn)
                for channel in range(channels):
                    spot = channel * TILE_AREA + at
                    store(paint, spot, load(paint, spot) + weight * colours[g, channel])
        for r in range(rows):
            for k in range(seen):
                y, x, at = top + r, left + k, r * TILE_PX + k
                shining = abs(ahead[at])
                through[y, x] = shining
                needed[y, x] = depth[at]
                for channel in range(channels):
                    behind = background[y, x, channel] if plate else background[0, 0, channel]
                    rgb[y, x, channel] = paint[channel * TILE_AREA + at] + shining * behind


@jit
@no_type_check
def differentiate_tiles(
    counter,
    tile_order,
    starts,
    lists,
    splats,
    colours,
    background,
    through,
    needed,
    rgb_grad,
    alpha_grad,
    moments,
    tiles_x,
):
    """The derivative of `draw_tiles`: fills ``moments`` from ``rgb_grad`` [H, W, C] and
    ``alpha_grad`` [H, W].

    With ``gain_i = drgb . colour_i`` and weights ``w_i = alpha_i T_i``, back to front,

        dloss/dalpha_i = T_i gain_i - beyond_i / (1 - alpha_i)
        beyond_i = sum over j behind i of w_j gain_j + T_end (drgb . background - dalpha)

    which is one number to carry per pixel, for any number of channels.
    """
    height, width, channels = rgb_grad.shape
    plate = background.shape[0] > 1 or background.shape[1] > 1
    ahead = np.empty(TILE_AREA, np.float32)
    beyond = np.empty(TILE_AREA, np.float32)
    depth = np.empty(TILE_AREA, np.float32)
    row_depth = np.empty(TILE_PX, np.float32)
    loss = np.empty(channels * TILE_AREA, np.float32)
    colour_sums = np.empty(channels * TILE_PX, np.float32)
    columns = load(np.arange(TILE_PX).astype(np.float32), 0)
    while True:
        item = claim(counter)
        if item >= len(tile_order):
            break
        tile = tile_order[item]
        top, left = TILE_PX * (tile // tiles_x), TILE_PX * (tile % tiles_x)
        rows, seen = min(TILE_PX, height - top), min(TILE_PX, width - left)
        ahead[:] = _ONE
        beyond[:] = _ZERO
        depth[:] = _ZERO
        loss[:] = _ZERO
        for r in range(rows):
            for k in range(seen):
                y, x, at = top + r, left + k, r * TILE_PX + k
                ahead[at] = through[y, x]
                depth[at] = needed[y, x]
                slope = -alpha_grad[y, x]
                for channel in range(channels):
                    loss[channel * TILE_AREA + at] = rgb_grad[y, x, channel]
                    shown = background[y, x, channel] if plate else background[0, 0, channel]
                    slope += rgb_grad[y, x, channel] * shown
                beyond[at] = through[y, x] * slope
            row_depth[r] = lane_max(load(depth, r * TILE_PX))
        begin = starts[tile]
        drawn = int(row_depth[:rows].max())
        for place in range(begin + drawn, starts[tile + 1]):
            moments[lists[place, 1]] = _ZERO
        for step in range(drawn - 1, -1, -1):
            g, pair = lists[begin + step, 0], lists[begin + step, 1]
            a, b = splats[g, 2] * _POWER_OF_Q, splats[g, 3] * _POWER_OF_Q * _TWO
            c, opacity = splats[g, 4] * _POWER_OF_Q, splats[g, 5]
            dx = columns + (f32(left) + _HALF - splats[g, 0])
            first_row, end_row = _rows_touched(splats[g], top, left, rows, seen)
            s0, sy, syy = spread(_ZERO), spread(_ZERO), spread(_ZERO)
            colour_sums[:] = _ZERO
            for r in range(first_row, end_row):
                if row_depth[r] <= step:
                    continue
                at = r * TILE_PX
                dy = f32(top + r) + _HALF - splats[g, 1]
                power = (a * dx + b * dy) * dx + c * dy * dy
                peak = exp2(larger(power, _LEAST_POWER)) * opacity
                alpha = smaller(peak, _ALPHA_MAX)
                alpha = where_greater(_ALPHA_MIN, alpha, _ZERO, alpha)
                alpha = where_greater(load(depth, at), f32(step), alpha, _ZERO)
                inverse = _ONE / (_ONE - alpha)
                before = load(ahead, at) * inverse
                store(ahead, at, before)
                weight = alpha * before
                gain = spread(_ZERO)
                for channel in range(channels):
                    row_loss = load(loss, channel * TILE_AREA + at)
                    gain += row_loss * colours[g, channel]
                    spot = channel * TILE_PX
                    store(colour_sums, spot, load(colour_sums, spot) + weight * row_loss)
                row_beyond = load(beyond, at)
                s = alpha * (before * gain - inverse * row_beyond)
                s = where_greater(peak, _ALPHA_MAX, _ZERO, s)
                store(beyond, at, row_beyond + weight * gain)
                s0 += s
                sy += s * dy
                syy += s * (dy * dy)
            s0_dx = s0 * dx
            moments[pair, 0] = lane_sum(s0)
            moments[pair, 1] = lane_sum(s0_dx)
            moments[pair, 2] = lane_sum(sy)
            moments[pair, 3] = lane_sum(s0_dx * dx)
            moments[pair, 4] = lane_sum(sy * dx)
            moments[pair, 5] = lane_sum(syy)
            for channel in range(channels):
                moments[pair, 6 + channel] = lane_sum(load(colour_sums, channel * TILE_PX))
