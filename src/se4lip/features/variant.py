"""Encoders beside the shipped one, as features: ``--features variant:FILE``.

`se4lip bench ablation` makes them. Front, net in time, window and whether anything after the
frame's time is heard differ; all else is the shipped encoder's, for every variant alike: the
running channel, which starts from the training speech's mean; one scale for each number;
projection, dropout and embedding; and as many weights, by the net's width. ``stft`` with ``gru``
computes what the shipped class does.
"""

from __future__ import annotations

import bisect
import functools
import os
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from se4lip.artifacts.encoder import EncoderIdentity
from se4lip.audio.spectrogram import (
    ChannelConfig,
    initial_channel,
    power_spectrogram,
    remove_channel,
)
from se4lip.audio.timebase import COLUMNS_PER_FRAME, Window, frame_count
from se4lip.encoder.speech import SpeechEncoder, SpeechEncoderConfig
from se4lip.features.base import Rows, Samples
from se4lip.features.variant_fronts import FRONTS, SPECTROGRAM, Front
from se4lip.features.variant_nets import NETS, Net
from se4lip.io.config import from_plain
from se4lip.io.weights import fitting, load_weights
from se4lip.types import SAMPLES_PER_FRAME, InputError

VARIANT = "variant:"  # the beginning of such a feature's name
VARIANT_KIND = "encoder-variant"  # of the weights file
_SPEECH = "speech."  # the beginning of the encoder's tensors; the lips' side lies beside
_WIDTHS = range(64, 1025, 8)  # of nets in time
_LOUD = 1e-7  # mean power of a column of speech: -70 dB and up
_FOLLOW = 0.02  # how far one step moves the statistics of a front that learns
_CHANNEL = ChannelConfig()
_PIECE_FRAMES = 500  # whose windows are in memory at once


@dataclass(frozen=True)
class Variant:
    """``causal``: nothing after the frame's time is heard, in place of 80 ms, and the net in time
    looks back only. ``hidden`` is the net's width; 0 is what makes it as large as the shipped."""

    front: Front = "stft"
    net: Net = "gru"
    window_frames: int = 5
    causal: bool = False
    hidden: int = 0

    @property
    def window(self) -> Window:
        return Window(self.window_frames, 0 if self.causal else 2)

    @property
    def name(self) -> str:
        causal = ", causal" if self.causal else ""
        return f"{self.front}, {self.net}, {self.window_frames} frames{causal}"


class VariantEncoder(nn.Module):
    """16 kHz samples to one unit vector a frame."""

    mean: Tensor  # [C] of the front's numbers over training speech: where the channel starts
    scale: Tensor  # [C] their spread

    def __init__(self, variant: Variant) -> None:
        super().__init__()
        self.variant = variant if variant.hidden else replace(variant, hidden=_fitted(variant))
        shared = SpeechEncoderConfig()
        self.front = FRONTS[variant.front]()
        self.net = NETS[variant.net](self.variant.hidden, variant.causal)
        self.register_buffer("mean", torch.full((self.front.width,), -3.0))
        self.register_buffer("scale", torch.ones(self.front.width))
        self.project = nn.Linear(self.front.width, self.net.reads)
        self.norm = nn.LayerNorm(self.net.reads)
        self.embed_last = nn.Linear(self.net.width, shared.embedding)
        self.drop = nn.Dropout(shared.dropout)

    def forward(
        self, samples: Float[Tensor, "B S"], frames: int, stride: int = 1, first: int = 0
    ) -> Float[Tensor, "B T D"]:
        """Features of frames ``first, first + stride, ...`` below ``frames``."""
        return self.embed(self.columns(samples, frames)[:, first * COLUMNS_PER_FRAME :], stride)

    def columns(self, samples: Float[Tensor, "B S"], frames: int) -> Float[Tensor, "B L C"]:
        """What the front hears behind ``frames`` frames, less the running channel, at unit spread;
        silence where the sound does not reach."""
        window = self.variant.window
        before = window.past_frames * SAMPLES_PER_FRAME
        end = (frames - 1 + window.lookahead_frames) * SAMPLES_PER_FRAME
        padded = functional.pad(samples, (before, max(0, end - samples.shape[-1])))
        padded = padded[..., : before + end]
        with torch.autocast(samples.device.type, enabled=False):
            power = power_spectrogram(padded, SPECTROGRAM)
            log = self.front(padded, power)
            if self.training and self.front.learns:
                self._measure(log, power, _FOLLOW)
            start = initial_channel(self.mean, (len(samples),), _CHANNEL)
            cleaned, _ = remove_channel(log, power, start, _CHANNEL)
            return cleaned / self.scale

    def embed(self, columns: Float[Tensor, "B L C"], stride: int = 1) -> Float[Tensor, "B T D"]:
        """Of every ``stride``-th frame's window of cleaned columns."""
        projected = functional.gelu(self.norm(self.project(columns)))
        windows = projected.unfold(1, self.window_columns, COLUMNS_PER_FRAME * stride).mT
        summary = self.net(self.drop(windows.flatten(0, 1)))
        embedding = self.embed_last(self.drop(summary)).float()
        return functional.normalize(embedding, dim=-1).unflatten(0, windows.shape[:2])

    @property
    def window_columns(self) -> int:
        return self.variant.window.columns(SPECTROGRAM.window_samples)

    def set_statistics(self, speech: Iterable[Float[Tensor, " S"]]) -> None:
        """Mean and spread of the front's numbers over training speech."""
        speech = list(speech)
        powers = [power_spectrogram(samples[None], SPECTROGRAM)[0] for samples in speech]
        with torch.no_grad():
            pairs = zip(speech, powers, strict=True)
            logs = [self.front(samples[None], power[None])[0] for samples, power in pairs]
        self._measure(torch.cat(logs), torch.cat(powers), 1.0)

    @torch.no_grad()
    def _measure(
        self, log: Float[Tensor, "*B L C"], power: Float[Tensor, "*B L F"], share: float
    ) -> None:
        """Move mean and scale so far towards those of ``log``. A front that learns needs that at
        every step: its numbers move, and the others' statistics are always true."""
        loud = log[power.mean(-1) > _LOUD]
        if len(loud) > 1:
            self.mean.lerp_(loud.mean(0), share)
            self.scale.lerp_(loud.std(0).clamp_min(0.05), share)

    @torch.inference_mode()
    def features(self, samples: Float[Tensor, " S"], frames: int) -> Float[Tensor, "T D"]:
        """Features of ``frames`` frames at once, with the windows of some in memory at a time."""
        if frames == 0:
            return samples.new_zeros((0, self.embed_last.out_features))
        columns, length = self.columns(samples[None], frames), self.window_columns
        found = []
        for first in range(0, frames, _PIECE_FRAMES):
            count = min(_PIECE_FRAMES, frames - first)
            start = first * COLUMNS_PER_FRAME
            stop = start + (count - 1) * COLUMNS_PER_FRAME + length
            found.append(self.embed(columns[:, start:stop])[0])
        return torch.cat(found)


