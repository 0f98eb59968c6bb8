"""The numba kernels behind `planes.look_up`. A texel is one `simd.Lanes`, its sixteen channels."""

from __future__ import annotations

from typing import no_type_check

import numpy as np
from numba import njit

from se4lip.head import lanes
from se4lip.head.lanes import claim, compiler
from se4lip.head.splat import simd
from se4lip.head.splat.simd import WIDTH, lane_sum, load, store

f32 = np.float32
FAST = {"contract", "reassoc", "nsz", "arcp", "afn"}
jit = compiler(lanes, simd, fastmath=FAST)
inline = njit(fastmath=FAST, inline="always")
_BLOCK = 1024


@inline
@no_type_check
def place(coordinate, count):
    """Texel before a coordinate in [-1, 1], the way to the next one, and whether it is inside."""
    at = (coordinate + f32(1)) * f32(0.5) * f32(count - 1)
    inside = (at > f32(0)) and (at < f32(count - 1))
    at = min(max(at, f32(0)), f32(count - 1))
    before = min(int(at), count - 2)
    return before, at - f32(before), inside


@jit
@no_type_check
def read(counter, table, shapes, points, out):
    """Fills ``out`` [N, 16 levels], flat, a block of points at a time."""
    count, wide = len(points) // 3, WIDTH * len(shapes)
    while True:
        block = claim(counter)
        if block * _BLOCK >= count:
            break
        for level in range(len(shapes)):
            across, down = shapes[level, 0], shapes[level, 1]
            rows, columns, first = shapes[level, 2], shapes[level, 3], shapes[level, 4]
            for n in range(block * _BLOCK, min((block + 1) * _BLOCK, count)):
                x, a, _ = place(points[3 * n + across], columns)
                y, b, _ = place(points[3 * n + down], rows)
                at = WIDTH * (first + y * columns + x)
                below = at + WIDTH * columns
                upper = load(table, at) * (f32(1) - a) + load(table, at + WIDTH) * a
                lower = load(table, below) * (f32(1) - a) + load(table, below + WIDTH) * a
                store(out, n * wide + level * WIDTH, upper * (f32(1) - b) + lower * b)


@jit
@no_type_check
def differentiate(counter, table, shapes, points, out_grad, table_grad, points_grad):
    """The derivative of `read`: adds to ``table_grad``, fills ``points_grad`` [levels, N, 3]."""
    count, wide = len(points) // 3, WIDTH * len(shapes)
    while True:
        level = claim(counter)
        if level >= len(shapes):
            break
        across, down = shapes[level, 0], shapes[level, 1]
        rows, columns, first = shapes[level, 2], shapes[level, 3], shapes[level, 4]
        for n in range(count):
            x, a, inside_x = place(points[3 * n + across], columns)
            y, b, inside_y = place(points[3 * n + down], rows)
            at = WIDTH * (first + y * columns + x)
            below = at + WIDTH * columns
            grad = load(out_grad, n * wide + level * WIDTH)
            left_up, right_up = load(table, at), load(table, at + WIDTH)
            left_low, right_low = load(table, below), load(table, below + WIDTH)
            upper, lower = grad * (f32(1) - b), grad * b
            store(table_grad, at, load(table_grad, at) + upper * (f32(1) - a))
            store(table_grad, at + WIDTH, load(table_grad, at + WIDTH) + upper * a)
            store(table_grad, below, load(table_grad, below) + lower * (f32(1) - a))
            store(table_grad, below + WIDTH, load(table_grad, below + WIDTH) + lower * a)
            if inside_x:
                slope = upper * (right_up - left_up) + lower * (right_low - left_low)
                points_grad[level, n, across] = lane_sum(slope) * f32(0.5) * f32(columns - 1)
            if inside_y:
                slope = (left_low - left_up) * (f32(1) - a) + (right_low - right_up) * a
                points_grad[level, n, down] = lane_sum(slope * grad) * f32(0.5) * f32(rows - 1)
