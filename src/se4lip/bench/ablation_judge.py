"""What the ablation asks of a taught variant, on clips that taught nothing."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from se4lip.bench.ablation_task import CENTRE, LIPS, Heard, Pair
from se4lip.bench.record import known
from se4lip.face.contour import LIPS as LIP_POINTS
from se4lip.metrics.comparison import Ridge, explained_variance, fit_ridge
from se4lip.metrics.sync import OffsetCounts, offset_accuracy

CONTEXTS = (5, 15)  # frames of lips by which an offset is found
_PENALTIES = (1e-3, 1e-2, 1e-1, 1.0)
_HALF = LIPS // 2
_NEAR = 1  # frames by which retrieval may be wrong


@torch.inference_mode()
def embedded(pair: Pair, one: Heard) -> tuple[Float[Tensor, "T 512"], Float[Tensor, "T 512"]]:
    """Rows about the window centred on each frame; lips are zero where it is not whole."""
    frames = len(one)
    speech = pair.speech.features(one.samples, frames + CENTRE)[CENTRE:]
    lips = torch.zeros_like(speech)
    lips[_HALF : frames - _HALF] = pair.embed_lips(one.contour)
    return speech, lips


def head_proxy(
    pair: Pair, train: Sequence[Heard], validation: Sequence[Heard]
) -> tuple[Ridge, float]:
    """The fast stand-in for a head: the linear map from frozen features to the lips' shape, and R²
    on ``validation``, by which its penalty is chosen and variants are ranked."""
    x, y = _features(pair, validation), _shapes(validation)
    maps = fit_ridge(_features(pair, train), _shapes(train), _PENALTIES)
    found = [explained_variance(one(x), y) for one in maps]
    best = int(np.argmax(found))
    return maps[best], found[best]


def judge(pair: Pair, clips: Sequence[Heard], proxy: Ridge) -> dict[str, Any]:
    """Offsets found among 31 (and by a blind guess), the frame's own lips found among the clip's,
    and R² of ``proxy``; None where nothing could be asked."""
    offsets = {context: OffsetCounts() for context in CONTEXTS}
    found, asked, rows = 0, 0, []
    for one in clips:
        speech, lips = embedded(pair, one)
        rows.append(_array(speech))
        for context in CONTEXTS:
            offsets[context] += offset_accuracy(speech, lips, one.speaking, context_frames=context)
        spoken = torch.nonzero(one.speaking[_HALF:-_HALF]).flatten() + _HALF
        nearest = (speech[spoken] @ lips[_HALF:-_HALF].mT).argmax(1) + _HALF
        found += int(((nearest - spoken).abs() <= _NEAR).sum())
        asked += len(spoken)
    figures = {f"offset_{context}": offsets[context].accuracy for context in CONTEXTS}
    figures |= {f"chance_{context}": offsets[context].chance for context in CONTEXTS}
    figures["retrieval"] = found / asked if asked else math.nan
    # Contours are less their mean over the clip, so that other people's can be asked for as well.
    figures["lips_r2"] = explained_variance(proxy(np.concatenate(rows)), _shapes(clips))
    return known(figures)


def _features(pair: Pair, clips: Sequence[Heard]) -> Float[np.ndarray, "N 512"]:
    return np.concatenate([_array(embedded(pair, one)[0]) for one in clips])


def _shapes(clips: Sequence[Heard]) -> Float[np.ndarray, "N 120"]:
    return np.concatenate([_array(one.contour[:, : 3 * len(LIP_POINTS)]) for one in clips])


def _array(rows: Tensor) -> Float[np.ndarray, "N K"]:
    return rows.double().cpu().numpy()
