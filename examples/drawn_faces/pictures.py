"""Triangles to pictures: a depth buffer, a texture, two lights.

Plain rasterisation in numba, enough to see a mouth by; `se4lip`'s own renderers draw Gaussians.
"""

from __future__ import annotations

import numba
import numpy as np
from jaxtyping import Bool, Float, Float32, Int


@numba.njit(cache=True, fastmath=True)
def cover(
    points: Float32[np.ndarray, "V 3"], triangles: Int[np.ndarray, "F 3"], height: int, width: int
) -> tuple[Int[np.ndarray, "H W"], Float32[np.ndarray, "H W 3"]]:
    """Which triangle each pixel shows (-1: none) and where in it (weights of its corners).

    ``points`` are pixels and depth, less is nearer.
    """
    shown = np.full((height, width), -1, np.int32)
    depth = np.full((height, width), np.inf, np.float32)
    weights = np.zeros((height, width, 3), np.float32)
    for f in range(len(triangles)):
        a, b, c = points[triangles[f, 0]], points[triangles[f, 1]], points[triangles[f, 2]]
        area = (b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0])
        if abs(area) < 1e-9:
            continue
        left = max(0, int(np.floor(min(a[0], b[0], c[0]))))
        right = min(width - 1, int(np.ceil(max(a[0], b[0], c[0]))))
        top = max(0, int(np.floor(min(a[1], b[1], c[1]))))
        bottom = min(height - 1, int(np.ceil(max(a[1], b[1], c[1]))))
        for y in range(top, bottom + 1):
            for x in range(left, right + 1):
                px, py = x + 0.5, y + 0.5
                u = ((b[0] - px) * (c[1] - py) - (b[1] - py) * (c[0] - px)) / area
                v = ((c[0] - px) * (a[1] - py) - (c[1] - py) * (a[0] - px)) / area
                w = 1 - u - v
                if u < -1e-6 or v < -1e-6 or w < -1e-6:
                    continue
                z = u * a[2] + v * b[2] + w * c[2]
                if z < depth[y, x]:
                    depth[y, x] = z
                    shown[y, x] = f
                    weights[y, x, 0], weights[y, x, 1], weights[y, x, 2] = u, v, w
    return shown, weights


@numba.njit(cache=True, fastmath=True)
def normals(
    points: Float32[np.ndarray, "V 3"], triangles: Int[np.ndarray, "F 3"]
) -> Float32[np.ndarray, "V 3"]:
    """Of each vertex, not of length one."""
    out = np.zeros_like(points)
    for f in range(len(triangles)):
        i, j, k = triangles[f, 0], triangles[f, 1], triangles[f, 2]
        p, q = points[j] - points[i], points[k] - points[i]
        n0 = p[1] * q[2] - p[2] * q[1]
        n1 = p[2] * q[0] - p[0] * q[2]
        n2 = p[0] * q[1] - p[1] * q[0]
        for v in (i, j, k):
            out[v, 0] += n0
            out[v, 1] += n1
            out[v, 2] += n2
    return out


