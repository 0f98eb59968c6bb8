"""Fixed maps from 512-wide lip features to the widths that other systems read.

Every entry has a closed form (signs only), so a file made today equals one made on another machine
next year, and training and driving see the same map. Features arrive as points on the unit sphere
(`encoder.speech`); all maps scale them by ``GAIN``, so that an entry has mean square 1: networks
initialised for logits would hardly hear entries of 0.04.
"""

from __future__ import annotations

import math

import numpy as np
from jaxtyping import Float32, Float64

FEATURE_WIDTH = 512
GAIN = math.sqrt(FEATURE_WIDTH)

_PRIME = 521  # the least prime above 512: quadratic residues modulo it give one sign per entry
_STEP = 317  # odd, and nearest to 512 / golden ratio: visits the 512 rows once, evenly spread


def walsh_rows(count: int) -> Float64[np.ndarray, "count 512"]:
    """``count`` orthonormal rows: Walsh functions of randomly signed entries, without the random.

    Row ``c``, entry ``j`` is ``legendre(j + 1 | 521) * (-1)^popcount(r & j) / sqrt(512)`` with
    ``r = 317 c mod 512``. Fewer rows are the first of more rows.

    Source: Ailon and Chazelle 2009, "The fast Johnson-Lindenstrauss transform"; Tropp 2011,
    "Improved analysis of the subsampled randomized Hadamard transform". They draw signs and rows at
    random.
    """
    if not 0 < count <= FEATURE_WIDTH:
        raise ValueError(f"{count} rows asked for, but 1 to {FEATURE_WIDTH} can be orthonormal")
    walsh = np.ones((1, 1))
    while len(walsh) < FEATURE_WIDTH:  # Sylvester's doubling
        walsh = np.block([[walsh, walsh], [walsh, -walsh]])
    rows = _STEP * np.arange(count) % FEATURE_WIDTH
    is_residue = np.isin(np.arange(1, FEATURE_WIDTH + 1), np.arange(1, _PRIME) ** 2 % _PRIME)
    return walsh[rows] * np.where(is_residue, 1, -1) / math.sqrt(FEATURE_WIDTH)


def narrow(
    features: Float32[np.ndarray, "T 512"],
    width: int,
) -> Float32[np.ndarray, "T width"]:
    """Fewer numbers a frame: coordinates along ``width`` orthonormal rows, times ``GAIN``.

    Distances survive on average, each with a relative spread of about ``1 / sqrt(2 width)``.
    """
    # float64, because the order in which a BLAS adds must not show in the file.
    return (GAIN * (features.astype(np.float64) @ walsh_rows(width).T)).astype(np.float32)


def native(features: Float32[np.ndarray, "T 512"]) -> Float32[np.ndarray, "T 512"]:
    """The features themselves, times ``GAIN``."""
    return np.float32(GAIN) * features


def wide(features: Float32[np.ndarray, "T 512"]) -> Float32[np.ndarray, "T 1024"]:
    """The features twice over, times ``GAIN``: an isometry up to scale; either half is enough."""
    return np.concatenate((native(features), native(features)), axis=-1)
