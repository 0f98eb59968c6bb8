"""Eight hours of sound: every frame is counted, positions are exact, and what is kept never grows.

The streams themselves pass through all positions. What would take long is left out: the filter's
dot products, the spectra and the networks, whose numbers have tests of their own.
"""

from dataclasses import fields, is_dataclass, replace

import numpy as np
import pytest
import torch

from live_heads import PlainHead, motion
from se4lip.audio import resample as resampling
from se4lip.audio.timebase import COLUMN_HOP
from se4lip.encoder import streaming
from se4lip.encoder.speech import SpeechEncoder, SpeechEncoderConfig
from se4lip.encoder.streaming import SpeechStream
from se4lip.head.speech_window import FUTURE_CONTEXT
from se4lip.synthesis.live_stream import LiveStream

HOURS_S = 8 * 3600
FRAMES = HOURS_S * 25
RATES = (11_025, 16_000, 44_100, 96_000)
CHUNK_S = 57.3  # of sound at a time; no whole number of frames at any rate


class Silent:
    """Counts columns and frames as the encoder does, and hears nothing."""

    def __init__(self):
        whole = SpeechEncoder(SpeechEncoderConfig(projection=4, hidden=4, embedding=2))
        self.config, self.mean, self.initial_channel = (
            whole.config,
            whole.mean,
            whole.initial_channel,
        )

    def eval(self):
        return self

    def clean(self, power, channel):
        return power, channel

    def embed(self, columns):
        ready = (columns.shape[1] - self.config.window_columns) // 4 + 1
        return torch.zeros(1, ready, self.config.embedding)


class SilentHead(PlainHead):
    feature_width = 2

    def __init__(self):
        super().__init__()
        self.speech = lambda features: torch.zeros(len(features), 1)


@pytest.fixture
def _no_arithmetic(monkeypatch):
    def power(samples, config):
        columns = max(0, (len(samples) - config.window_samples) // COLUMN_HOP + 1)
        return torch.zeros(columns, config.bins)

    monkeypatch.setattr(streaming, "power_spectrogram", power)
    monkeypatch.setattr(resampling, "_interpolate", lambda *what: what[-1].fill(0))


def size_bytes(state):
    """Of everything that a state holds, however deep."""
    if isinstance(state, torch.Tensor):
        return state.untyped_storage().nbytes()
    if isinstance(state, np.ndarray):
        return (state if state.base is None else state.base).nbytes
    if is_dataclass(state):
        return sum(size_bytes(getattr(state, field.name)) for field in fields(state))
    return 0


def chunks(rate):
    """Lengths of eight hours of sound in pieces."""
    left, chunk = HOURS_S * rate, round(CHUNK_S * rate)
    while left:
        yield min(chunk, left)
        left -= min(chunk, left)


@pytest.mark.usefixtures("_no_arithmetic")
@pytest.mark.parametrize("rate", RATES[:3])
def test_eight_hours_give_exactly_their_features_at_constant_memory(rate):
    stream = SpeechStream(Silent(), rate)
    state, frames, sizes = stream.init(), 0, []
    for length in chunks(rate):
        state, features = stream.step(state, np.zeros(length, np.float32))
        frames += len(features)
        sizes.append(size_bytes(state))
    _, features = stream.finish(state)
    assert frames + len(features) == FRAMES
    assert state.resampler.taken == HOURS_S * rate
    assert len(sizes) > 500
    assert max(sizes) < 100_000
    assert max(sizes[-50:]) <= max(sizes[:50]) + 4 * 257 * 4  # a column more or less


@pytest.mark.usefixtures("_no_arithmetic")
@pytest.mark.parametrize("rate", [11_025, 22_050])
def test_a_live_timeline_of_eight_hours_ends_on_its_last_frame_with_its_last_sample(rate):
    stream = LiveStream(
        SilentHead(), motion(), SpeechStream(Silent(), rate), lookahead_frames=FUTURE_CONTEXT
    )
    given, kept, expected = 0, [], 0
    for length in chunks(rate):
        for due in stream.put(np.zeros(length, np.float32)):
            assert due.index == expected
            expected += 1
        assert due.pushed == stream.edge(due.index)
        given += len(stream.take_sound(due.index))
        kept.append(sum(len(samples) for _, _, samples in stream._sound))
    while stream.next_index < FRAMES:
        due = stream.rest()[-1]
    assert due.index == FRAMES - 1
    assert due.pushed == stream.edge(FRAMES - 1) == (FRAMES - 1) * rate // 25
    assert given + len(stream.take_sound(due.index)) == HOURS_S * rate
    assert stream.given == stream.pushed == HOURS_S * rate
    assert max(kept) < rate  # less than a second of sound waits for its frames
    assert len(stream._sound) < 20


@pytest.mark.parametrize("rate", RATES)
def test_after_eight_hours_the_filter_stands_where_it_stood(rate):
    """Bit for bit: positions are whole numbers, however large."""
    silence = np.zeros(rate, np.float32)
    sound = np.random.default_rng(0).standard_normal(rate).astype(np.float32)
    early, _ = resampling.resample(resampling.start_resampling(rate), silence)
    late = replace(early, taken=early.taken + HOURS_S * rate, given=early.given + HOURS_S * 16_000)
    early, first = resampling.resample(early, sound)
    late, last = resampling.resample(late, sound)
    np.testing.assert_array_equal(first, last)
    assert late.given - early.given == HOURS_S * 16_000
