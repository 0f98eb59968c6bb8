"""Speech encoders beside the shipped one, for the ablation alone: other fronts, other nets in time.

All have the shipped encoder's window, projection and embedding; what is named differs. The nets in
time have about as many numbers as the shipped GRU. ``stft`` with ``gru`` *is* the shipped class.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from se4lip.audio.spectrogram import (
    ChannelConfig,
    SpectrogramConfig,
    initial_channel,
    power_spectrogram,
    remove_channel,
)
from se4lip.audio.timebase import COLUMN_HOP, COLUMNS_PER_FRAME, Window
from se4lip.encoder.speech import SpeechEncoder, SpeechEncoderConfig
from se4lip.features.mel import mel_filters
from se4lip.types import SAMPLES_PER_FRAME

Front = Literal["stft", "logmel", "mfcc", "raw"]
Net = Literal["gru", "lstm", "tcn", "transformer"]
_WIDTH, _MELS, _CEPSTRA, _FILTERS = 256, 80, 26, 257
_DILATIONS = (1, 2, 4, 1)


@dataclass(frozen=True)
class Variant:
    """``causal``: nothing after the frame's time is heard, in place of 80 ms, and the net in time
    looks back only."""

    front: Front = "stft"
    net: Net = "gru"
    window_frames: int = 5
    causal: bool = False

    @property
    def window(self) -> Window:
        return Window(self.window_frames, 0 if self.causal else 2)

    @property
    def name(self) -> str:
        causal = ", causal" if self.causal else ""
        return f"{self.front}, {self.net}, {self.window_frames} frames{causal}"


class VariantEncoder(nn.Module):
    """16 kHz samples to one unit vector a frame."""

    def __init__(self, variant: Variant, embedding: int = 512) -> None:
        super().__init__()
        self.variant = variant
        config = SpeechEncoderConfig(
            window=variant.window, bidirectional=not variant.causal, embedding=embedding
        )
        self.shipped = SpeechEncoder(config)
        shipped = variant.front == "stft" and variant.net == "gru"
        self.front: nn.Module | None = None
        self.net: nn.Module | None = None
        if not shipped:
            del self.shipped
            front, net = _FRONTS[variant.front](), _NETS[variant.net](variant.causal)
            self.front, self.net = front, net
            self.project = nn.Sequential(
                nn.Linear(front.width, _WIDTH), nn.LayerNorm(_WIDTH), nn.GELU()
            )
            self.embed = nn.Linear(net.width, embedding)

    def forward(
        self, samples: Float[Tensor, "B S"], frames: int, stride: int = 1, first: int = 0
    ) -> Float[Tensor, "B T D"]:
        """Features of frames ``first, first + stride, ...`` below ``frames``."""
        window = self.variant.window
        before = window.past_frames * SAMPLES_PER_FRAME
        end = (frames - 1 + window.lookahead_frames) * SAMPLES_PER_FRAME
        padded = functional.pad(samples, (before, max(0, end - samples.shape[-1])))
        padded = padded[..., : before + end]
        if self.front is None or self.net is None:
            power = power_spectrogram(padded, self.shipped.config.spectrogram)
            state = self.shipped.initial_channel((len(samples),))
            columns, _ = self.shipped.clean(power, state)
            return self.shipped.embed(columns[:, first * COLUMNS_PER_FRAME :], stride)
        columns = self.project(self.front(padded))[:, first * COLUMNS_PER_FRAME :]
        length = window.columns(SpectrogramConfig().window_samples)
        windows = columns.unfold(1, length, COLUMNS_PER_FRAME * stride).mT  # [B, T, L', P]
        found = self.embed(self.net(windows.flatten(0, 1)))
        return functional.normalize(found, dim=-1).unflatten(0, windows.shape[:2])


# --- fronts: samples to columns of 10 ms ----------------------------------------------------------


class _Spectral(nn.Module):
    """Log energies in bands, less the running channel, as the shipped encoder does it."""

    bands: Tensor
    turn: Tensor | None

    def __init__(self, bands: np.ndarray, turn: np.ndarray | None = None) -> None:
        super().__init__()
        self.register_buffer("bands", torch.from_numpy(bands.astype(np.float32)))
        self.register_buffer("turn", None if turn is None else torch.from_numpy(turn).float())
        self.width = len(bands) if turn is None else turn.shape[1]

    def forward(self, samples: Float[Tensor, "B S"]) -> Float[Tensor, "B L C"]:
        power = power_spectrogram(samples, SpectrogramConfig())
        log = (power @ self.bands.mT).clamp_min(1e-10).log10() / 2
        channel = ChannelConfig()
        start = initial_channel(log.new_full((log.shape[-1],), -3.0), (len(log),), channel)
        log, _ = remove_channel(log, power, start, channel)
        return log if self.turn is None else log @ self.turn


class _Raw(nn.Module):
    """Learned filters on the samples, log of their squares; windows and hop of the STFT."""

    width = _FILTERS

    def __init__(self) -> None:
        super().__init__()
        self.filters = nn.Conv1d(1, _FILTERS, SpectrogramConfig().window_samples, COLUMN_HOP)

    def forward(self, samples: Float[Tensor, "B S"]) -> Float[Tensor, "B L C"]:
        found = self.filters(samples[:, None]).mT
        return (found.square() + 1e-10).log10() / 2 + 3


def _stft() -> _Spectral:
    return _Spectral(np.eye(SpectrogramConfig().bins))


def _logmel() -> _Spectral:
    return _Spectral(mel_filters(_MELS, SpectrogramConfig().fft_samples))


def _mfcc() -> _Spectral:
    order, at = np.arange(_CEPSTRA), np.arange(_MELS)[:, None]
    cosines = np.sqrt(2 / _MELS) * np.cos(np.pi * order * (2 * at + 1) / (2 * _MELS))
    return _Spectral(mel_filters(_MELS, SpectrogramConfig().fft_samples), cosines)


# --- nets in time: a window of columns to one vector ----------------------------------------------


class _Recurrent(nn.Module):
    """Last states and an attention-weighted mean, as in the shipped encoder."""

    def __init__(self, kind: type[nn.GRU] | type[nn.LSTM], hidden: int, causal: bool) -> None:
        super().__init__()
        self.both = not causal
        self.net = kind(_WIDTH, hidden, batch_first=True, bidirectional=self.both)
        self.attend = nn.Linear(hidden * (1 + self.both), 1)
        self.width = 2 * hidden * (1 + self.both)

    def forward(self, windows: Float[Tensor, "N L P"]) -> Float[Tensor, "N W"]:
        states, _ = self.net(windows)
        ahead, back = states.chunk(2, dim=-1) if self.both else (states, None)
        last = ahead[:, -1] if back is None else torch.cat((ahead[:, -1], back[:, 0]), -1)
        return torch.cat((last, _attended(states, self.attend)), -1)


class _Convolved(nn.Module):
    """Residual dilated convolutions, four of them."""

    def __init__(self, causal: bool) -> None:
        super().__init__()
        self.causal = causal
        self.layers = nn.ModuleList(
            nn.Conv1d(_WIDTH, _WIDTH, 3, dilation=dilation) for dilation in _DILATIONS
        )
        self.attend = nn.Linear(_WIDTH, 1)
        self.width = 2 * _WIDTH

    def forward(self, windows: Float[Tensor, "N L P"]) -> Float[Tensor, "N W"]:
        x = windows.mT
        for layer, dilation in zip(self.layers, _DILATIONS, strict=True):
            reach = 2 * dilation
            sides = (reach, 0) if self.causal else (reach // 2, reach - reach // 2)
            x = x + functional.gelu(layer(functional.pad(x, sides)))
        return torch.cat((x[..., -1], _attended(x.mT, self.attend)), -1)


class _Attending(nn.Module):
    """Two layers of self-attention with learned places."""

    def __init__(self, causal: bool) -> None:
        super().__init__()
        self.causal = causal
        self.places = nn.Parameter(0.02 * torch.randn(64, _WIDTH))
        layer = nn.TransformerEncoderLayer(
            _WIDTH, 4, _WIDTH, dropout=0.0, activation="gelu", batch_first=True, norm_first=True
        )
        self.layers = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.attend = nn.Linear(_WIDTH, 1)
        self.width = 2 * _WIDTH

    def forward(self, windows: Float[Tensor, "N L P"]) -> Float[Tensor, "N W"]:
        length = windows.shape[1]
        mask = nn.Transformer.generate_square_subsequent_mask(length) if self.causal else None
        x = self.layers(windows + self.places[:length], mask=mask, is_causal=self.causal)
        return torch.cat((x[:, -1], _attended(x, self.attend)), -1)


def _attended(states: Float[Tensor, "N L W"], attend: nn.Linear) -> Float[Tensor, "N W"]:
    return (attend(states).softmax(1) * states).sum(1)


_FRONTS: dict[str, Callable[[], _Spectral | _Raw]] = {
    "stft": _stft,
    "logmel": _logmel,
    "mfcc": _mfcc,
    "raw": _Raw,
}
_NETS: dict[str, Callable[[bool], _Recurrent | _Convolved | _Attending]] = {
    "gru": lambda causal: _Recurrent(nn.GRU, 256, causal),
    "lstm": lambda causal: _Recurrent(nn.LSTM, 208, causal),
    "tcn": _Convolved,
    "transformer": _Attending,
}
