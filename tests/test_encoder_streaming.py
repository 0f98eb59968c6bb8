import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from se4lip.audio.timebase import Window
from se4lip.encoder.speech import SpeechEncoder, SpeechEncoderConfig
from se4lip.encoder.streaming import SpeechStream, encode_offline
from se4lip.types import InputError


@pytest.fixture(scope="module")
def encoder():
    torch.manual_seed(0)
    config = SpeechEncoderConfig(projection=16, hidden=16, embedding=8)
    return SpeechEncoder(config).eval().requires_grad_(False)


def noise(samples, seed=0):
    return (0.1 * np.random.default_rng(seed).standard_normal(samples)).astype(np.float32)


@settings(max_examples=40, deadline=None)
@given(
    st.sampled_from((16_000, 44_100, 48_000, 8_000)),
    st.lists(st.integers(0, 5000), min_size=1, max_size=8),
)
def test_streamed_equals_offline_for_any_chunking(encoder, rate, lengths):
    samples = noise(sum(lengths), len(lengths))
    stream = SpeechStream(encoder, rate)
    state, parts, at = stream.init(), [], 0
    for length in lengths:
        state, features = stream.step(state, samples[at : at + length])
        parts.append(features)
        at += length
    _, features = stream.finish(state)
    streamed = np.concatenate((*parts, features))
    assert len(streamed) == -(-len(samples) * 25 // rate)
    np.testing.assert_allclose(streamed, encode_offline(encoder, samples, rate), atol=2e-6)


@settings(max_examples=15, deadline=None)
@given(
    st.integers(0, 2),
    st.sampled_from((16_000, 44_100)),
    st.lists(st.sampled_from((0, 1, 640, 1764, 1280)), min_size=1, max_size=6),
)
def test_there_is_a_row_for_each_frame_that_has_begun_whatever_is_heard_ahead(ahead, rate, lengths):
    window = Window(lookahead_frames=ahead)
    config = SpeechEncoderConfig(projection=8, hidden=8, window=window)
    encoder, samples = SpeechEncoder(config).eval(), noise(sum(lengths))
    stream = SpeechStream(encoder, rate)
    state, rows = stream.init(), 0
    for start, length in zip(np.cumsum([0, *lengths]), lengths, strict=False):
        state, features = stream.step(state, samples[start : start + length])
        rows += len(features)
    rows += len(stream.finish(state)[1])
    assert rows == -(-len(samples) * 25 // rate)


def test_a_chunk_of_any_length_is_encoded_a_minute_at_a_time(encoder, monkeypatch):
    """Memory does not grow with it: what is heard at once is what memory is for."""
    samples, heard = noise(16_000 * 150), []
    stream = SpeechStream(encoder, 16_000)
    whole = encoder.clean
    monkeypatch.setattr(encoder, "clean", lambda *a: heard.append(len(a[0])) or whole(*a))
    state, features = stream.step(stream.init(), samples)
    assert len(heard) == 3
    assert max(heard) <= 60 * 100 + 100
    assert len(features) == 150 * 25 - 1
    monkeypatch.undo()
    state, parts = stream.init(), []
    for start in range(0, len(samples), 16_000):
        state, some = stream.step(state, samples[start : start + 16_000])
        parts.append(some)
    np.testing.assert_allclose(features, np.concatenate(parts), atol=2e-6)


@pytest.mark.parametrize("sound", [noise(1000), noise(0)], ids=["some", "none"])
def test_nothing_follows_the_end_of_a_stream(encoder, sound):
    stream = SpeechStream(encoder, 16_000)
    state, _ = stream.step(stream.init(), sound)
    ended, _ = stream.finish(state)
    for further in (lambda: stream.step(ended, sound), lambda: stream.finish(ended)):
        with pytest.raises(InputError) as error:
            further()
        assert str(error.value) == "this stream has ended: begin another with init()"
    stream.finish(state)  # the state before is as it was


def test_a_stream_goes_on_at_its_own_rate(encoder):
    state, other = SpeechStream(encoder, 16_000).init(), SpeechStream(encoder, 48_000)
    for further in (lambda: other.step(state, noise(640)), lambda: other.finish(state)):
        with pytest.raises(InputError) as error:
            further()
        assert str(error.value) == (
            "this stream was begun at 16000 Hz, and goes on at 48000 Hz: go on with the encoder "
            "that began it"
        )


def test_offline_equals_one_call_over_all_windows(encoder):
    samples = noise(16_000 * 3 + 77)
    at_once = encoder.features(torch.from_numpy(samples), 76).numpy()
    np.testing.assert_allclose(encode_offline(encoder, samples, 16_000), at_once, atol=2e-6)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 40), st.sampled_from((16_000, 48_000)))
def test_a_feature_hears_nothing_later_than_80_ms_after_its_frame(encoder, frame, rate):
    samples = noise(2 * rate)
    changed = samples.copy()
    until = (frame / 25 + 0.080) * rate
    changed[int(np.ceil(until)) :] = 1.0
    before = encode_offline(encoder, samples, rate)[: frame + 1]
    after = encode_offline(encoder, changed, rate)[: frame + 1]
    np.testing.assert_array_equal(before, after)


