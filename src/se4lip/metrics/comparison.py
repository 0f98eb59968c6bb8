"""Figures for comparing: areas under the ROC curve, explained variance, linear maps.

Nothing here knows what is compared.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float


def area_under_roc(scores: Float[np.ndarray, " N"], positive: Bool[np.ndarray, " N"]) -> float:
    """How often a positive scores above a negative, ties half; NaN without both.

    Source: Mann & Whitney, 1947; Hanley & McNeil, 1982.
    """
    ones = int(positive.sum())
    zeros = len(positive) - ones
    if not ones or not zeros:
        return float("nan")
    _, place, count = np.unique(scores, return_inverse=True, return_counts=True)
    rank = (count.cumsum() - (count - 1) / 2)[place]
    return float((rank[positive].sum() - ones * (ones + 1) / 2) / (ones * zeros))


def explained_variance(
    predicted: Float[np.ndarray, "N K"], real: Float[np.ndarray, "N K"]
) -> float:
    """R^2 over all columns together: 1 less the squared error over the squared spread about each
    column's own mean."""
    spread = ((real - real.mean(0)) ** 2).sum()
    return float(1 - ((predicted - real) ** 2).sum() / spread) if spread else float("nan")


@dataclass(frozen=True)
class Ridge:
    """A linear map that was fitted with a penalty: ``(x - mean) * scale @ weights + offset``."""

    mean: Float[np.ndarray, " D"]
    scale: Float[np.ndarray, " D"]
    weights: Float[np.ndarray, "D K"]
    offset: Float[np.ndarray, " K"]

    def __call__(self, x: Float[np.ndarray, "N D"]) -> Float[np.ndarray, "N K"]:
        return standardised(x, self.mean, self.scale) @ self.weights + self.offset


def standards(
    x: Float[np.ndarray, "N D"],
) -> tuple[Float[np.ndarray, " D"], Float[np.ndarray, " D"]]:
    """Mean of each column, and one over its spread; 0 for columns that never change but for
    rounding, so that they are not heard."""
    mean, spread = x.mean(0), x.std(0)
    heard = spread > 1e-5 * np.abs(mean) + 1e-30
    return mean, np.where(heard, 1 / np.maximum(spread, 1e-30), 0.0)


def standardised(
    x: Float[np.ndarray, "N D"], mean: Float[np.ndarray, " D"], scale: Float[np.ndarray, " D"]
) -> Float[np.ndarray, "N D"]:
    return (x - mean) * scale


def fit_ridge(
    x: Float[np.ndarray, "N D"], y: Float[np.ndarray, "N K"], penalties: tuple[float, ...]
) -> list[Ridge]:
    """One map for each penalty (a share of ``N``), on columns brought to mean 0 and spread 1, so
    that scale and origin of ``x`` make no difference."""
    mean, scale = standards(x)
    z, offset = standardised(x, mean, scale), y.mean(0)
    values, axes = np.linalg.eigh(z.T @ z)
    turned = axes.T @ (z.T @ (y - offset))
    return [
        Ridge(mean, scale, axes @ (turned / (values + share * len(x))[:, None]), offset)
        for share in penalties
    ]
