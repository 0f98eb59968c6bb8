"""Where somebody speaks, on levels whose answer is known."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from se4lip.audio.voice_activity import frame_level_db, speech_frames, speech_in_frames
from se4lip.types import SAMPLES_PER_FRAME


def levels(*frames_and_db: tuple[int, float]) -> np.ndarray:
    """Square waves: of each level so many frames. Their RMS is their height."""
    heights = [10 ** (db / 20) for frames, db in frames_and_db for _ in range(frames)]
    sign = np.tile([1, -1], SAMPLES_PER_FRAME // 2)
    return np.concatenate([height * sign for height in heights]).astype(np.float32)


def test_the_level_of_a_frame_is_that_of_its_rms():
    samples = levels((2, -20.0), (1, -50.0))
    np.testing.assert_allclose(frame_level_db(samples), [-20, -20, -50], atol=1e-3)
    assert frame_level_db(np.zeros(640, np.float32)) == [-120]
    half = frame_level_db(samples[: 640 + 320])  # the missing half of a frame is silence
    np.testing.assert_allclose(half, [-20, -20 - 10 * np.log10(2)], atol=1e-3)


def test_what_stands_out_of_a_quiet_room_is_speech():
    found = speech_frames(levels((10, -55.0), (12, -20.0), (10, -55.0)))
    assert found[10:22].all() and not found[:10].any() and not found[22:].any()


@pytest.mark.parametrize(("gap", "filled"), [(1, True), (3, True), (4, False), (10, False)])
def test_short_gaps_belong_to_the_speech_around_them(gap, filled):
    found = speech_frames(levels((20, -55.0), (10, -20.0), (gap, -55.0), (10, -20.0), (20, -55.0)))
    assert found[30 : 30 + gap].all() == filled
    assert not found[:20].any() and not found[-20:].any()


@pytest.mark.parametrize("samples", [levels((50, -30.0)), np.zeros(640 * 50, np.float32)])
def test_a_steady_sound_is_none(samples):
    assert not speech_frames(samples).any()


def test_whispers_under_the_floor_are_none():
    assert not speech_frames(levels((20, -90.0), (20, -65.0), (20, -90.0))).any()


def test_of_no_samples_there_are_no_frames():
    assert speech_frames(np.zeros(0, np.float32)).shape == (0,)


@given(st.integers(0, 60), st.floats(-12, 6))
def test_a_video_has_its_own_length_and_gain_changes_nothing(frames, gain_db):
    samples = levels((10, -50.0), (12, -20.0), (10, -50.0))
    found = speech_in_frames(samples, frames)
    assert found.shape == (frames,)
    np.testing.assert_array_equal(found[:32], speech_frames(samples)[:frames])
    assert not found[32:].any()
    louder = (samples * 10 ** (gain_db / 20)).astype(np.float32)
    np.testing.assert_array_equal(speech_frames(louder), speech_frames(samples))
