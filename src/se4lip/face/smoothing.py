"""Smoothing along time."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float


def smoothed(signal: Float[np.ndarray, "T C"], sigma_frames: float) -> Float[np.ndarray, "T C"]:
    """Each column averaged over time by a Gaussian window.

    The ends are continued by point reflection, so that a steady drift is kept to the last frame.
    """
    reach = min(int(np.ceil(3 * sigma_frames)), len(signal) - 1)
    if sigma_frames < 0.1 or reach < 1:  # the window is one frame wide
        return signal.copy()
    padded = np.pad(signal, ((reach, reach), (0, 0)), mode="reflect", reflect_type="odd")
    kernel = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma_frames) ** 2)
    kernel /= kernel.sum()
    windows = np.lib.stride_tricks.sliding_window_view(padded, len(kernel), axis=0)
    found: np.ndarray = windows @ kernel
    return found
