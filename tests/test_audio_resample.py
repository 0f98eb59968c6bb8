import numpy as np
import pytest
import soxr
from hypothesis import given, settings
from hypothesis import strategies as st

from se4lip.audio import resample as resampling
from se4lip.audio.resample import REACH_S, _phases, _reach, resample, start_resampling
from se4lip.types import InputError

RATES = (8_000, 11_025, 12_345, 15_999, 22_050, 44_100, 44_101, 48_000, 96_000, 191_999)


def whole(samples, rate):
    return resample(start_resampling(rate), samples, last=True)[1]


@pytest.mark.parametrize("rate", RATES)
def test_a_tone_stays_the_same_tone(rate):
    time = np.arange(rate) / rate
    out = whole(np.sin(2 * np.pi * 1000 * time).astype(np.float32), rate)
    expected = np.sin(2 * np.pi * 1000 * np.arange(16_000) / 16_000)
    np.testing.assert_allclose(out[200:-200], expected[200:-200], atol=1e-4)  # -80 dB


@pytest.mark.parametrize("rate", (44_100, 48_000))
def test_what_16_khz_cannot_hold_is_gone(rate):
    time = np.arange(rate) / rate
    out = whole(np.sin(2 * np.pi * 9000 * time).astype(np.float32), rate)
    assert np.abs(out[200:-200]).max() < 1e-4


@pytest.mark.parametrize("rate", RATES)
def test_it_agrees_with_soxr_in_the_speech_band(rate):
    random = np.random.default_rng(0)
    slow = random.standard_normal(rate // 16).astype(np.float32)
    samples = np.clip(soxr.resample(slow, 1000, rate), -1, 1).astype(np.float32)  # below 500 Hz
    ours, theirs = whole(samples, rate), soxr.resample(samples, rate, 16_000)
    length = min(len(ours), len(theirs))
    np.testing.assert_allclose(ours[200 : length - 200], theirs[200 : length - 200], atol=2e-3)


@settings(max_examples=30, deadline=None)
@given(st.sampled_from((*RATES, 16_000)), st.lists(st.integers(0, 3000), min_size=1, max_size=8))
def test_chunking_changes_nothing_and_the_length_is_exact(rate, lengths):
    samples = np.random.default_rng(sum(lengths)).standard_normal(sum(lengths)).astype(np.float32)
    state, parts, at = start_resampling(rate), [], 0
    for length in lengths:
        state, out = resample(state, samples[at : at + length])
        parts.append(out)
        at += length
    state, out = resample(state, samples[:0], last=True)
    chunked = np.concatenate((*parts, out))
    assert len(chunked) == -(-len(samples) * 16_000 // rate)
    np.testing.assert_array_equal(chunked, whole(samples, rate))


@given(st.sampled_from(RATES), st.integers(500, 5000))
@settings(max_examples=20, deadline=None)
def test_output_waits_no_longer_than_the_reach(rate, samples):
    _, out = resample(start_resampling(rate), np.zeros(samples, np.float32))
    waiting_s = samples / rate - len(out) / 16_000
    assert waiting_s <= REACH_S + 2 / rate + 1 / 16_000


def test_state_does_not_grow():
    state = start_resampling(44_100)
    sizes = set()
    for _ in range(50):
        state, _ = resample(state, np.zeros(4410, np.float32))
        sizes.add(len(state.tail))
    assert max(sizes) < 3 * REACH_S * 44_100


@pytest.mark.parametrize(
    ("rate", "sentence"),
    [
        (0, "sample rate 0 Hz is not a whole positive number: pass the true rate"),
        (-8000, "sample rate -8000 Hz is not a whole"),
        (44_100.5, "sample rate 44100.5 Hz is not a whole"),
        (float("nan"), "sample rate nan Hz is not a whole"),
        (float("inf"), "sample rate inf Hz is not a whole"),
        (384_025, "sample rate 384025 Hz is above 384000 Hz, the highest that can be taken: resam"),
        (10**12, "sample rate 1000000000000 Hz is above 384000 Hz"),
        (24, "sample rate 24 Hz is below 25 Hz, and no speech has less than some thousand: pass"),
    ],
)
def test_a_rate_that_no_sound_has_is_refused(rate, sentence):
    with pytest.raises(InputError) as error:
        start_resampling(rate)
    assert str(error.value).startswith(sentence)


@given(st.integers(25, 384_000))
def test_every_rate_is_taken_and_none_needs_more_than_10_mb(rate):
    assert start_resampling(rate).rate_hz == rate
    assert _phases(rate) * 2 * _reach(rate) * 4 <= 10_000_000


@pytest.mark.parametrize("rate", [15_999, 48_001, 191_999])
def test_weights_between_the_rows_of_a_table_are_those_of_a_whole_table(rate, monkeypatch):
    samples = np.random.default_rng(0).uniform(-1, 1, rate // 4).astype(np.float32)
    blended, small = whole(samples, rate), _phases(rate)
    monkeypatch.setattr(resampling, "_LARGEST_TABLE", 10**9)
    resampling._kernels.cache_clear()
    assert _phases(rate) == 16_000 > 4 * small
    exact = whole(samples, rate)
    resampling._kernels.cache_clear()
    assert np.abs(exact).max() > 0.2
    np.testing.assert_allclose(blended, exact, atol=1e-6)


@pytest.mark.parametrize("rate", [8_000, 11_025, 44_100, 48_000])
def test_no_output_waits_for_a_sample_later_than_5_ms_after_it(rate):
    state, given = start_resampling(rate), 0
    for taken in range(1, rate // 20):
        state, out = resample(state, np.zeros(1, np.float32))
        for _ in range(len(out)):
            assert (taken - 1) / rate <= given / 16_000 + 0.005 + 1e-9
            given += 1
    assert given > 500
