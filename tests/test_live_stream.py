"""The timeline of a live head: every sample once and in order, whatever is pushed when."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from live_heads import live_stream, noise
from se4lip.encoder.streaming import encode_offline
from se4lip.types import InputError

RATES = st.sampled_from((16_000, 48_000, 44_100, 22_050, 11_025, 8_000))
# a push of so many samples, or silence (None)
STEPS = st.lists(st.one_of(st.integers(0, 4000), st.none()), max_size=8)


def run(stream, steps):
    samples, due = noise(40_000), []
    for step in steps:
        if step is None:
            due += stream.rest()
        else:
            due += stream.put(samples[stream.pushed : stream.pushed + step])
    return samples[: stream.pushed], due


@settings(max_examples=40, deadline=None)
@given(RATES, STEPS)
def test_every_sample_goes_with_one_frame_in_order(rate, steps):
    stream = live_stream(rate)
    pushed, due = run(stream, steps)
    sounds, told = [], []
    for frame in due:
        sound = stream.take_sound(frame.index)
        assert len(sound) == stream.edge(frame.index + 1) - stream.edge(frame.index)
        sounds.append(sound)
        if frame.pushed is not None:
            told.append((frame.pushed, sound[0]))
    joined = np.concatenate([np.zeros(0, np.float32), *sounds])
    heard = joined[joined != 0]  # noise is never exactly zero, silence is
    np.testing.assert_array_equal(heard, pushed[: len(heard)])
    for position, first in told:
        assert pushed[position] == first
    assert [frame.index for frame in due] == list(range(len(due)))


@settings(max_examples=20, deadline=None)
@given(RATES, st.lists(st.integers(1, 4000), min_size=1, max_size=6))
def test_chunking_changes_no_code(rate, lengths):
    total = sum(lengths)
    _, pieces = run(live_stream(rate), lengths)
    _, whole = run(live_stream(rate), [total])
    assert len(pieces) == len(whole)
    for a, b in zip(pieces, whole, strict=True):
        torch.testing.assert_close(a.code, b.code, atol=1e-5, rtol=1e-5)


def test_with_the_whole_context_codes_are_those_of_offline():
    stream = live_stream(lookahead_frames=9)
    samples = noise(32_000)
    due = stream.put(samples)
    features = encode_offline(stream.stream.encoder, samples, 16_000)
    offline = stream.head.speech(torch.from_numpy(features))
    assert len(due) == 50 - 1 - 9
    codes = torch.stack([frame.code for frame in due])
    torch.testing.assert_close(codes, offline[: len(due)], atol=1e-5, rtol=1e-5)


@settings(max_examples=30, deadline=None)
@given(RATES, st.integers(0, 9), st.integers(0, 9000))
def test_rest_always_completes_the_next_frame(rate, lookahead, pushed):
    stream = live_stream(rate, lookahead_frames=lookahead)
    run(stream, [pushed])
    before = stream.next_index
    assert len(stream.rest()) in (1, 2)
    assert stream.next_index > before


@settings(max_examples=20, deadline=None)
@given(RATES, st.integers(0, 4))
def test_a_frame_waits_for_its_look_ahead_and_no_longer(rate, lookahead):
    stream = live_stream(rate, lookahead_frames=lookahead)
    needed = None
    for sample in range(0, rate, rate // 200):  # 5 ms at a time
        if stream.put(noise(rate // 200)):
            needed = (sample + rate // 200) / rate
            break
    assert stream.lookahead_s == pytest.approx(0.08 + 0.04 * lookahead)
    assert stream.lookahead_s - 0.011 < needed <= stream.lookahead_s + 0.005


def test_an_interruption_forgets_what_is_not_shown_and_nothing_else():
    stream = live_stream()
    samples = noise(16_000)
    due = stream.put(samples)
    shown = due[:5]
    for frame in shown:
        stream.draw(frame)
    heard = np.concatenate([stream.take_sound(frame.index) for frame in shown])
    stream.interrupt(5, lost=123)
    assert stream.length == 5 * 640
    assert stream.pushed == 16_000 + 123
    following = stream.rest() + stream.rest() + stream.put(samples[:6400])
    assert [frame.index for frame in following[:4]] == [5, 6, 7, 8]
    later = np.concatenate([stream.take_sound(frame.index) for frame in following])
    np.testing.assert_array_equal(heard, samples[:3200])
    assert (later[: 640 * 5] == 0).all()
    speaking = next(frame for frame in following if frame.pushed is not None)
    assert 16_000 + 123 <= speaking.pushed < 16_000 + 123 + 640


def test_after_an_interruption_the_lips_go_to_rest_without_a_jump():
    stream = live_stream()
    due = stream.put(noise(16_000))
    stream.draw(due[9])
    stream.interrupt(10)
    codes = [due[9].code] + [frame.code for _ in range(12) for frame in stream.rest()]
    rest = codes[-1]
    away = [(code - rest).norm().item() for code in codes]
    assert away[0] > 0.01
    assert max(np.abs(np.diff(away))) < 0.4 * away[0]
    assert away[7] < 0.05 * away[0]


def test_memory_stays_the_same_for_as_long_as_it_runs():
    stream = live_stream()
    for _ in range(300):
        for frame in stream.put(noise(320)):
            stream.take_sound(frame.index)
    assert len(stream._sound) < 20
    assert stream.length == stream.pushed == 300 * 320


def test_a_look_ahead_no_head_can_use_is_refused():
    with pytest.raises(InputError, match=r"look-ahead of 10 frames .* can use 0 to 9"):
        live_stream(lookahead_frames=10)