def weights_in(module: nn.Module) -> int:
    """How many numbers are learned."""
    return sum(parameter.numel() for parameter in module.parameters())


@functools.cache
def _fitted(variant: Variant) -> int:
    """The width of the net in time with which ``variant`` is as large as the shipped encoder."""

    def size(hidden: int) -> int:
        with torch.device("meta"):  # shapes alone
            return weights_in(VariantEncoder(replace(variant, hidden=hidden)))

    with torch.device("meta"):
        goal = weights_in(SpeechEncoder(SpeechEncoderConfig()))
    above = bisect.bisect_left(_WIDTHS, goal, key=size)
    return min(_WIDTHS[max(0, above - 1) : above + 1], key=lambda hidden: abs(size(hidden) - goal))


# --- as features ----------------------------------------------------------------------------------


class VariantFeatures:
    """Row ``t`` is of the window that the shipped encoder has, or the variant's own."""

    def __init__(self, name: str, file: Path) -> None:
        tensors, header = load_weights(file, kind=VARIANT_KIND)
        with fitting(file, tensors):
            self.encoder = VariantEncoder(from_plain(Variant, header.config))
            ours = [k for k in tensors if k.startswith(_SPEECH)]
            self.encoder.load_state_dict({k.removeprefix(_SPEECH): tensors[k] for k in ours})
        self.encoder.eval().requires_grad_(False)
        called = str(header.metadata.get("name", file.stem))
        width = self.encoder.embed_last.out_features
        self.identity = EncoderIdentity(called, header.sha256, width, name)

    def __call__(self, samples: Samples) -> Rows:
        found = self.encoder.features(torch.from_numpy(samples), frame_count(len(samples)))
        return np.ascontiguousarray(found.numpy())


def variant_features(name: str, weights: Path | None = None) -> VariantFeatures:
    """The features called ``variant:FILE``; ``weights`` says where the file is now, if it moved.

    Raises:
        InputError: no such file, or no variant's.
    """
    named = os.path.normpath(name.removeprefix(VARIANT).strip() or ".")
    if named == ".":
        raise InputError(
            f"{name!r} names no file: give variant:FILE, a .safetensors that `se4lip bench "
            "ablation` wrote"
        )
    file = weights or Path(named)
    if not file.is_file():
        raise InputError(
            f"the weights {file} of the features {name!r} are not there: give --feature-weights "
            "where they are now, or make them with `se4lip bench ablation`"
        )
    return VariantFeatures(VARIANT + named, file)
