"""The numba kernels that list splats by tile and depth. Arrays as in `raster_kernels`."""

from __future__ import annotations

from typing import no_type_check

import numpy as np

from se4lip.head import lanes
from se4lip.head.lanes import compiler

jit = compiler(lanes)


@jit
@no_type_check
def depth_order(depths, boxes):
    """Rows of the drawn splats, front to back, ties by row.

    Three passes of an 11-bit radix sort: depths are positive, so their bits sort as they do.
    """
    order, spare = np.empty(len(boxes), np.int32), np.empty(len(boxes), np.int32)
    count = 0
    for g in range(len(boxes)):
        if boxes[g, 0] < boxes[g, 2]:
            order[count] = g
            count += 1
    keys = depths.view(np.uint32)
    histogram = np.zeros((3, 2048), np.int64)
    for i in range(count):
        key = keys[order[i]]
        for digit in range(3):
            histogram[digit, (key >> np.uint32(11 * digit)) & np.uint32(2047)] += 1
    source, target = order, spare
    for digit in range(3):
        total = 0
        for value in range(2048):
            here = histogram[digit, value]
            histogram[digit, value] = total
            total += here
        for i in range(count):
            g = source[i]
            value = (keys[g] >> np.uint32(11 * digit)) & np.uint32(2047)
            target[histogram[digit, value]] = g
            histogram[digit, value] += 1
        source, target = target, source
    return source[:count]


@jit
@no_type_check
def count_pairs(boxes, tiles_x, pair_starts, starts):
    """Fills ``pair_starts`` [N + 1] and ``starts`` by adding up the boxes."""
    starts[:] = 0
    pairs = 0
    for g in range(len(boxes)):
        left, top, right, bottom = boxes[g, 0], boxes[g, 1], boxes[g, 2], boxes[g, 3]
        pair_starts[g] = pairs
        if left < right:
            for row in range(top, bottom):
                for column in range(left, right):
                    starts[row * tiles_x + column + 1] += 1
            pairs += (right - left) * (bottom - top)
    pair_starts[len(boxes)] = pairs
    for tile in range(len(starts) - 1):
        starts[tile + 1] += starts[tile]


@jit
@no_type_check
def fill_lists(order, boxes, tiles_x, pair_starts, starts, lists):
    """Hands the splats out to the tiles' lists, front to back."""
    cursor = starts.copy()
    for rank in range(len(order)):
        g = order[rank]
        pair = pair_starts[g]
        for row in range(boxes[g, 1], boxes[g, 3]):
            for column in range(boxes[g, 0], boxes[g, 2]):
                tile = row * tiles_x + column
                place = cursor[tile]
                cursor[tile] = place + 1
                lists[place, 0] = g
                lists[place, 1] = pair
                pair += 1
