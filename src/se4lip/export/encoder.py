"""The speech encoder as two ONNX graphs: a whole recording at once, and live, frame by frame.

Both are one piece of graph, ``_advance``: frames of sound and a state in, features and the next
state out. The live graph shows the state; the other starts it at rest and pads with silence.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from se4lip.audio.spectrogram import SpectrogramConfig, power_spectrogram
from se4lip.audio.timebase import COLUMN_HOP, COLUMNS_PER_FRAME
from se4lip.encoder.speech import SpeechEncoder
from se4lip.export.onnx_graph import END, Graph, Shape, array, int64
from se4lip.types import SAMPLES_PER_FRAME


@dataclass(frozen=True)
class Rest:
    """Where a stream stands after the silence before any sound.

    States are counted from here, so that a stream begins with zeros.
    """

    samples: int  # of the last sound, which begin the next column
    columns: Tensor  # [L, P] projected, which begin the next window
    channel_sum: Tensor  # [F] float64
    channel_weight: Tensor  # float64

    @torch.inference_mode()
    @staticmethod
    def of(encoder: SpeechEncoder) -> Rest:
        config = encoder.config
        silence = encoder.mean.new_zeros(config.window.past_frames * SAMPLES_PER_FRAME)
        power = power_spectrogram(silence, config.spectrogram)
        cleaned, channel = encoder.clean(power, encoder.initial_channel())
        columns = functional.gelu(encoder.norm(encoder.project(cleaned)))
        # Before these come columns of frames that are never asked for: any numbers do.
        columns = functional.pad(columns, (0, 0, warm_up_frames(encoder) * COLUMNS_PER_FRAME, 0))
        samples = len(silence) - len(power) * COLUMN_HOP
        return Rest(samples, columns, channel.weighted_sum, channel.weight)

    @property
    def states(self) -> dict[str, tuple[type[np.generic], Shape]]:
        """What is carried from frame to frame, in the order of inputs and outputs."""
        return {
            "sound": (np.float32, ("batch", self.samples)),
            "columns": (np.float32, ("batch", *self.columns.shape)),
            "channel_sum": (np.float64, ("batch", len(self.channel_sum))),
            "channel_weight": (np.float64, ("batch", 1)),
        }


def warm_up_frames(encoder: SpeechEncoder) -> int:
    """How many features come out of a stream before that of frame 0, to be thrown away."""
    return max(0, encoder.config.window.lookahead_frames - 1)


def step_graph(encoder: SpeechEncoder, int8_weights: bool = False) -> Graph:
    """``frames`` [B, T, 640] and a state to ``features`` [B, T, D] and the next state."""
    g, rest = Graph("speech-step", int8_weights), Rest.of(encoder)
    g.input("frames", np.float32, ("batch", "frames", SAMPLES_PER_FRAME))
    for name, (kind, shape) in rest.states.items():
        g.input(name, kind, shape)
    features, following = _advance(g, encoder, rest, "frames", list(rest.states))
    g.output(features, "features", np.float32, ("batch", "frames", encoder.config.embedding))
    for value, (name, (kind, shape)) in zip(following, rest.states.items(), strict=True):
        g.output(value, f"next_{name}", kind, shape)
    return g


def encoder_graph(encoder: SpeechEncoder, int8_weights: bool = False) -> Graph:
    """``samples`` [B, S] to ``features`` [B, ceil(S / 640), D]."""
    g, rest = Graph("speech-encoder", int8_weights), Rest.of(encoder)
    g.input("samples", np.float32, ("batch", "samples"))
    # Silence completes the last frame, and the frames that its feature waits for.
    extra = (1 + warm_up_frames(encoder)) * SAMPLES_PER_FRAME - 1
    padded = g("Pad", "samples", int64(0, 0, 0, extra))
    end = g("Div", g("Shape", padded, start=1), int64(SAMPLES_PER_FRAME))
    end = g("Mul", end, int64(SAMPLES_PER_FRAME))
    frames = g("Slice", padded, int64(0), end, int64(1))
    frames = g("Reshape", frames, int64(0, -1, SAMPLES_PER_FRAME))
    batch = g("Shape", "samples", end=1)
    state = []
    for kind, (_, *sizes) in rest.states.values():
        shape = g("Concat", batch, np.array(sizes), axis=0)
        state.append(g("ConstantOfShape", shape, value=g.tensor(np.zeros(1, kind))))
    features, _ = _advance(g, encoder, rest, frames, state)
    features = g("Slice", features, int64(warm_up_frames(encoder)), END, int64(1))
    g.output(features, "features", np.float32, ("batch", "frames", encoder.config.embedding))
    return g


def _advance(
    g: Graph, encoder: SpeechEncoder, rest: Rest, frames: str, state: list[str]
) -> tuple[str, list[str]]:
    """From frames [B, T, 640] and a state to features [B, T, D] and the next state."""
    sound, held, *channel = state
    sound = g("Concat", sound, g("Reshape", frames, int64(0, -1)), axis=1)
    power = _power(g, sound, encoder.config.spectrogram)
    cleaned, next_channel = _clean(g, encoder, rest, power, channel)
    projected = g.gelu(g.layer_norm(g.linear(cleaned, encoder.project), encoder.norm))
    resting = array(rest.columns[:, None])
    held = g("Add", g("Transpose", held, perm=[1, 0, 2]), resting)
    columns = g("Concat", held, projected, axis=0)  # [L, B, P]
    next_held = g("Slice", columns, int64(-len(rest.columns)), END, int64(0))
    next_held = g("Transpose", g("Sub", next_held, resting), perm=[1, 0, 2])
    features = _embed(g, encoder, columns, g("Shape", frames, start=1, end=2))
    next_sound = g("Slice", sound, int64(-rest.samples), END, int64(1))
    return features, [next_sound, next_held, *next_channel]


def _power(g: Graph, sound: str, config: SpectrogramConfig) -> str:
    """The windowed Fourier transform as one strided convolution: [B, S] to powers [L, B, F]."""
    window = torch.hann_window(config.window_samples, periodic=True, dtype=torch.float64)
    window = window * (2 / window.sum())
    # In whole cycles and float64: an angle's rounding would be heard 80 dB below a loud tone.
    cycles = torch.arange(config.bins)[:, None] * torch.arange(config.window_samples)
    angle = (cycles % config.fft_samples).double() * (2 * math.pi / config.fft_samples)
    basis = torch.cat((angle.cos() * window, angle.sin() * window)).float()
    sound = g("Unsqueeze", sound, int64(1))
    spectrum = g("Conv", sound, array(basis[:, None]), strides=[COLUMN_HOP])
    squared = g("Mul", spectrum, spectrum)
    real = g("Slice", squared, int64(0), int64(config.bins), int64(1))
    imaginary = g("Slice", squared, int64(config.bins), END, int64(1))
    return g("Transpose", g("Add", real, imaginary), perm=[2, 0, 1])


def _clean(
    g: Graph, encoder: SpeechEncoder, rest: Rest, power: str, channel: list[str]
) -> tuple[str, list[str]]:
    """Log columns less their running mean, and the next channel state.

    The mean is the recursion itself and in float64: in float32 a mean that forgets as slowly as
    this one stands still before it has arrived.
    """
    config, bins = encoder.config.channel, encoder.config.spectrogram.bins
    floor = np.float32(10 ** (encoder.config.spectrogram.floor_db / 10))
    columns = g("Mul", g("Log", g("Max", power, floor)), np.float32(0.5 / math.log(10)))
    loudness = g("ReduceMean", power, axes=[-1])
    loudness = g("Div", loudness, np.float32(10 ** (config.nominal_db / 10)))
    loudness = g("Clip", loudness, np.float32(1e-6), np.float32(1e2))
    loudness = g.cast(g("Pow", loudness, np.float32(config.loudness_exponent)), np.float64)

    column = Graph("column")
    for name, width in (("sum", bins), ("weight", 1), ("loud_column", bins), ("loudness", 1)):
        column.input(name, np.float64, ("batch", width))
    decay = np.float64(config.decay)
    total = column("Add", column("Mul", "sum", decay), "loud_column")
    weight = column("Add", column("Mul", "weight", decay), "loudness")
    column.output(total, "next_sum", np.float64, ("batch", bins))
    column.output(weight, "next_weight", np.float64, ("batch", 1))
    column.output(column("Div", total, weight), "mean", np.float64, ("batch", bins))

    resting = [array(rest.channel_sum), array(rest.channel_weight)]
    last = ["last_sum", "last_weight"]
    g(
        "Scan",
        *(g("Add", value, origin) for value, origin in zip(channel, resting, strict=True)),
        *(g("Mul", g.cast(columns, np.float64), loudness), loudness),
        outputs=[*last, "means"],
        body=column.proto(),
        num_scan_inputs=2,
    )
    cleaned = g("Sub", columns, g.cast("means", np.float32))
    following = [g("Sub", value, origin) for value, origin in zip(last, resting, strict=True)]
    return g("Div", cleaned, array(encoder.scale)), following


def _embed(g: Graph, encoder: SpeechEncoder, columns: str, frames: str) -> str:
    """Each frame's window of projected columns [L, B, P] through the GRU: features [B, T, D]."""
    config, gru = encoder.config, encoder.gru
    first = g("Range", np.int64(0), g("Squeeze", frames), np.int64(1))
    first = g("Mul", first, np.int64(COLUMNS_PER_FRAME))
    read = np.arange(config.unread_columns, config.window_columns)
    x = g("Gather", columns, g("Add", first, read[:, None]), axis=0)  # [L', T, B, P]
    if config.pooled > 1:
        x = g("Reshape", x, int64(config.steps, config.pooled, -1, config.projection))
        x = g("ReduceMean", x, axes=[1], keepdims=0)
    x = g("Reshape", x, int64(config.steps, -1, config.projection))
    for layer in range(gru.num_layers):
        x, last = _gru(g, gru, layer, x)
    attention = g("Softmax", g.linear(x, encoder.attend), axis=0)
    attended = g("ReduceSum", g("Mul", attention, x), int64(0), keepdims=0)
    embedding = g.linear(g("Concat", last, attended, axis=1), encoder.embed_last)
    length = g("ReduceL2", embedding, axes=[-1])
    embedding = g("Div", embedding, g("Max", length, np.float32(1e-12)))
    shape = g("Concat", frames, int64(-1, config.embedding), axis=0)
    return g("Transpose", g("Reshape", embedding, shape), perm=[1, 0, 2])


