"""Mel filters on Slaney's scale, which Whisper, Wav2Lip's kin and librosa share.

Source: Slaney, "Auditory Toolbox", 1998: linear up to 1 kHz, logarithmic above, triangles of equal
area. Held to librosa's numbers by a golden file (tests/golden/make_mel.py).
"""

from __future__ import annotations

import functools

import numpy as np
from jaxtyping import Float, Float32

from se4lip.types import SAMPLE_RATE_HZ

_HZ_PER_MEL = 200 / 3
_KNEE_HZ, _KNEE_MEL = 1000.0, 15.0
_LOG_STEP = np.log(6.4) / 27


@functools.lru_cache(maxsize=8)
def mel_filters(
    filters: int, fft_samples: int, low_hz: float = 0.0, high_hz: float = SAMPLE_RATE_HZ / 2
) -> Float32[np.ndarray, "M F"]:
    """Weights of ``fft_samples // 2 + 1`` bins in each of ``filters`` bands."""
    edges = _hz(np.linspace(_mel(low_hz), _mel(high_hz), filters + 2))
    bins = np.arange(fft_samples // 2 + 1) * SAMPLE_RATE_HZ / fft_samples
    rising = (bins - edges[:-2, None]) / np.diff(edges)[:-1, None]
    falling = (edges[2:, None] - bins) / np.diff(edges)[1:, None]
    area = 2 / (edges[2:] - edges[:-2])
    return (np.minimum(rising, falling).clip(min=0) * area[:, None]).astype(np.float32)


def _mel(hz: float) -> float:
    if hz < _KNEE_HZ:
        return hz / _HZ_PER_MEL
    return _KNEE_MEL + float(np.log(hz / _KNEE_HZ) / _LOG_STEP)


def _hz(mel: Float[np.ndarray, " M"]) -> Float[np.ndarray, " M"]:
    high = _KNEE_HZ * np.exp(_LOG_STEP * (mel - _KNEE_MEL))
    return np.where(mel < _KNEE_MEL, mel * _HZ_PER_MEL, high)
