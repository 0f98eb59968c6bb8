"""Whisper's encoder, stated once more: what a talking head can take from a speech recogniser.

Source: Radford et al., "Robust speech recognition via large-scale weak supervision", 2022, section
2.2. The states after the last norm are the feature, 50 a second. Sound is padded to 30 s, as the
network was trained. Weights are read from CTranslate2's file (`io.ctranslate2`), the form in which
packages carry them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Float32
from torch import Tensor, nn
from torch.nn import functional

from se4lip.artifacts.encoder import EncoderIdentity
from se4lip.features.base import Rows, Samples, Timing, in_pieces
from se4lip.features.mel import mel_filters
from se4lip.types import SAMPLE_RATE_HZ, InputError

_FFT, _HOP, _MELS = 400, 160, 80
_CONTEXT_S = 2.5
_STATES = Timing(hop=2 * _HOP, first=0, reach=0)


@dataclass(frozen=True)
class WhisperConfig:
    width: int
    layers: int
    heads: int
    positions: int = 1500


class WhisperEncoder(nn.Module):
    """Log-mel columns, 100 a second, to states, 50 a second."""

    positions: Tensor

    def __init__(self, config: WhisperConfig) -> None:
        super().__init__()
        self.config = config
        self.conv1 = nn.Conv1d(_MELS, config.width, 3, padding=1)
        self.conv2 = nn.Conv1d(config.width, config.width, 3, stride=2, padding=1)
        self.register_buffer("positions", torch.zeros(config.positions, config.width))
        self.blocks = nn.ModuleList(
            _Block(config.width, config.heads) for _ in range(config.layers)
        )
        self.norm = nn.LayerNorm(config.width)

    def forward(self, mel: Float[Tensor, "B 80 2R"]) -> Float[Tensor, "B R D"]:
        x = functional.gelu(self.conv1(mel))
        x = functional.gelu(self.conv2(x)).mT
        x = x + self.positions[: x.shape[1]]
        for block in self.blocks:
            x = block(x)
        return self.norm(x)

    @staticmethod
    def from_ctranslate2(found: Mapping[str, Tensor]) -> WhisperEncoder:
        """Of the variables of a CTranslate2 Whisper model.

        Raises:
            InputError: they are not those of a Whisper encoder.
        """
        try:
            width = found["encoder/conv1/weight"].shape[0]
            layers = sum(n.endswith("/ffn/linear_0/weight") and n[:4] == "enco" for n in found)
            config = WhisperConfig(
                width,
                layers,
                int(found["encoder/num_heads"]),
                len(found["encoder/position_encodings/encodings"]),
            )
            network = WhisperEncoder(config)
            state = {ours: found[f"encoder/{theirs}"].float() for ours, theirs in _names(layers)}
            network.load_state_dict(state)
        except (KeyError, RuntimeError) as error:
            raise InputError(
                f"the weights given are not those of a Whisper encoder ({error}): give the "
                "model.bin of a CTranslate2 Whisper"
            ) from error
        return network.eval().requires_grad_(False)


class _Block(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.query_key_value = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        self.wide = nn.Linear(width, 4 * width)
        self.narrow = nn.Linear(4 * width, width)

    def forward(self, x: Float[Tensor, "B R D"]) -> Float[Tensor, "B R D"]:
        parts = self.query_key_value(self.norm1(x)).unflatten(-1, (3, self.heads, -1))
        query, key, value = parts.permute(2, 0, 3, 1, 4)  # each [B, heads, R, D / heads]
        seen = functional.scaled_dot_product_attention(query, key, value)
        x = x + self.out(seen.transpose(1, 2).flatten(2))
        return x + self.narrow(functional.gelu(self.wide(self.norm2(x))))


def _names(layers: int) -> list[tuple[str, str]]:
    """Our names and CTranslate2's, in pairs."""
    pairs = [("positions", "position_encodings/encodings")]
    modules = [("conv1", "conv1"), ("conv2", "conv2")]
    norms = [("norm", "layer_norm")]
    for i in range(layers):
        ours, theirs = f"blocks.{i}", f"layer_{i}"
        modules += [
            (f"{ours}.query_key_value", f"{theirs}/self_attention/linear_0"),
            (f"{ours}.out", f"{theirs}/self_attention/linear_1"),
            (f"{ours}.wide", f"{theirs}/ffn/linear_0"),
            (f"{ours}.narrow", f"{theirs}/ffn/linear_1"),
        ]
        norms += [
            (f"{ours}.norm1", f"{theirs}/self_attention/layer_norm"),
            (f"{ours}.norm2", f"{theirs}/ffn/layer_norm"),
        ]
    for ours, theirs in modules:
        pairs += [(f"{ours}.weight", f"{theirs}/weight"), (f"{ours}.bias", f"{theirs}/bias")]
    for ours, theirs in norms:
        pairs += [(f"{ours}.weight", f"{theirs}/gamma"), (f"{ours}.bias", f"{theirs}/beta")]
    return pairs


class Whisper:
    """Encoder states: two a frame, side by side."""

    def __init__(self, name: str, encoder: WhisperEncoder, sha256: str) -> None:
        self.encoder = encoder
        width = encoder.config.width * _STATES.rows_per_frame
        self.identity = EncoderIdentity(name, sha256, width, name)
        self.window = encoder.config.positions * _STATES.hop  # 30 s for what is published
        piece_s = self.window / SAMPLE_RATE_HZ
        context_s = min(_CONTEXT_S, piece_s / 4)
        self.packs_s = piece_s - 0.1  # less than a window, with the lead before it
        self.network = in_pieces(self.states, _STATES.hop, piece_s, context_s)

    def __call__(self, samples: Samples) -> Rows:
        return _STATES.framed(self.network, samples)

    @torch.inference_mode()
    def states(self, samples: Samples) -> Float32[np.ndarray, "R D"]:
        """At most one window of sound; as many rows as begin in it."""
        padded = np.pad(samples, (0, self.window - len(samples)))
        mel = log_mel(torch.from_numpy(padded))
        rows = -(-len(samples) // _STATES.hop)
        return self.encoder(mel[None])[0, :rows].numpy()


def log_mel(samples: Float[Tensor, " S"]) -> Float[Tensor, "80 L"]:
    """The published input: 25-ms windows centred every 10 ms, 80 dB below the loudest kept."""
    around = functional.pad(samples[None], (_FFT // 2, _FFT // 2), mode="reflect")[0]
    hann = torch.hann_window(_FFT, dtype=samples.dtype)
    columns = torch.fft.rfft(around.unfold(0, _FFT, _HOP)[:-1] * hann)
    power = columns.real.square() + columns.imag.square()
    log = (torch.from_numpy(mel_filters(_MELS, _FFT)) @ power.mT).clamp_min(1e-10).log10()
    return (log.maximum(log.max() - 8) + 4) / 4