@numba.njit(cache=True, fastmath=True)
def shade(
    picture: Float32[np.ndarray, "H W 3"],
    shown: Int[np.ndarray, "H W"],
    weights: Float32[np.ndarray, "H W 3"],
    triangles: Int[np.ndarray, "F 3"],
    textured: np.ndarray,
    uv: Float32[np.ndarray, "F 3 2"],
    texture: Float32[np.ndarray, "S S 3"],
    colours: Float32[np.ndarray, "V 3"],
    normal: Float32[np.ndarray, "V 3"],
    open_to_light: Float32[np.ndarray, " V"],
    lights: Float32[np.ndarray, "L 6"],
    ambient: Float32[np.ndarray, "3"],
    gloss: float,
) -> None:
    """Paint what is shown. A light is a direction it comes from (camera axes: x right, y up, z to
    the viewer) and a colour."""
    size = texture.shape[0]
    for y in range(shown.shape[0]):
        for x in range(shown.shape[1]):
            f = shown[y, x]
            if f < 0:
                continue
            n0 = n1 = n2 = open_ = 0.0
            r = g = b = s = t = 0.0
            for corner in range(3):
                w, v = weights[y, x, corner], triangles[f, corner]
                n0 += w * normal[v, 0]
                n1 += w * normal[v, 1]
                n2 += w * normal[v, 2]
                open_ += w * open_to_light[v]
                if textured[f]:
                    s += w * uv[f, corner, 0]
                    t += w * uv[f, corner, 1]
                else:
                    r += w * colours[v, 0]
                    g += w * colours[v, 1]
                    b += w * colours[v, 2]
            if textured[f]:
                at = min(max(s, 0.0), 1.0) * size - 0.5
                down = (1 - min(max(t, 0.0), 1.0)) * size - 0.5
                i = min(max(int(np.floor(at)), 0), size - 2)
                j = min(max(int(np.floor(down)), 0), size - 2)
                p = min(max(at - i, 0.0), 1.0)
                q = min(max(down - j, 0.0), 1.0)
                for c in range(3):
                    value = (1 - q) * ((1 - p) * texture[j, i, c] + p * texture[j, i + 1, c])
                    value += q * ((1 - p) * texture[j + 1, i, c] + p * texture[j + 1, i + 1, c])
                    if c == 0:
                        r = value
                    elif c == 1:
                        g = value
                    else:
                        b = value
            length = np.sqrt(n0 * n0 + n1 * n1 + n2 * n2) + 1e-12
            n0, n1, n2 = n0 / length, n1 / length, n2 / length
            if n2 < 0:
                n0, n1, n2 = -n0, -n1, -n2
            l0, l1, l2, shine = ambient[0], ambient[1], ambient[2], 0.0
            for k in range(len(lights)):
                d0, d1, d2 = lights[k, 0], lights[k, 1], lights[k, 2]
                # Light goes some way into skin: it reaches a little beyond the terminator.
                facing = (n0 * d0 + n1 * d1 + n2 * d2 + 0.25) / 1.25
                if facing > 0:
                    l0 += facing * lights[k, 3]
                    l1 += facing * lights[k, 4]
                    l2 += facing * lights[k, 5]
                    h = np.sqrt(d0 * d0 + d1 * d1 + (d2 + 1) * (d2 + 1))
                    half = (n0 * d0 + n1 * d1 + n2 * (d2 + 1)) / h
                    if half > 0:
                        shine += half**24 * lights[k, 4]
            picture[y, x, 0] = (r * l0 + gloss * shine) * open_
            picture[y, x, 1] = (g * l1 + gloss * shine) * open_
            picture[y, x, 2] = (b * l2 + gloss * shine) * open_


def paste(
    picture: Float32[np.ndarray, "H W 3"],
    where: Bool[np.ndarray, "H W"],
    ring: Float32[np.ndarray, "R 3"],
    other: Float32[np.ndarray, "S S 3"],
    other_ring: Float32[np.ndarray, "R 2"],
) -> None:
    """Bend what is inside ``other_ring`` of ``other`` into ``ring`` of ``picture``, ``where`` it
    may be seen. Both rings are closed, in the same order, and a fan around their middles."""
    count = len(ring)
    corners = np.concatenate((ring, ring.mean(0, keepdims=True)))
    corners[:, 2] = 0
    theirs = np.concatenate((other_ring, other_ring.mean(0, keepdims=True)))
    after = (np.arange(count) + 1) % count
    fan = np.stack((np.arange(count), after, np.full(count, count)), 1).astype(np.int32)
    shown, weights = cover(np.ascontiguousarray(corners), fan, *picture.shape[:2])
    rows, columns = np.nonzero((shown >= 0) & where)
    at = np.einsum("nk,nkc->nc", weights[rows, columns], theirs[fan[shown[rows, columns]]])
    picture[rows, columns] = _sampled(other, at)


def _sampled(
    picture: Float32[np.ndarray, "H W 3"], at: Float[np.ndarray, "N 2"]
) -> Float32[np.ndarray, "N 3"]:
    """Bilinear; (0.5, 0.5) is the middle of the first pixel."""
    height, width = picture.shape[:2]
    at = (at - 0.5).clip(0, (width - 1.001, height - 1.001))
    x, y = np.floor(at).astype(int).T
    right, down = (at - np.floor(at)).T[:, :, None]
    above = (1 - right) * picture[y, x] + right * picture[y, x + 1]
    below = (1 - right) * picture[y + 1, x] + right * picture[y + 1, x + 1]
    return (1 - down) * above + down * below


def texture_places(
    points: Float[np.ndarray, "V 3"],
    triangles: Int[np.ndarray, "F 3"],
    uv: Float[np.ndarray, "F 3 2"],
    size: int,
) -> Float32[np.ndarray, "size size 3"]:
    """Where in space each point of a texture lies; NaN where none does."""
    corners = np.zeros((3 * len(uv), 3), np.float32)
    corners[:, :2] = (uv.reshape(-1, 2) * (1, -1) + (0, 1)) * size
    shown, weights = cover(
        corners, np.arange(len(corners), dtype=np.int32).reshape(-1, 3), size, size
    )
    places = np.einsum("hwk,hwkc->hwc", weights, points[triangles[shown.clip(0)]])
    places[shown < 0] = 0
    return places.astype(np.float32)
