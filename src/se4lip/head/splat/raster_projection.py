"""The numba kernels that bring Gaussians to the picture plane, and gradients back.

Computed in float64 from float32 inputs: it costs little next to the pixels, and large, thin or
near Gaussians lose no digits. Arrays as in `raster_kernels`; ``view`` is the camera as numbers:
focal, cx, cy, width, height, eps2d, near.
"""

from __future__ import annotations

import math
from typing import no_type_check

import numpy as np
from numba import njit

from se4lip.head import lanes
from se4lip.head.lanes import claim, compiler
from se4lip.head.splat import raster_config, raster_kernels
from se4lip.head.splat.raster_config import ALPHA_MIN, FRUSTUM_MARGIN
from se4lip.head.splat.raster_kernels import TILE_PX

CHUNK = 512
"""Gaussians a lane takes at a time. Fixed, so that sums over chunks do not depend on the lanes."""

jit = compiler(lanes, raster_config, raster_kernels)
inline = njit(inline="always")


@inline
@no_type_check
def _ball_to_camera(pose, quat, scale, rotation, shape):
    """Fills ``rotation`` (head_from_gaussian) and ``shape = R rotation diag(scale)``; returns the
    quaternion's length."""
    w, x, y, z = float(quat[0]), float(quat[1]), float(quat[2]), float(quat[3])
    # scaled by the largest entry first, so that tiny quaternions do not underflow when squared
    largest = max(max(abs(w), abs(x)), max(abs(y), abs(z)))
    w, x, y, z = w / largest, x / largest, y / largest, z / largest
    norm = math.sqrt(w * w + x * x + y * y + z * z)
    w, x, y, z = w / norm, x / norm, y / norm, z / norm
    rotation[0, 0] = 1 - 2 * (y * y + z * z)
    rotation[0, 1] = 2 * (x * y - w * z)
    rotation[0, 2] = 2 * (x * z + w * y)
    rotation[1, 0] = 2 * (x * y + w * z)
    rotation[1, 1] = 1 - 2 * (x * x + z * z)
    rotation[1, 2] = 2 * (y * z - w * x)
    rotation[2, 0] = 2 * (x * z - w * y)
    rotation[2, 1] = 2 * (y * z + w * x)
    rotation[2, 2] = 1 - 2 * (x * x + y * y)
    for i in range(3):
        for j in range(3):
            total = 0.0
            for k in range(3):
                total += pose[i, k] * rotation[k, j]
            shape[i, j] = total * scale[j]
    return norm * largest, w, x, y, z


