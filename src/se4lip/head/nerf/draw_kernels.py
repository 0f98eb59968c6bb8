"""The numba kernel behind `drawing`: rays, samples, the networks and compositing in one pass.

A row of the picture is one work item. All its rays are at their next sample at once; eight
samples go through the networks together, sixteen outputs of a layer at a time (`simd.Lanes`).
Samples in empty cells are skipped, and a ray ends when nothing more is seen through it.

Arrays, float32 and flat unless said otherwise; ``G`` counts sixteens of outputs:

    lens      focal_px, cx_px, cy_px               pose       rotation and translation, [3, 4]
    box       left, top, width, height (cm), front_cm, thickness_cm, fade_cm
    maps      [rows, columns, 4]  way back x, y, z and the frame's surface
    relief    [rows, columns]
    occupied  bool [layers, cell rows, cell columns]
    cached    density of the resting face [layers, rows, columns], or nothing: samples that would
              hardly be seen by it are skipped
    table     [texels, 16 + A + H]  of the finest level the channels themselves, then what they
              and the biases give the attention's hidden layer (A) and the network's (H)
    shapes    int64 [levels, 5]  as in `planes`
    a layer   weights [G, inputs, 16] and biases [16 G]
    codes     [M], speech first, then ``M - speech`` others, whose attention is squashed
    solid     at_surface, slope, grows_cm, densest
    out       [height, width, 4]  colour, and what is seen through it
"""

from __future__ import annotations

import math
from typing import no_type_check

import numpy as np

from se4lip.head import lanes
from se4lip.head.lanes import claim, compiler
from se4lip.head.nerf import network_kernels, plane_kernels
from se4lip.head.nerf.network_kernels import TOGETHER, attend, dense, look_up, rectify
from se4lip.head.nerf.plane_kernels import inline, place
from se4lip.head.splat import simd
from se4lip.head.splat.simd import WIDTH

f32 = np.float32
OPAQUE = f32(1e-3)  # what is seen through less is not seen
WORTH = f32(0.02)  # of a pixel: samples that add less, by the cached density, are skipped
_ZERO, _HALF, _ONE, _TWO, _THREE = f32(0), f32(0.5), f32(1), f32(2), f32(3)
FAST = {"contract", "reassoc", "nsz", "arcp", "afn"}
jit = compiler(lanes, simd, plane_kernels, network_kernels, fastmath=FAST)


@inline
@no_type_check
def _flat(box, x, y):
    """u and v of head coordinates."""
    return _TWO * (x - box[0]) / box[2] - _ONE, _TWO * (y - box[1]) / box[3] - _ONE


@inline
@no_type_check
def _read(picture, rows, columns, channels, channel, u, v):
    """One channel of a map, bilinearly."""
    x, a, _ = place(u, columns)
    y, b, _ = place(v, rows)
    at = (y * columns + x) * channels + channel
    below = at + columns * channels
    upper = picture[at] + a * (picture[at + channels] - picture[at])
    lower = picture[below] + a * (picture[below + channels] - picture[below])
    return upper + b * (lower - upper)


@inline
@no_type_check
def _canonical(box, maps, relief, rows, columns, x, y, z):
    """`Shell.canonical` of one point."""
    u, v = _flat(box, x, y)
    left, a, _ = place(u, columns)
    top, b, _ = place(v, rows)
    at = (top * columns + left) * 4
    below = at + columns * 4
    c, d = (_ONE - a) * (_ONE - b), a * (_ONE - b)
    e, f = (_ONE - a) * b, a * b
    x += c * maps[at] + d * maps[at + 4] + e * maps[below] + f * maps[below + 4]
    y += c * maps[at + 1] + d * maps[at + 5] + e * maps[below + 1] + f * maps[below + 5]
    z += c * maps[at + 2] + d * maps[at + 6] + e * maps[below + 2] + f * maps[below + 6]
    u, v = _flat(box, x, y)
    depth = z - _read(relief, rows, columns, 1, 0, u, v)
    return u, v, _TWO * (depth + box[4]) / box[5] - _ONE


@inline
@no_type_check
def _in_shell(u, v, w):
    return abs(u) <= _ONE and abs(v) <= _ONE and abs(w) <= _ONE


@inline
@no_type_check
def _at(cells, u, v, w):
    """What the cell that holds a place of the shell says."""
    layers, rows, columns = cells.shape
    x = min(int((u + _ONE) * _HALF * f32(columns)), columns - 1)
    y = min(int((v + _ONE) * _HALF * f32(rows)), rows - 1)
    z = min(int((w + _ONE) * _HALF * f32(layers)), layers - 1)
    return cells[z, y, x]


