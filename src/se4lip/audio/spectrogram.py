"""The linear, fine-grained spectrogram, and the level and channel it is measured against.

Source: SE4Lip section 3.1: the STFT spectrogram is kept linear in frequency, because mel filters
blur the high bands that tell lip shapes apart. Sizes are ours (docs/fidelity.md).
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from se4lip.audio.timebase import COLUMN_HOP
from se4lip.types import SAMPLE_RATE_HZ, InputError, within


@dataclass(frozen=True)
class SpectrogramConfig:
    window_samples: int = 400  # 25 ms
    fft_samples: int = 512  # bins every 31.25 Hz, 257 of them
    floor_db: float = -100.0  # of a full-scale sine; below it there is only rounding

    def __post_init__(self) -> None:
        if self.window_samples > self.fft_samples:
            raise InputError(
                f"window_samples {self.window_samples} does not fit fft_samples {self.fft_samples}"
            )
        within(self, window_samples=(2, 1 << 16), fft_samples=(2, 1 << 16), floor_db=(-300, 0))

    @property
    def bins(self) -> int:
        return self.fft_samples // 2 + 1


@functools.lru_cache(maxsize=8)
def _hann(samples: int, device: torch.device, dtype: torch.dtype) -> Tensor:
    # Scaled so that a full-scale sine has power 1 in its bin, whatever the window's length.
    window = torch.hann_window(samples, periodic=True, device=device, dtype=torch.float64)
    return (window * (2 / window.sum())).to(dtype)


def power_spectrogram(
    samples: Float[Tensor, "*batch S"], config: SpectrogramConfig
) -> Float[Tensor, "*batch L F"]:
    """Power of every 10-ms column that lies wholly inside ``samples``; a full-scale sine has 1.

    ``L = (S - window) // hop + 1``, 0 when ``samples`` is shorter than one column.
    """
    if samples.shape[-1] < config.window_samples:
        return samples.new_zeros((*samples.shape[:-1], 0, config.bins))
    columns = samples.unfold(-1, config.window_samples, COLUMN_HOP)
    columns = columns * _hann(config.window_samples, samples.device, samples.dtype)
    spectrum = torch.fft.rfft(columns, n=config.fft_samples)
    return spectrum.real.square() + spectrum.imag.square()


def log_power(
    power: Float[Tensor, "*batch L F"], config: SpectrogramConfig
) -> Float[Tensor, "*batch L F"]:
    """Decibels of a full-scale sine, divided by 20 so that speech spans a few units."""
    floor = 10 ** (config.floor_db / 10)
    return torch.log10(power.clamp_min(floor)) / 2


# --- the channel: what microphone, room and loudness add to every column -------------------------


@dataclass(frozen=True)
class ChannelConfig:
    """A running mean of the log spectrum, weighted towards loud columns, is taken off.

    It only looks back, so it can run live, and it starts from a stored mean so that the first
    word of a stream is not compared with nothing.
    """

    memory_s: float = 3.0  # the time constant of forgetting
    prior_s: float = 0.5  # how much nominal speech the stored mean counts for at the start
    nominal_db: float = -50.0  # mean column power of ordinary speech
    loudness_exponent: float = 0.25  # weight of a column: (power / nominal) ** exponent

    def __post_init__(self) -> None:
        within(self, memory_s=(1e-3, 1e6), prior_s=(1e-6, 1e6), nominal_db=(-200, 100))
        within(self, loudness_exponent=(0, 4))

    @property
    def decay(self) -> float:
        columns = self.memory_s * SAMPLE_RATE_HZ / COLUMN_HOP
        return float(torch.exp(torch.tensor(-1.0 / columns, dtype=torch.float64)))

    @property
    def prior_columns(self) -> float:
        return self.prior_s * SAMPLE_RATE_HZ / COLUMN_HOP


@dataclass(frozen=True)
class ChannelState:
    """Weighted sum of past columns and the sum of their weights; float64, so that it never
    drifts."""

    weighted_sum: Float[Tensor, "*batch F"]
    weight: Float[Tensor, "*batch"]


def initial_channel(
    mean: Float[Tensor, " F"], batch: tuple[int, ...], config: ChannelConfig
) -> ChannelState:
    """The state before anything was heard: ``mean`` counts for ``prior_s`` of ordinary speech."""
    mean = mean.double().expand(*batch, -1)
    return ChannelState(
        weighted_sum=mean * config.prior_columns,
        weight=mean.new_full(batch, config.prior_columns),
    )


_BLOCK = 256  # columns whose running means are one matrix product


def remove_channel(
    columns: Float[Tensor, "*batch L F"],
    power: Float[Tensor, "*batch L F"],
    state: ChannelState,
    config: ChannelConfig,
) -> tuple[Float[Tensor, "*batch L F"], ChannelState]:
    """``columns`` less their running mean (the column itself included), and the state behind them.

    With decay ``a`` and weights ``w``: ``mean_l = sum_{j<=l} a^(l-j) w_j x_j / sum a^(l-j) w_j``.
    """
    nominal = 10 ** (config.nominal_db / 10)
    loudness = (power.double().mean(-1) / nominal).clamp(1e-6, 1e2)
    weights = loudness**config.loudness_exponent
    weighted = columns.double() * weights[..., None]
    cleaned = []
    for start in range(0, columns.shape[-2], _BLOCK):
        block = weighted[..., start : start + _BLOCK, :]
        length = block.shape[-2]
        age = torch.arange(length, device=columns.device, dtype=torch.float64)
        kernel = (config.decay ** (age[:, None] - age)).tril()
        carry = config.decay ** (age + 1)
        sums = kernel @ block + carry[:, None] * state.weighted_sum[..., None, :]
        totals = (kernel @ weights[..., start : start + length, None])[..., 0]
        totals = totals + carry * state.weight[..., None]
        cleaned.append(
            columns[..., start : start + length, :] - (sums / totals[..., None]).to(columns)
        )
        state = ChannelState(sums[..., -1, :], totals[..., -1])
    if not cleaned:
        return columns, state
    return torch.cat(cleaned, dim=-2), state