@pytest.mark.parametrize(("frames", "pooled"), [(5, 1), (5, 2), (5, 4), (12, 2), (25, 4)])
def test_means_of_columns_are_heard_in_step(frames, pooled):
    """Streamed as offline, as each window by itself, its newest columns among them."""
    torch.manual_seed(0)
    window = Window(frames)
    config = SpeechEncoderConfig(projection=8, hidden=8, embedding=8, window=window, pooled=pooled)
    encoder = SpeechEncoder(config).eval().requires_grad_(False)
    samples = noise(16_000 * 2 + 77)
    at_once = encoder.features(torch.from_numpy(samples), 51)
    np.testing.assert_allclose(encode_offline(encoder, samples, 16_000), at_once, atol=2e-6)
    columns, _ = encoder.clean(
        encoder.power_of_frames(torch.from_numpy(samples)[None], 51), encoder.initial_channel((1,))
    )
    for stride in (1, 3):
        every = encoder.embed(columns, stride)[0]
        assert len(every) == -(-51 // stride)
        for row in (0, 7, len(every) - 1):
            first = 4 * stride * row
            alone = encoder.embed(columns[:, first : first + config.window_columns])[0, 0]
            torch.testing.assert_close(every[row], alone, atol=1e-6, rtol=0)
    newest = columns.clone()
    newest[:, config.window_columns - 1] += 1
    assert (encoder.embed(newest)[0, 0] - encoder.embed(columns)[0, 0]).abs().max() > 1e-4


def test_a_mean_of_other_columns_than_a_frame_has_is_refused():
    with pytest.raises(InputError, match="the mean of 3 columns was asked for, but 1, 2 or 4 are"):
        SpeechEncoderConfig(pooled=3)


def test_a_feature_does_hear_what_is_inside_its_window(encoder):
    samples = noise(16_000)
    changed = samples.copy()
    changed[10 * 640 + 600 : 10 * 640 + 1100] = 1.0
    difference = encode_offline(encoder, samples, 16_000) - encode_offline(encoder, changed, 16_000)
    assert np.abs(difference[10]).max() > 1e-3
    assert np.abs(difference[8]).max() == 0


def test_a_click_is_seen_by_the_windows_that_contain_it_and_by_no_other(encoder):
    """What would catch a feature put on the wrong frame. Only the slow channel may remember it."""
    quiet = np.full(16_000 * 2, 1e-4, np.float32)
    click = quiet.copy()
    at = 25  # frame
    click[at * 640 + 320] = 0.5
    change = np.abs(encode_offline(encoder, click, 16_000) - encode_offline(encoder, quiet, 16_000))
    strength = change.max(1)
    window = encoder.config.window
    inside = slice(at - window.lookahead_frames + 1, at + window.past_frames + 1)
    assert (strength[: inside.start] == 0).all()
    assert strength[inside].min() > 5 * strength[inside.stop :].max()


def test_features_have_length_one(encoder):
    lengths = np.linalg.norm(encode_offline(encoder, noise(20_000), 16_000), axis=1)
    np.testing.assert_allclose(lengths, 1, atol=1e-6)


def test_the_state_never_grows_and_counts_exactly(encoder):
    stream = SpeechStream(encoder, 44_100)
    state, sizes, frames = stream.init(), set(), 0
    for _ in range(60):
        state, features = stream.step(state, np.zeros(44_100 // 3 + 1, np.float32))
        frames += len(features)
        sizes.add((len(state.samples), len(state.columns), len(state.resampler.tail)))
    assert max(size[0] for size in sizes) < 1000
    assert max(size[1] for size in sizes) < 40
    assert max(size[2] for size in sizes) < 3 * 221
    _, features = stream.finish(state)
    assert frames + len(features) == -(-60 * (44_100 // 3 + 1) * 25 // 44_100)


def test_no_sound_gives_no_features(encoder):
    assert encode_offline(encoder, np.zeros(0, np.float32), 16_000).shape == (0, 8)


@pytest.mark.parametrize(
    ("samples", "sentence"),
    [
        (np.zeros((10, 2), np.float32), "shape (10, 2), but one channel [S] is needed: average"),
        (np.zeros(10, np.int16), "samples are int16, but floating point in [-1, 1] is needed"),
        (np.array([0, np.nan], np.float32), "samples hold NaN or infinite values: repair"),
        (np.full(9, 8000.0), "samples are as large as 8000, but floating point sound must lie in"),
    ],
)
def test_what_cannot_be_heard_is_refused(encoder, samples, sentence):
    with pytest.raises(InputError) as error:
        encode_offline(encoder, samples, 16_000)
    assert sentence in str(error.value)


def test_samples_may_lie_in_memory_as_they_like(encoder, recwarn):
    samples = np.random.default_rng(0).uniform(-0.5, 0.5, 32_000).astype(np.float32)
    whole = encode_offline(encoder, samples[::-1].copy(), 16_000)
    for one in (samples[::-1], list(map(float, samples[::-1]))):
        np.testing.assert_allclose(encode_offline(encoder, one, 16_000), whole, atol=1e-5)
    encode_offline(encoder, np.frombuffer(samples.tobytes(), np.float32), 16_000)
    assert not list(recwarn), "torch does not like what cannot be written"


@pytest.mark.parametrize("rate", ["16000", None, True, 24, 0, -1, 16_000.5])
def test_what_is_no_rate_is_refused(encoder, rate):
    with pytest.raises(InputError, match=r"^sample rate .*pass the true rate$"):
        encode_offline(encoder, np.zeros(16_000, np.float32), rate)


def test_a_rate_may_be_a_whole_number_of_any_kind(encoder):
    samples = np.random.default_rng(0).uniform(-0.5, 0.5, 48_000).astype(np.float32)
    whole = encode_offline(encoder, samples, 48_000)
    for rate in (48_000.0, np.float64(48_000), np.int64(48_000)):
        np.testing.assert_array_equal(encode_offline(encoder, samples, rate), whole)
