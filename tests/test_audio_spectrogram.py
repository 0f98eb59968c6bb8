import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from se4lip.audio.spectrogram import (
    ChannelConfig,
    SpectrogramConfig,
    initial_channel,
    log_power,
    power_spectrogram,
    remove_channel,
)
from se4lip.audio.timebase import COLUMNS_PER_FRAME, Window, frame_count
from se4lip.types import InputError

CONFIG = SpectrogramConfig()


def test_full_scale_sine_has_power_one_in_its_bin():
    bin_hz = 16_000 / CONFIG.fft_samples
    time = torch.arange(4000, dtype=torch.float64) / 16_000
    power = power_spectrogram(torch.sin(2 * math.pi * 40 * bin_hz * time), CONFIG)
    # The side lobe of the negative frequency reaches this bin at about -60 dB of amplitude.
    torch.testing.assert_close(power[:, 40], torch.ones(len(power)).double(), rtol=0, atol=2e-3)
    assert (power.argmax(1) == 40).all()


def test_column_k_hears_only_the_25_ms_from_its_start():
    samples = torch.zeros(3200)
    samples[1000] = 1.0
    heard = power_spectrogram(samples, CONFIG).sum(1) > 1e-9
    starts = torch.arange(len(heard)) * 160
    inside = (starts < 1000) & (starts + CONFIG.window_samples > 1000)
    assert torch.equal(heard, inside)


def test_sound_shorter_than_a_column_gives_none():
    assert power_spectrogram(torch.zeros(399), CONFIG).shape == (0, 257)


def test_silence_is_the_floor_and_not_minus_infinity():
    assert log_power(torch.zeros(1, 257), CONFIG).unique().tolist() == [CONFIG.floor_db / 20]


@given(st.integers(0, 10**9))
def test_frames_cover_every_sample_and_no_more(samples):
    frames = frame_count(samples)
    assert frames * 640 >= samples > (frames - 1) * 640 or samples == frames == 0


def test_default_window_is_five_frames_and_18_columns_of_which_the_last_ends_in_time():
    window = Window()
    columns = window.columns(CONFIG.window_samples)
    assert (window.frames, window.past_frames, columns) == (5, 3, 18)
    end = (columns - 1) * 160 + CONFIG.window_samples  # samples after the window's start
    assert end <= window.samples
    assert window.samples - window.past_frames * 640 == round(0.080 * 16_000)
    assert COLUMNS_PER_FRAME == 4


def test_a_window_that_waits_longer_than_80_ms_is_refused():
    with pytest.raises(
        InputError, match="lookahead_frames is 3, but a live head can wait for 0 to 2"
    ):
        Window(frames=7, lookahead_frames=3)


def _naive_means(columns, weights, mean, config):
    total, weight, out = mean * config.prior_columns, config.prior_columns, []
    for x, w in zip(columns, weights, strict=True):
        total, weight = total * config.decay + w * x, weight * config.decay + w
        out.append(total / weight)
    return np.stack(out)


def test_channel_equals_the_recursion_it_stands_for():
    config = ChannelConfig()
    random = torch.Generator().manual_seed(1)
    power = torch.rand(700, 5, generator=random, dtype=torch.float64) * 1e-4
    columns = log_power(power, CONFIG)
    mean = torch.full((5,), -2.0)
    cleaned, _ = remove_channel(columns, power, initial_channel(mean, (), config), config)
    weights = (power.mean(1) / 10 ** (config.nominal_db / 10)).clamp(1e-6, 1e2)
    weights = weights**config.loudness_exponent
    expected = columns.numpy() - _naive_means(
        columns.numpy(), weights.numpy(), mean.double().numpy(), config
    )
    np.testing.assert_allclose(cleaned.numpy(), expected, atol=1e-9)


@given(st.lists(st.integers(0, 400), min_size=1, max_size=6))
def test_channel_does_not_depend_on_the_blocks_it_comes_in(lengths):
    config = ChannelConfig()
    random = torch.Generator().manual_seed(sum(lengths))
    power = torch.rand(sum(lengths), 4, generator=random) * 1e-4
    columns = log_power(power, CONFIG)
    start = initial_channel(torch.zeros(4), (), config)
    whole, _ = remove_channel(columns, power, start, config)
    state, parts, at = start, [], 0
    for length in lengths:
        part = slice(at, at + length)
        cleaned, state = remove_channel(columns[part], power[part], state, config)
        parts.append(cleaned)
        at += length
    torch.testing.assert_close(torch.cat(parts), whole, rtol=0, atol=1e-6)


def test_a_constant_channel_is_forgotten():
    """Whatever a microphone adds in dB is gone once the memory has filled."""
    config = ChannelConfig(memory_s=1.0)
    random = torch.Generator().manual_seed(2)
    power = torch.rand(1500, 6, generator=random) * 1e-4 + 1e-6
    response = 10 ** torch.linspace(-1.5, 1.5, 6)
    start = initial_channel(torch.full((6,), -2.5), (), config)
    plain, _ = remove_channel(log_power(power, CONFIG), power, start, config)
    power = power * response
    coloured, _ = remove_channel(log_power(power, CONFIG), power, start, config)
    assert (plain - coloured)[-100:].abs().max() < 0.05
    assert (plain - coloured)[:3].abs().max() > 0.3
