"""The same words from another mouth, as sound: what augmentation does to powers, made audible.

Features of others take samples, not powers. Their heads hear the other voices that ours hears
(`audio.augment`), so powers that were changed are turned back into sound.

Source: Griffin & Lim, "Signal estimation from modified short-time Fourier transform", 1984; the
step beyond each projection is Perraudin, Balazs & Sondergaard's, "A fast Griffin-Lim algorithm",
2013. The phase starts from the recording's own.
"""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Complex64, Float, Float32
from torch import Tensor
from torch.nn import functional

from se4lip.audio.augment import SpeechAugmentConfig, augment_speech, draw_speech
from se4lip.audio.timebase import COLUMN_HOP

_FFT, _WINDOW = 512, 400
_ITERATIONS, _MOMENTUM = 24, 0.99
_SHORTEST = _FFT


@torch.inference_mode()
def in_another_voice(
    samples: Float32[np.ndarray, " S"], config: SpeechAugmentConfig, seed: int
) -> Float32[np.ndarray, " S"]:
    """16 kHz speech of the same length, its voice, room and microphone drawn by ``seed``. Sound
    shorter than a column is returned as it is."""
    if len(samples) < _SHORTEST:
        return samples
    sound = torch.from_numpy(samples)
    columns = _columns(sound)
    power = columns.abs().square()[None]
    draws = draw_speech(1, power.shape[-1], config, torch.Generator().manual_seed(seed))
    wanted = augment_speech(power, power, draws)[0].clamp_min(0).sqrt()
    return _heard(wanted, columns, len(samples)).clamp(-1, 1).numpy()


def _heard(
    wanted: Float[Tensor, "L F"], columns: Complex64[Tensor, "L F"], length: int
) -> Float[Tensor, " S"]:
    """The sound whose columns have sizes nearest to ``wanted``."""
    phase = columns / columns.abs().clamp_min(1e-9)
    before = wanted * phase
    for _ in range(_ITERATIONS):
        found = _columns(_sound(wanted * phase, length))
        beyond = found + _MOMENTUM * (found - before)
        phase, before = beyond / beyond.abs().clamp_min(1e-9), found
    return _sound(wanted * phase, length)


def _hann() -> Float[Tensor, " W"]:
    # A full-scale sine has size 1, as in `audio.spectrogram`: augmentation has absolute floors.
    window = torch.hann_window(_WINDOW)
    return window * (2 / window.sum())


def _columns(sound: Float[Tensor, " S"]) -> Complex64[Tensor, "L F"]:
    """Columns that begin before the sound and end behind it, so that all of it is covered."""
    behind = _WINDOW + (-len(sound)) % COLUMN_HOP
    windows = functional.pad(sound, (_WINDOW, behind)).unfold(0, _WINDOW, COLUMN_HOP)
    return torch.fft.rfft(windows * _hann(), n=_FFT)


def _sound(columns: Complex64[Tensor, "L F"], length: int) -> Float[Tensor, " S"]:
    """The least-squares inverse of `_columns`: windows again, added up, divided by their squares'
    sum."""
    window = _hann()
    pieces = torch.fft.irfft(columns, n=_FFT)[:, :_WINDOW] * window
    size = (len(columns) - 1) * COLUMN_HOP + _WINDOW

    def added(rows: Float[Tensor, "L W"]) -> Float[Tensor, " S"]:
        return functional.fold(rows.mT[None], (1, size), (1, _WINDOW), stride=(1, COLUMN_HOP))[
            0, 0, 0
        ]

    weight = added(window.square().expand(len(columns), -1))
    return (added(pieces) / weight.clamp_min(1e-12))[_WINDOW : _WINDOW + length]