def _gru(g: Graph, gru: nn.GRU, layer: int, x: str) -> tuple[str, str]:
    """One layer over [L', N, I]: all states, and the last one of each direction, side by side."""
    ways, width = 2 if gru.bidirectional else 1, gru.hidden_size

    def rows(name: str) -> Tensor:
        """Both directions, gates in ONNX's order: torch has reset before update."""
        parts = []
        for way in ("", "_reverse")[:ways]:
            reset, update, new = getattr(gru, f"{name}_l{layer}{way}").chunk(3)
            parts += [update, reset, new]
        return torch.cat(parts)

    def matrix(name: str) -> str:
        return g("Reshape", g.learned(rows(name), axis=0), int64(ways, 3 * width, -1))

    biases = torch.cat([rows(name).view(ways, -1) for name in ("bias_ih", "bias_hh")], dim=1)
    states, last = f"states-{layer}", f"last-{layer}"
    g(
        "GRU",
        *(x, matrix("weight_ih"), matrix("weight_hh"), array(biases)),
        outputs=[states, last],
        direction="bidirectional" if ways == 2 else "forward",
        hidden_size=width,
        linear_before_reset=1,
    )
    states = g("Reshape", g("Transpose", states, perm=[0, 2, 1, 3]), int64(0, 0, ways * width))
    last = g("Reshape", g("Transpose", last, perm=[1, 0, 2]), int64(0, ways * width))
    return states, last
