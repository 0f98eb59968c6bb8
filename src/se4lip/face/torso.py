"""How the shoulders move: neck and torso follow the head only in part, and by themselves.

The strip of the picture below the chin is laid onto a template by shift, turn and scale, with the
inverse compositional algorithm (Baker & Matthews 2004): Gauss-Newton steps whose Jacobian belongs
to the template, so that all frames of a clip are stepped together.

A pose of the torso is ``(x, y, turn, scale)``: a point ``p`` of the template is at
``centre + exp(scale) R(turn) (p - centre) + (x, y)`` in the frame; pixels, radians, log.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, UInt8

Pictures = UInt8[np.ndarray, "T H W 3"]
TorsoPoses = Float[np.ndarray, "T 4"]

_LEVELS = (8, 4, 2)  # pixels averaged, coarse to fine
_STEPS = 6
_FEWEST_ROWS = 12  # of the strip at half size, three at the coarsest level
_USUAL_SHIFT_PX, _USUAL = 0.5, np.array([np.inf, np.inf, 0.03, 0.03])
_SEARCH = 3  # coarse pixels to each side that are tried before the first step


@dataclass(frozen=True)
class TorsoTemplate:
    """What the strip from row ``top_px`` down looks like, at half size, and how much each pixel
    is to be trusted: where clothes crease or the background shines through, little."""

    picture: Float[np.ndarray, "h w"]
    trust: Float[np.ndarray, "h w"]
    top_px: int

    @property
    def centre_px(self) -> Float[np.ndarray, " 2"]:
        height, width = self.picture.shape
        return np.array([width, height]) * 1.0 + [0, self.top_px]


def fit_torso(clips: Sequence[Pictures], top_px: int, rounds: int = 3) -> TorsoTemplate | None:
    """A template from a few pictures of each clip, sharpened as they fall into line.

    None where too little torso is in the picture to be followed.
    """
    if clips[0].shape[1] - top_px < 2 * _FEWEST_ROWS:
        return None
    strips = [_strip(pictures, top_px) for pictures in clips]
    strip = np.concatenate(strips)
    middle = np.median(strip, axis=0)
    first = np.argmin(((strip - middle) ** 2).mean((1, 2)))
    template = TorsoTemplate(strip[first], np.ones_like(strip[0]), top_px)
    for _ in range(rounds):
        laid = _warped(strip, _follow(strip, template), template)
        mean = np.median(laid, axis=0)
        spread = np.sqrt(((laid - mean) ** 2).mean(0))
        template = TorsoTemplate(mean, 1 / (spread + 0.25 * spread.mean() + 1e-6) ** 2, top_px)
    return template


def follow_torso(pictures: Pictures, template: TorsoTemplate) -> TorsoPoses:
    """The torso's pose in every picture of a clip."""
    return _follow(_strip(pictures, template.top_px), template)


