"""Features without weights: log mel energies and mel cepstra, four columns of 10 ms a frame."""

from __future__ import annotations

import hashlib

import numpy as np
import torch
from jaxtyping import Float32

from se4lip.artifacts.encoder import EncoderIdentity
from se4lip.audio.spectrogram import SpectrogramConfig, power_spectrogram
from se4lip.features.base import Rows, Samples, Timing
from se4lip.features.mel import mel_filters
from se4lip.metrics.syncnet import mfcc

_COLUMNS = Timing(hop=160, first=200, reach=200)  # windows of 25 ms every 10 ms
_SPECTROGRAM = SpectrogramConfig()
MELS, CEPSTRA = 80, 13


class LogMel:
    """80 Slaney mel bands of 25-ms Hann windows, log10 of power, floor -100 dB of full scale."""

    def __init__(self) -> None:
        self.identity = _identity("logmel", MELS)

    def __call__(self, samples: Samples) -> Rows:
        return _COLUMNS.framed(log_mel, samples)


class Mfcc:
    """13 cepstra of 25-ms windows, python_speech_features' definition (`metrics.syncnet`)."""

    def __init__(self) -> None:
        self.identity = _identity("mfcc", CEPSTRA)

    def __call__(self, samples: Samples) -> Rows:
        return _COLUMNS.framed(lambda padded: mfcc(padded).T.astype(np.float32), samples)


def log_mel(samples: Samples) -> Float32[np.ndarray, "L 80"]:
    power = power_spectrogram(torch.from_numpy(samples), _SPECTROGRAM).numpy()
    bands = power @ mel_filters(MELS, _SPECTROGRAM.fft_samples).T
    return np.log10(np.maximum(bands, 1e-10))


def _identity(name: str, bands: int) -> EncoderIdentity:
    """Formulas have no weights: their name stands for them."""
    digest = hashlib.sha256(f"se4lip features {name} 1".encode()).hexdigest()
    return EncoderIdentity(name, digest, bands * _COLUMNS.rows_per_frame, name)
