"""What the second sync judge says of drawn clips, kept clip by clip so that any of them can be read
together: sums over the frames of speech, at every offset, of how many there are, how far sound and
lips lie apart, and how alike they are.

`metrics.sync.read_similarity` reads the same from whole rows; a test holds the two together.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from se4lip.metrics.sync import SyncConfig

_SYNC = SyncConfig()
OFFSETS = 2 * _SYNC.max_shift + 1
WIDTH = 3 * OFFSETS  # numbers kept of a clip


class Readings(NamedTuple):
    """One for each leading index; NaN where too little is said."""

    offset_frames: Float[np.ndarray, "..."]
    distance: Float[np.ndarray, "..."]
    confidence: Float[np.ndarray, "..."]


def sums(rows: Float[Tensor, "N K"]) -> dict[str, Any]:
    """Of ``metrics.judge.judge_rows`` of one clip, as JSON values."""
    rows = rows.double()
    distance = (2 - 2 * rows).clamp_min(0).sqrt()
    centred = rows - rows.nanmean(1, keepdim=True)
    count: Int[Tensor, " K"] = (~rows.isnan()).sum(0)
    return {
        "frames": len(rows),
        "count": count.tolist(),
        "distance": torch.nansum(distance, 0).tolist(),
        "centred": torch.nansum(centred, 0).tolist(),
    }


def as_vector(kept: dict[str, Any]) -> Float[np.ndarray, " W"]:
    """``sums`` as one row, to be added to those of other clips."""
    return np.concatenate([np.asarray(kept[k], float) for k in ("count", "distance", "centred")])


def read(total: Float[np.ndarray, "*batch W"]) -> Readings:
    """Offset, distance and confidence of added ``as_vector`` rows, as SyncNet defines them: the
    median over offsets of the mean distance, less that at the best offset."""
    count, distance, centred = np.split(np.asarray(total, float), 3, axis=-1)
    tried = count >= _SYNC.least_windows
    with np.errstate(divide="ignore", invalid="ignore"):
        distance = np.where(tried, distance / count, np.nan)
        alike = np.where(tried, centred / count, -np.inf)
    best = alike.argmax(-1)[..., None]
    nearest = np.take_along_axis(distance, best, -1)[..., 0]
    choices = tried.sum(-1)
    middle = np.maximum(choices - 1, 0)[..., None] // 2  # NaN are sorted behind
    median = np.take_along_axis(np.sort(distance, -1), middle, -1)[..., 0]
    enough = choices > 2 * _SYNC.rival_frames
    return Readings(
        np.where(enough, best[..., 0] - _SYNC.max_shift, np.nan),
        np.where(enough, nearest, np.nan),
        np.where(enough, median - nearest, np.nan),
    )