def _strip(pictures: Pictures, top_px: int) -> np.ndarray:
    """Grey, at half size, freed of brightness and contrast."""
    part = pictures[:, top_px : top_px + (pictures.shape[1] - top_px) // 2 * 2]
    part = part[:, :, : part.shape[2] // 2 * 2].astype(np.float32).mean(-1)
    grey = _halved(part)
    grey = grey - grey.mean((1, 2), keepdims=True)
    return grey / (grey.std((1, 2), keepdims=True) + 1e-3)


def _halved(grey: np.ndarray) -> np.ndarray:
    height, width = (n // 2 * 2 for n in grey.shape[-2:])
    grey = grey[..., :height, :width]
    rows = grey[..., ::2, :] + grey[..., 1::2, :]
    return (rows[..., ::2] + rows[..., 1::2]) / 4


def _follow(strips: np.ndarray, template: TorsoTemplate) -> TorsoPoses:
    levels = [(strips, template.picture, template.trust)]
    for _ in _LEVELS[1:]:
        levels.append(tuple(_halved(x) for x in levels[-1]))  # type: ignore[arg-type]
    poses = np.zeros((len(strips), 4))
    poses[:, :2] = _searched(*levels[-1]) * _LEVELS[0]
    for size_px, (frames, picture, trust) in zip(_LEVELS, levels[::-1], strict=True):
        freedom = 2 if size_px == _LEVELS[0] else 4
        poses = _refined(frames, picture, trust, poses, size_px, freedom)
    return poses


def _searched(frames: np.ndarray, picture: np.ndarray, trust: np.ndarray) -> np.ndarray:
    """The best whole-pixel shift of each frame."""
    reach = min(_SEARCH, (min(picture.shape) - 3) // 2)
    inner = (slice(reach, -reach or None),) * 2
    best, best_error = np.zeros((len(frames), 2)), np.full(len(frames), np.inf)
    for x in range(-reach, reach + 1):
        for y in range(-reach, reach + 1):
            moved = np.roll(frames, (-y, -x), axis=(1, 2))[(slice(None), *inner)]
            error = ((moved - picture[inner]) ** 2 * trust[inner]).mean((1, 2))
            better = error < best_error
            best[better], best_error[better] = (x, y), error[better]
    return best


def _refined(
    frames: np.ndarray,
    picture: np.ndarray,
    trust: np.ndarray,
    poses: TorsoPoses,
    size_px: int,
    freedom: int,
) -> TorsoPoses:
    height, width = picture.shape
    slope_y, slope_x = np.gradient(picture)
    y, x = np.mgrid[:height, :width] + 0.5
    x, y = x - width / 2, y - height / 2
    steepest = np.stack((slope_x, slope_y, slope_y * x - slope_x * y, slope_x * x + slope_y * y))
    steepest = steepest[:freedom].reshape(freedom, -1)
    for _ in range(_STEPS):
        moved, known = _sampled(frames, poses, size_px)
        error = moved - picture
        # Huber-like: what does not fit at all (a collar, a hand, the background) counts less
        scale = 1.5 * np.sqrt((error**2 * known).sum((1, 2)) / known.sum((1, 2)).clip(1)) + 1e-6
        weight = trust * known / (1 + (error / scale[:, None, None]) ** 2)
        weight = weight.reshape(len(frames), -1)
        normal = (weight[:, None] * steepest) @ steepest.T
        gradient = (weight * error.reshape(len(frames), -1)) @ steepest.T
        # a shift is certain; turn and scale must earn their place against a little of each
        hold = normal[:, :1, 0] * (_USUAL_SHIFT_PX / size_px) ** 2 / _USUAL[:freedom] ** 2
        hold[:, :2] = 1e-6
        normal[:, range(freedom), range(freedom)] += hold + 1e-9
        gradient += hold * poses[:, :freedom]
        step = np.zeros_like(poses)
        step[:, :freedom] = np.linalg.solve(normal, gradient[..., None])[..., 0]
        poses = poses - step * [size_px, size_px, 1, 1]
    return poses


def _warped(strips: np.ndarray, poses: TorsoPoses, template: TorsoTemplate) -> np.ndarray:
    moved, known = _sampled(strips, poses, _LEVELS[-1])
    return np.where(known, moved, template.picture)


def _sampled(frames: np.ndarray, poses: TorsoPoses, size_px: int) -> tuple[np.ndarray, np.ndarray]:
    """Frames seen from the template (bilinear), and where that is inside the frame."""
    count, height, width = frames.shape
    y, x = np.mgrid[:height, :width].astype(np.float32) + 0.5
    x, y = x - width / 2, y - height / 2
    across, along = (np.exp(poses[:, 3]) * f(poses[:, 2]) for f in (np.cos, np.sin))
    across, along = across[:, None, None], along[:, None, None]
    shift = poses[:, :2] / size_px
    u = across * x - along * y + shift[:, 0, None, None] + width / 2 - 0.5
    v = along * x + across * y + shift[:, 1, None, None] + height / 2 - 0.5
    known = (u >= 0) & (u <= width - 1) & (v >= 0) & (v <= height - 1)
    u, v = u.clip(0, width - 1.001), v.clip(0, height - 1.001)
    left, top = u.astype(int), v.astype(int)
    a, b = u - left, v - top
    flat = frames.reshape(count, -1)
    at = top * width + left

    def corner(offset: int) -> np.ndarray:
        return np.take_along_axis(flat, (at + offset).reshape(count, -1), 1).reshape(at.shape)

    upper = corner(0) * (1 - a) + corner(1) * a
    lower = corner(width) * (1 - a) + corner(width + 1) * a
    return upper * (1 - b) + lower * b, known
