"""The speech encoder: STFT -> GRU -> one point on the unit sphere for every video frame.

Source: SE4Lip section 3.1. The paper names the parts and not their sizes; every size is a field.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from se4lip.audio.spectrogram import (
    ChannelConfig,
    ChannelState,
    SpectrogramConfig,
    initial_channel,
    log_power,
    power_spectrogram,
    remove_channel,
)
from se4lip.audio.timebase import COLUMNS_PER_FRAME, Window
from se4lip.types import SAMPLES_PER_FRAME, InputError, within


@dataclass(frozen=True)
class SpeechEncoderConfig:
    spectrogram: SpectrogramConfig = field(default_factory=SpectrogramConfig)
    channel: ChannelConfig = field(default_factory=ChannelConfig)
    window: Window = field(default_factory=Window)
    projection: int = 256  # linear layer that the GRU reads, shared by overlapping windows
    # Columns of 10 ms of which the GRU reads the mean, so that long windows cost less; the oldest
    # of a window that make no whole mean are not read.
    pooled: int = 1
    hidden: int = 256
    layers: int = 1
    bidirectional: bool = True  # inside the window, which ends 80 ms after the frame's time
    dropout: float = 0.1
    embedding: int = 512

    def __post_init__(self) -> None:
        within(self, projection=(1, 8192), hidden=(1, 8192), layers=(1, 16), embedding=(1, 8192))
        within(self, dropout=(0, 1))
        if self.pooled not in {1, 2, 4}:
            raise InputError(
                f"the mean of {self.pooled} columns was asked for, but 1, 2 or 4 are needed, "
                f"because a frame has {COLUMNS_PER_FRAME}: give one of these"
            )

    @property
    def window_columns(self) -> int:
        return self.window.columns(self.spectrogram.window_samples)

    @property
    def unread_columns(self) -> int:
        """The oldest of a window, of which no whole mean can be made."""
        return self.window_columns % self.pooled

    @property
    def steps(self) -> int:
        """How many means the GRU reads of a window."""
        return self.window_columns // self.pooled


class SpeechEncoder(nn.Module):
    """Columns of a linear spectrogram in, unit-length lip features out, one per frame.

    ``forward`` is what training calls, on powers that augmentation may have changed; ``embed`` is
    the same without channel removal; ``features`` goes from samples to features in one call.
    """

    mean: Tensor  # [F] mean log power of the training speech: the channel before anything is heard
    scale: Tensor  # [F] spread of the log power around the running mean

    def __init__(self, config: SpeechEncoderConfig) -> None:
        super().__init__()
        self.config = config
        bins = config.spectrogram.bins
        self.register_buffer("mean", torch.full((bins,), -3.0))
        self.register_buffer("scale", torch.ones(bins))
        self.project = nn.Linear(bins, config.projection)
        self.norm = nn.LayerNorm(config.projection)
        self.gru = nn.GRU(
            config.projection,
            config.hidden,
            config.layers,
            batch_first=True,
            bidirectional=config.bidirectional,
            dropout=config.dropout if config.layers > 1 else 0.0,
        )
        width = config.hidden * (2 if config.bidirectional else 1)
        self.attend = nn.Linear(width, 1)
        self.embed_last = nn.Linear(2 * width, config.embedding)
        self.drop = nn.Dropout(config.dropout)

    def forward(self, power: Float[Tensor, "B L F"]) -> Float[Tensor, "B T D"]:
        """Features of every frame whose whole window lies in ``power``; column 0 starts the
        first."""
        columns, _ = self.clean(power, self.initial_channel((power.shape[0],)))
        return self.embed(columns)

    def initial_channel(self, batch: tuple[int, ...] = ()) -> ChannelState:
        return initial_channel(self.mean, batch, self.config.channel)

    def clean(
        self, power: Float[Tensor, "*batch L F"], state: ChannelState
    ) -> tuple[Float[Tensor, "*batch L F"], ChannelState]:
        """Log columns less the running channel, scaled to unit spread."""
        columns = log_power(power, self.config.spectrogram)
        columns, state = remove_channel(columns, power, state, self.config.channel)
        return columns / self.scale, state

    def embed(self, columns: Float[Tensor, "B L F"], stride: int = 1) -> Float[Tensor, "B T D"]:
        """Run the GRU over every ``stride``-th frame's window of cleaned columns."""
        config = self.config
        projected = functional.gelu(self.norm(self.project(columns)))
        if config.pooled > 1:
            projected = projected[:, config.unread_columns :]
            whole = projected.shape[1] - projected.shape[1] % config.pooled
            projected = projected[:, :whole].unflatten(1, (-1, config.pooled)).mean(2)
        each = COLUMNS_PER_FRAME // config.pooled
        windows = projected.unfold(1, config.steps, each * stride)  # [B, T, P, L']
        batch, frames = windows.shape[:2]
        windows = windows.permute(0, 1, 3, 2).reshape(batch * frames, config.steps, -1)
        states, _ = self.gru(self.drop(windows))  # [B*T, L', width]
        forward, backward = states.chunk(2, dim=-1) if config.bidirectional else (states, None)
        last = (
            forward[:, -1] if backward is None else torch.cat((forward[:, -1], backward[:, 0]), -1)
        )
        weights = self.attend(states).softmax(dim=1)
        summary = torch.cat((last, (weights * states).sum(1)), dim=-1)
        embedding = self.embed_last(self.drop(summary))
        return functional.normalize(embedding, dim=-1).reshape(batch, frames, -1)

    def power_of_frames(self, samples: Float[Tensor, "*batch S"], frames: int) -> Tensor:
        """Columns behind ``frames`` frames of ``samples``; silence where the sound does not
        reach."""
        window = self.config.window
        before = window.past_frames * SAMPLES_PER_FRAME
        end = (frames - 1 + window.lookahead_frames) * SAMPLES_PER_FRAME
        padded = functional.pad(samples, (before, max(0, end - samples.shape[-1])))
        return power_spectrogram(padded[..., : before + end], self.config.spectrogram)

    def features(self, samples: Float[Tensor, " S"], frames: int) -> Float[Tensor, "T D"]:
        """Features of ``frames`` frames of 16 kHz speech at once; ``streaming`` does it in
        pieces."""
        if frames == 0:
            return samples.new_zeros((0, self.config.embedding))
        return self(self.power_of_frames(samples[None], frames))[0]
