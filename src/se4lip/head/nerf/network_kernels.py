"""The field's networks as numba kernels: eight samples at a time. Arrays as in `draw_kernels`."""

from __future__ import annotations

import math
from typing import no_type_check

import numpy as np

from se4lip.head.nerf.plane_kernels import inline, place
from se4lip.head.splat.simd import (
    WIDTH,
    exp2,
    larger,
    load,
    smaller,
    spread,
    store,
    where_greater,
)

f32 = np.float32
TOGETHER = 8
_ZERO, _ONE = f32(0), f32(1)
_POWER_OF_E, _LEAST_POWER = f32(1 / math.log(2)), f32(-120)


@inline
@no_type_check
def look_up(table, wide, shapes, u, v, w, first, out):
    """The table's rows of all levels added up, for one place, from ``out[first]`` on."""
    for level in range(len(shapes)):
        across = u if shapes[level, 0] == 0 else v
        down = v if shapes[level, 1] == 1 else w
        columns = shapes[level, 3]
        x, a, _ = place(across, columns)
        y, b, _ = place(down, shapes[level, 2])
        at = wide * (shapes[level, 4] + y * columns + x)
        below = at + wide * columns
        c, d = (_ONE - a) * (_ONE - b), a * (_ONE - b)
        e, f = (_ONE - a) * b, a * b
        for k in range(0 if level == 0 else WIDTH, wide, WIDTH):
            row = load(table, at + k) * c + load(table, at + wide + k) * d
            row += load(table, below + k) * e + load(table, below + wide + k) * f
            if level > 0:
                row += load(out, first + k)
            store(out, first + k, row)


@inline
@no_type_check
def dense(x, x_wide, x_first, inputs, weights, biases, y, y_wide, y_first, add):
    """Eight samples through a layer, added to what is in ``y`` already or to the biases."""
    for g in range(len(weights) // (inputs * WIDTH)):
        k = y_first + g * WIDTH
        if add:
            a0, a1 = load(y, k), load(y, y_wide + k)
            a2, a3 = load(y, 2 * y_wide + k), load(y, 3 * y_wide + k)
            a4, a5 = load(y, 4 * y_wide + k), load(y, 5 * y_wide + k)
            a6, a7 = load(y, 6 * y_wide + k), load(y, 7 * y_wide + k)
        else:
            bias = load(biases, g * WIDTH)
            a0, a1, a2, a3, a4, a5, a6, a7 = bias, bias, bias, bias, bias, bias, bias, bias
        for i in range(inputs):
            row = load(weights, (g * inputs + i) * WIDTH)
            at = x_first + i
            a0 += row * x[at]
            a1 += row * x[at + x_wide]
            a2 += row * x[at + 2 * x_wide]
            a3 += row * x[at + 3 * x_wide]
            a4 += row * x[at + 4 * x_wide]
            a5 += row * x[at + 5 * x_wide]
            a6 += row * x[at + 6 * x_wide]
            a7 += row * x[at + 7 * x_wide]
        store(y, k, a0)
        store(y, y_wide + k, a1)
        store(y, 2 * y_wide + k, a2)
        store(y, 3 * y_wide + k, a3)
        store(y, 4 * y_wide + k, a4)
        store(y, 5 * y_wide + k, a5)
        store(y, 6 * y_wide + k, a6)
        store(y, 7 * y_wide + k, a7)


@inline
@no_type_check
def rectify(x, wide, first, count):
    for s in range(TOGETHER):
        for k in range(first, first + count, WIDTH):
            store(x, s * wide + k, larger(load(x, s * wide + k), _ZERO))


@inline
@no_type_check
def attend(weight, codes, speech):
    """Codes weighted by the attention of eight samples, in place; those after the speech's are
    squashed first."""
    wide = len(codes)
    for s in range(TOGETHER):
        for k in range(0, wide, WIDTH):
            row = load(weight, s * wide + k)
            if k >= speech:
                power = larger(smaller(row, _ZERO - row) * _POWER_OF_E, _LEAST_POWER)
                small = exp2(power)
                whole = spread(_ONE) / (small + _ONE)
                row = where_greater(row, _ZERO, whole, small * whole)
            store(weight, s * wide + k, row * load(codes, k))
