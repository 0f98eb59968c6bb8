"""Sounds that nobody speaks: what is promised of all of them, and what each is made for."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from se4lip.audio.ambience import KEPT_OUT, KINDS, LEARNED, ambience, at_level
from se4lip.types import SAMPLE_RATE_HZ, InputError


@pytest.mark.parametrize("kind", sorted(set(KINDS) - {"silence"}))
def test_every_kind_is_finite_and_has_rms_1(kind):
    sound = ambience(kind, 40_000, 7)
    assert sound.shape == (40_000,) and sound.dtype == np.float32
    assert np.square(sound, dtype=np.float64).mean() == pytest.approx(1, rel=1e-4)


def test_silence_is_silent():
    assert not ambience("silence", 1000, 0).any()


@pytest.mark.parametrize("kind", sorted(set(KINDS) - {"silence"}))
def test_a_seed_gives_one_sound_and_another_seed_another(kind):
    first, again, other = (ambience(kind, 16_000, seed) for seed in (3, 3, 4))
    np.testing.assert_array_equal(first, again)
    assert abs(np.corrcoef(first, other)[0, 1]) < 0.5


def test_what_is_kept_out_is_not_learned():
    assert not set(KEPT_OUT) & set(LEARNED)
    assert set(KINDS) == set(KEPT_OUT) | set(LEARNED)


@settings(max_examples=20, deadline=None)
@given(kind=st.sampled_from(sorted(KINDS)), samples=st.integers(1, 9000), seed=st.integers(0, 99))
def test_any_length_can_be_made(kind, samples, seed):
    sound = ambience(kind, samples, seed)
    assert sound.shape == (samples,) and np.isfinite(sound).all()


@given(st.floats(-80, -20))
def test_a_level_is_an_rms(level_db):
    sound = at_level(np.tile(np.float32([1, -1]), 500), level_db)
    assert 20 * np.log10(np.abs(sound)).mean() == pytest.approx(level_db, abs=1e-3)


def test_sounds_are_added_to_speech_and_clipped():
    beside = np.float32([0, 0.25, 0.99, -0.99])
    mixed = at_level(np.float32([1, 1, 1, -1]), -12.0, beside)
    gain = 10 ** (-12 / 20)
    np.testing.assert_allclose(mixed, [gain, 0.25 + gain, 1, -1], rtol=1e-6)


def test_hum_stands_on_the_mains_and_breath_comes_and_goes():
    hum = np.abs(np.fft.rfft(ambience("hum", 2 * SAMPLE_RATE_HZ, 1)))
    assert (hum.argmax() / 2) % 50 in (0, 10, 20, 40) or (hum.argmax() / 2) % 60 == 0
    loudness = np.abs(ambience("breath", 10 * SAMPLE_RATE_HZ, 1)).reshape(100, -1).mean(1)
    assert loudness.min() < 0.02 * loudness.max()


def test_an_unknown_kind_is_refused():
    with pytest.raises(InputError, match="there is no ambience 'parrot'; one of silence, room"):
        ambience("parrot", 10, 0)