@jit
@no_type_check
def project(counter, means, scales, quats, opacities, pose, view, splats, depths, boxes):
    """Fills ``splats``, ``depths``, ``boxes``."""
    focal, cx, cy, width, height, eps2d, near = view
    margin_x, margin_y = FRUSTUM_MARGIN * width / 2, FRUSTUM_MARGIN * height / 2
    low_x, high_x = (-cx - margin_x) / focal, (width - cx + margin_x) / focal
    low_y, high_y = (-cy - margin_y) / focal, (height - cy + margin_y) / focal
    tiles_x, tiles_y = -(-int(width) // TILE_PX), -(-int(height) // TILE_PX)
    rotation, shape, flat = np.empty((3, 3)), np.empty((3, 3)), np.empty((2, 3))
    while True:
        begin = claim(counter) * CHUNK
        if begin >= len(means):
            break
        for g in range(begin, min(begin + CHUNK, len(means))):
            boxes[g, 0] = boxes[g, 2] = 0
            mx, my, mz = float(means[g, 0]), float(means[g, 1]), float(means[g, 2])
            z = pose[2, 0] * mx + pose[2, 1] * my + pose[2, 2] * mz + pose[2, 3]
            opacity = float(opacities[g])
            if not (z >= near and opacity >= ALPHA_MIN):
                continue
            x = pose[0, 0] * mx + pose[0, 1] * my + pose[0, 2] * mz + pose[0, 3]
            y = pose[1, 0] * mx + pose[1, 1] * my + pose[1, 2] * mz + pose[1, 3]
            _ball_to_camera(pose, quats[g], scales[g], rotation, shape)
            magnify = focal / z
            slope_x = min(max(x / z, low_x), high_x)
            slope_y = min(max(y / z, low_y), high_y)
            for j in range(3):
                flat[0, j] = magnify * (shape[0, j] - slope_x * shape[2, j])
                flat[1, j] = magnify * (shape[1, j] - slope_y * shape[2, j])
            u, v = flat[0], flat[1]
            xx = u[0] * u[0] + u[1] * u[1] + u[2] * u[2] + eps2d
            xy = u[0] * v[0] + u[1] * v[1] + u[2] * v[2]
            yy = v[0] * v[0] + v[1] * v[1] + v[2] * v[2] + eps2d
            # xx yy - xy^2 by Lagrange's identity, without its cancellation
            cross_x = u[1] * v[2] - u[2] * v[1]
            cross_y = u[2] * v[0] - u[0] * v[2]
            cross_z = u[0] * v[1] - u[1] * v[0]
            area2 = cross_x * cross_x + cross_y * cross_y + cross_z * cross_z
            determinant = area2 + eps2d * (xx + yy - eps2d)
            centre_x, centre_y = magnify * x + cx, magnify * y + cy
            # where opacity * exp(-q / 2) falls to ALPHA_MIN, with a hair to spare for rounding
            reach = math.sqrt(2 * math.log(opacity / ALPHA_MIN)) + 1e-3
            reach_x, reach_y = reach * math.sqrt(xx), reach * math.sqrt(yy)
            left = max((centre_x - reach_x) / TILE_PX, 0.0)
            right = min((centre_x + reach_x) / TILE_PX, float(tiles_x))
            top = max((centre_y - reach_y) / TILE_PX, 0.0)
            bottom = min((centre_y + reach_y) / TILE_PX, float(tiles_y))
            if not (left < right and top < bottom):
                continue
            boxes[g, 0], boxes[g, 1] = int(left), int(top)
            boxes[g, 2], boxes[g, 3] = math.ceil(right), math.ceil(bottom)
            splats[g, 0], splats[g, 1] = centre_x, centre_y
            splats[g, 2] = yy / determinant
            splats[g, 3] = -xy / determinant
            splats[g, 4] = xx / determinant
            splats[g, 5] = opacity
            splats[g, 6], splats[g, 7] = reach_x, reach_y
            splats[g, 8] = math.copysign(min(1.0, determinant / (xx * yy)), xy)
            depths[g] = z


@jit
@no_type_check
def differentiate(
    counter,
    means,
    scales,
    quats,
    pose,
    view,
    splats,
    pair_starts,
    moments,
    means_grad,
    scales_grad,
    quats_grad,
    opacities_grad,
    colours_grad,
    pose_grads,
):
    """Adds up each Gaussian's moments and carries them back through `project`.

    ``pose_grads`` [chunks, 3, 4] is float64 and starts at zero; the rest is float32, fully written.
    """
    focal, cx, cy, width, height, _, _ = view
    margin_x, margin_y = FRUSTUM_MARGIN * width / 2, FRUSTUM_MARGIN * height / 2
    low_x, high_x = (-cx - margin_x) / focal, (width - cx + margin_x) / focal
    low_y, high_y = (-cy - margin_y) / focal, (height - cy + margin_y) / focal
    channels = colours_grad.shape[1]
    rotation, shape = np.empty((3, 3)), np.empty((3, 3))
    shape_grad, ball_grad = np.empty((3, 3)), np.empty((3, 3))
    sums = np.empty(6 + channels)
    while True:
        chunk = claim(counter)
        begin = chunk * CHUNK
        if begin >= len(means):
            break
        pose_grad = pose_grads[chunk]
        for g in range(begin, min(begin + CHUNK, len(means))):
            if pair_starts[g] == pair_starts[g + 1]:
                means_grad[g] = 0
                scales_grad[g] = 0
                quats_grad[g] = 0
                opacities_grad[g] = 0
                colours_grad[g] = 0
                continue
            sums[:] = 0
            for pair in range(pair_starts[g], pair_starts[g + 1]):
                for column in range(6 + channels):
                    sums[column] += moments[pair, column]
            for channel in range(channels):
                colours_grad[g, channel] = sums[6 + channel]
            s, sx, sy, sxx, sxy, syy = sums[0], sums[1], sums[2], sums[3], sums[4], sums[5]
            # alpha = opacity exp(-q/2), and s collects dloss/dalpha * alpha
            opacities_grad[g] = s / splats[g, 5]
            a, b, c = float(splats[g, 2]), float(splats[g, 3]), float(splats[g, 4])
            centre_x_grad, centre_y_grad = a * sx + b * sy, b * sx + c * sy
            # precision P = cov^-1: dcov = -P dP P, and dloss/dP is -1/2 of the second moments
            px, py = a * sxx + b * sxy, a * sxy + b * syy
            qx, qy = b * sxx + c * sxy, b * sxy + c * syy
            xx_grad, xy_grad, yy_grad = (
                0.5 * (px * a + py * b),
                0.5 * (px * b + py * c),
                0.5 * (qx * b + qy * c),
            )

            norm, w, i, j, k = _ball_to_camera(pose, quats[g], scales[g], rotation, shape)
            mx, my, mz = float(means[g, 0]), float(means[g, 1]), float(means[g, 2])
            x = pose[0, 0] * mx + pose[0, 1] * my + pose[0, 2] * mz + pose[0, 3]
            y = pose[1, 0] * mx + pose[1, 1] * my + pose[1, 2] * mz + pose[1, 3]
            z = pose[2, 0] * mx + pose[2, 1] * my + pose[2, 2] * mz + pose[2, 3]
            magnify = focal / z
            slope_x = min(max(x / z, low_x), high_x)
            slope_y = min(max(y / z, low_y), high_y)
            slope_x_grad = slope_y_grad = stretch = 0.0
            for n in range(3):
                u = magnify * (shape[0, n] - slope_x * shape[2, n])
                v = magnify * (shape[1, n] - slope_y * shape[2, n])
                u_grad = 2 * (xx_grad * u + xy_grad * v)
                v_grad = 2 * (xy_grad * u + yy_grad * v)
                shape_grad[0, n] = magnify * u_grad
                shape_grad[1, n] = magnify * v_grad
                shape_grad[2, n] = -magnify * (slope_x * u_grad + slope_y * v_grad)
                slope_x_grad -= magnify * u_grad * shape[2, n]
                slope_y_grad -= magnify * v_grad * shape[2, n]
                stretch += u * u_grad + v * v_grad
            # the centre moves with x/z and y/z; the spread is magnified by 1/z
            x_grad, y_grad = magnify * centre_x_grad, magnify * centre_y_grad
            z_grad = -(x * x_grad + y * y_grad + stretch) / z
            if low_x <= x / z <= high_x:
                x_grad += slope_x_grad / z
                z_grad -= slope_x_grad * x / (z * z)
            if low_y <= y / z <= high_y:
                y_grad += slope_y_grad / z
                z_grad -= slope_y_grad * y / (z * z)

            for n in range(3):
                means_grad[g, n] = pose[0, n] * x_grad + pose[1, n] * y_grad + pose[2, n] * z_grad
            for row in range(3):
                row_grad = x_grad if row == 0 else (y_grad if row == 1 else z_grad)
                pose_grad[row, 0] += row_grad * mx
                pose_grad[row, 1] += row_grad * my
                pose_grad[row, 2] += row_grad * mz
                pose_grad[row, 3] += row_grad
                for n in range(3):
                    for m in range(3):
                        pose_grad[row, n] += shape_grad[row, m] * rotation[n, m] * scales[g, m]
            for m in range(3):
                scale_grad = 0.0
                for n in range(3):
                    total = 0.0
                    for row in range(3):
                        total += pose[row, n] * shape_grad[row, m]
                    scale_grad += total * rotation[n, m]
                    ball_grad[n, m] = total * scales[g, m]
                scales_grad[g, m] = scale_grad
            d = ball_grad
            w_grad = 2 * (
                i * (d[2, 1] - d[1, 2]) + j * (d[0, 2] - d[2, 0]) + k * (d[1, 0] - d[0, 1])
            )
            i_grad = 2 * (
                w * (d[2, 1] - d[1, 2])
                + j * (d[0, 1] + d[1, 0])
                + k * (d[0, 2] + d[2, 0])
                - 2 * i * (d[1, 1] + d[2, 2])
            )
            j_grad = 2 * (
                w * (d[0, 2] - d[2, 0])
                + i * (d[0, 1] + d[1, 0])
                + k * (d[1, 2] + d[2, 1])
                - 2 * j * (d[0, 0] + d[2, 2])
            )
            k_grad = 2 * (
                w * (d[1, 0] - d[0, 1])
                + i * (d[0, 2] + d[2, 0])
                + j * (d[1, 2] + d[2, 1])
                - 2 * k * (d[0, 0] + d[1, 1])
            )
            # a quaternion's length has no effect, so its gradient has no part along it
            along = w * w_grad + i * i_grad + j * j_grad + k * k_grad
            quats_grad[g, 0] = (w_grad - along * w) / norm
            quats_grad[g, 1] = (i_grad - along * i) / norm
            quats_grad[g, 2] = (j_grad - along * j) / norm
            quats_grad[g, 3] = (k_grad - along * k) / norm