@jit
@no_type_check
def draw_rows(
    counter,
    lens,
    pose,
    box,
    maps,
    map_rows,
    map_columns,
    start_z,
    least_cosine,
    meetings,
    relief,
    occupied,
    cached,
    table,
    shapes,
    attention_out,
    attention_bias,
    code_in,
    between,
    between_bias,
    last,
    last_bias,
    codes,
    speech,
    solid,
    steps,
    out,
):
    height, width = out.shape[0], out.shape[1]
    attending = len(attention_out) // len(codes)
    hidden = len(between_bias)
    wide = WIDTH + attending + hidden
    looked_up = np.zeros(TOGETHER * wide, np.float32)
    attended = np.zeros(TOGETHER * len(codes), np.float32)
    deeper = np.zeros(TOGETHER * hidden, np.float32)
    found = np.zeros(TOGETHER * WIDTH, np.float32)
    met = np.empty(width, np.float32)
    way = np.empty((width, 3), np.float32)
    length = np.empty(width, np.float32)
    at = np.empty((width, 3), np.float32)  # where each ray's next sample is
    ahead = np.empty(width, np.float32)  # what is seen through all before it, by the cache
    step = np.empty(width, np.int64)
    alive = np.empty(width, np.int64)
    step_cm = box[5] / f32(steps)
    ox = -(pose[0, 0] * pose[0, 3] + pose[1, 0] * pose[1, 3] + pose[2, 0] * pose[2, 3])
    oy = -(pose[0, 1] * pose[0, 3] + pose[1, 1] * pose[1, 3] + pose[2, 1] * pose[2, 3])
    oz = -(pose[0, 2] * pose[0, 3] + pose[1, 2] * pose[1, 3] + pose[2, 2] * pose[2, 3])
    while True:
        row = claim(counter)
        if row >= height:
            break
        count = 0
        y = (f32(row) + _HALF - lens[2]) / lens[0]
        for k in range(width):
            out[row, k, 0] = out[row, k, 1] = out[row, k, 2] = _ZERO
            out[row, k, 3] = _ONE
            x = (f32(k) + _HALF - lens[1]) / lens[0]
            dx = pose[0, 0] * x + pose[1, 0] * y + pose[2, 0]
            dy = pose[0, 1] * x + pose[1, 1] * y + pose[2, 1]
            dz = pose[0, 2] * x + pose[1, 2] * y + pose[2, 2]
            steep = max(dz, least_cosine)
            t = (start_z - oz) / steep
            u, v = _flat(box, ox + t * dx, oy + t * dy)
            for _ in range(meetings):
                t = (_read(maps, map_rows, map_columns, 4, 3, u, v) - oz) / steep
                u, v = _flat(box, ox + t * dx, oy + t * dy)
            if abs(u) > _ONE or abs(v) > _ONE:
                continue
            met[k] = t
            way[k, 0], way[k, 1], way[k, 2] = dx, dy, dz
            length[k] = step_cm * math.sqrt(dx * dx + dy * dy + dz * dz) / steep
            ahead[k] = _ONE
            step[k] = -1
            alive[count] = k
            count += 1
        while True:
            # every living ray goes on to its next sample that is not in an empty cell
            going = 0
            for i in range(count):
                k = alive[i]
                if out[row, k, 3] < OPAQUE:
                    continue
                dx, dy, dz = way[k, 0], way[k, 1], way[k, 2]
                steep = max(dz, least_cosine)
                for n in range(step[k] + 1, steps):
                    t = met[k] + ((f32(n) + _HALF) * step_cm - box[4]) / steep
                    u, v, w = _canonical(
                        box,
                        maps,
                        relief,
                        map_rows,
                        map_columns,
                        ox + t * dx,
                        oy + t * dy,
                        oz + t * dz,
                    )
                    if not (_in_shell(u, v, w) and _at(occupied, u, v, w)):
                        continue
                    if cached.size > 0:
                        passed = math.exp(-_at(cached, u, v, w) * length[k])
                        worth = ahead[k] * (_ONE - passed)
                        ahead[k] *= passed
                        if worth < WORTH:
                            continue
                    at[k, 0], at[k, 1], at[k, 2] = u, v, w
                    step[k] = n
                    alive[going] = k
                    going += 1
                    break
            count = going
            if count == 0:
                break
            for begin in range(0, count, TOGETHER):
                many = min(TOGETHER, count - begin)
                for s in range(many):
                    k = alive[begin + s]
                    look_up(table, wide, shapes, at[k, 0], at[k, 1], at[k, 2], s * wide, looked_up)
                rectify(looked_up, wide, WIDTH, attending)
                dense(
                    looked_up,
                    wide,
                    WIDTH,
                    attending,
                    attention_out,
                    attention_bias,
                    attended,
                    len(codes),
                    0,
                    False,
                )
                attend(attended, codes, speech)
                start = WIDTH + attending
                dense(
                    attended,
                    len(codes),
                    0,
                    len(codes),
                    code_in,
                    between_bias,
                    looked_up,
                    wide,
                    start,
                    True,
                )
                rectify(looked_up, wide, start, hidden)
                dense(
                    looked_up, wide, start, hidden, between, between_bias, deeper, hidden, 0, False
                )
                rectify(deeper, hidden, 0, hidden)
                dense(deeper, hidden, 0, hidden, last, last_bias, found, WIDTH, 0, False)
                for s in range(many):
                    k = alive[begin + s]
                    u, v, w = at[k, 0], at[k, 1], at[k, 2]
                    depth = min((w + _ONE) * _HALF * box[5] - box[4], solid[2])
                    power = found[s * WIDTH + 3] + looked_up[s * wide + 3]
                    power = min(power + solid[0] + solid[1] * depth, solid[3])
                    a = min((_ONE - abs(u)) * box[2] / (_TWO * box[6]), _ONE)
                    b = min((_ONE - abs(v)) * box[3] / (_TWO * box[6]), _ONE)
                    fade = a * a * (_THREE - _TWO * a) * b * b * (_THREE - _TWO * b)
                    through = math.exp(-math.exp(power) * fade * length[k])
                    share = out[row, k, 3] * (_ONE - through)
                    for c in range(3):
                        colour = found[s * WIDTH + c] + looked_up[s * wide + c]
                        out[row, k, c] += share * colour
                    out[row, k, 3] *= through
