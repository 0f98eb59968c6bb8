"""Fronts of encoders beside the shipped one: 16 kHz samples to columns of 10 ms.

All give logarithms of energies at the STFT's windows and hop. What comes after (the running channel
taken off, one mean and one spread for each number) is the same for all: `features.variant`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from se4lip.audio.spectrogram import SpectrogramConfig
from se4lip.audio.timebase import COLUMN_HOP
from se4lip.features.mel import mel_filters

Front = Literal["stft", "logmel", "mfcc", "raw"]
SPECTROGRAM = SpectrogramConfig()
_MELS, _CEPSTRA, _PAIRS = 80, 26, 128
_FLOOR = 10 ** (SPECTROGRAM.floor_db / 10)


class Spectral(nn.Module):
    """Log energies of bands of the spectrum (of its bins by default), perhaps as cepstra."""

    learns = False
    bands: Tensor | None
    turn: Tensor | None

    def __init__(self, bands: np.ndarray | None = None, turn: np.ndarray | None = None) -> None:
        super().__init__()
        # Formulas, not weights: they are stated here and stay out of files.
        for name, matrix in (("bands", bands), ("turn", turn)):
            fixed = None if matrix is None else torch.from_numpy(matrix.astype(np.float32))
            self.register_buffer(name, fixed, persistent=False)
        heard = SPECTROGRAM.bins if bands is None else len(bands)
        self.width = heard if turn is None else turn.shape[1]

    def forward(
        self, samples: Float[Tensor, "B S"], power: Float[Tensor, "B L F"]
    ) -> Float[Tensor, "B L C"]:
        energies = power if self.bands is None else power @ self.bands.mT
        log = energies.clamp_min(_FLOOR).log10() / 2
        return log if self.turn is None else log @ self.turn


class Raw(nn.Module):
    """Log energies of learned filters on the samples.

    Filters come in pairs whose energies are added, as a complex filter's parts are (LEAF, Zeghidour
    et al. 2021): the energy of one real filter comes and goes with the phase of what it hears.
    """

    learns = True
    width = _PAIRS

    def __init__(self) -> None:
        super().__init__()
        self.filters = nn.Conv1d(1, 2 * _PAIRS, SPECTROGRAM.window_samples, COLUMN_HOP, bias=False)

    def forward(
        self, samples: Float[Tensor, "B S"], power: Float[Tensor, "B L F"]
    ) -> Float[Tensor, "B L C"]:
        found = self.filters(samples[:, None]).mT
        energies = found.square().unflatten(-1, (_PAIRS, 2)).sum(-1)
        return (energies + _FLOOR).log10() / 2


def _mel() -> np.ndarray:
    return mel_filters(_MELS, SPECTROGRAM.fft_samples)


def _cosines() -> np.ndarray:
    """DCT-II, orthonormal but for its first column (Davis & Mermelstein 1980)."""
    order, at = np.arange(_CEPSTRA), np.arange(_MELS)[:, None]
    return np.sqrt(2 / _MELS) * np.cos(np.pi * order * (2 * at + 1) / (2 * _MELS))


FRONTS: dict[str, Callable[[], Spectral | Raw]] = {
    "stft": Spectral,
    "logmel": lambda: Spectral(_mel()),
    "mfcc": lambda: Spectral(_mel(), _cosines()),
    "raw": Raw,
}
