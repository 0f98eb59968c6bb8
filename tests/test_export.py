"""Exported encoders: torch's numbers for any length, batch and chunking."""

from dataclasses import replace

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import numpy_helper

from se4lip.audio.spectrogram import SpectrogramConfig
from se4lip.audio.timebase import Window
from se4lip.encoder.streaming import encode_offline
from se4lip.export.check import encode_with, session, stream_with
from se4lip.export.encoder import encoder_graph, step_graph
from small_models import SMALL, small_encoder, sound

WARM_UP = {"warm_up_frames": "1"}


@pytest.fixture(scope="module")
def encoder():
    return small_encoder()


@pytest.fixture(scope="module")
def whole(encoder):
    return session(encoder_graph(encoder).model({}))


@pytest.fixture(scope="module")
def step(encoder):
    return session(step_graph(encoder).model(WARM_UP))


def at_rest(step, batch=1):
    kinds = {"tensor(float)": np.float32, "tensor(double)": np.float64}
    return {v.name: np.zeros((batch, *v.shape[1:]), kinds[v.type]) for v in step.get_inputs()[1:]}


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(1, 12_000), min_size=1, max_size=3))
def test_both_graphs_give_torchs_features_for_any_batch_of_any_lengths(
    encoder, whole, step, lengths
):
    sounds = [sound(length, seed) for seed, length in enumerate(lengths)]
    for found in (encode_with(whole, sounds), stream_with(step, sounds)):
        for features, samples in zip(found, sounds, strict=True):
            expected = encode_offline(encoder, samples, 16_000)
            np.testing.assert_allclose(features, expected, rtol=0, atol=1e-5)


def test_a_minute_is_within_the_tolerance_from_its_first_frame_to_its_last(encoder, whole, step):
    samples = sound(60 * 16_000)
    expected = encode_offline(encoder, samples, 16_000)
    assert len(expected) == 1500
    for found in (encode_with(whole, [samples]), stream_with(step, [samples])):
        np.testing.assert_allclose(found[0], expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize(("frames", "pooled"), [(5, 4), (25, 2)])
def test_means_of_columns_are_exported_too(frames, pooled):
    encoder = small_encoder(replace(SMALL, window=Window(frames), pooled=pooled))
    samples = sound(20_000)
    expected = encode_offline(encoder, samples, 16_000)
    graphs = session(encoder_graph(encoder).model({})), session(step_graph(encoder).model(WARM_UP))
    for found in (encode_with(graphs[0], [samples]), stream_with(graphs[1], [samples])):
        np.testing.assert_allclose(found[0], expected, rtol=0, atol=1e-5)


@settings(max_examples=20, deadline=None)
@given(st.lists(st.integers(1, 9), min_size=1, max_size=6))
def test_steps_of_any_number_of_frames_make_the_same_stream(step, chunks):
    frames = sound(sum(chunks) * 640).reshape(1, -1, 640)
    at_once = step.run(None, {"frames": frames, **at_rest(step)})
    state, parts, at = at_rest(step), [], 0
    for chunk in chunks:
        features, *following = step.run(None, {"frames": frames[:, at : at + chunk], **state})
        state = dict(zip(state, following, strict=True))
        parts.append(features)
        at += chunk
    np.testing.assert_allclose(np.concatenate(parts, axis=1), at_once[0], rtol=0, atol=1e-6)
    for name, one, other in zip(state, state.values(), at_once[1:], strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-6, atol=1e-4, err_msg=name)


def test_the_fourier_basis_is_rounded_once(encoder):
    """An angle in float32 made quiet sounds beside loud ones five times less true."""
    model = onnx.load_from_string(encoder_graph(encoder).model({}))
    (conv,) = (node for node in model.graph.node if node.op_type == "Conv")
    (stored,) = (w for w in model.graph.initializer if w.name == conv.input[1])
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(400) / 400)
    exact = np.fft.rfft(np.diag(window / 100), n=512).T  # a full-scale sine has power 1
    error = numpy_helper.to_array(stored)[:, 0] - np.concatenate((exact.real, -exact.imag))
    assert np.abs(error).max() < 2**-24 * 0.01


def test_two_minutes_of_a_steady_tone_do_not_drift(encoder, step):
    """What a running mean in float32 fails: it stands still before it has arrived."""
    tone = (0.1 * np.sin(np.arange(640 * 250) * (2 * np.pi * 300 / 16_000))).astype(np.float32)
    frames, state = tone.reshape(1, -1, 640), at_rest(step)
    for _ in range(12):  # ten seconds each
        features, *following = step.run(None, {"frames": frames, **state})
        state = dict(zip(state, following, strict=True))
    expected = encode_offline(encoder, np.tile(tone, 12), 16_000)[-250:-1]
    np.testing.assert_allclose(features[0, 1:], expected, rtol=0, atol=2e-6)


@pytest.mark.parametrize(
    "changes",
    [
        {"window": Window(5, 0)},
        {"window": Window(5, 1)},
        {"window": Window(3, 2)},
        {"bidirectional": False},
        {"layers": 2, "hidden": 12},
        {"spectrogram": SpectrogramConfig(window_samples=512)},
        {"spectrogram": SpectrogramConfig(window_samples=320, fft_samples=320, floor_db=-60)},
    ],
    ids=str,
)
def test_every_configuration_of_the_encoder_is_exported(changes):
    encoder = small_encoder(replace(SMALL, **changes))
    sounds = [sound(20_000), sound(641, 1)]
    whole = session(encoder_graph(encoder).model({}))
    warm_up = {"warm_up_frames": str(max(0, encoder.config.window.lookahead_frames - 1))}
    step = session(step_graph(encoder).model(warm_up))
    for found in (encode_with(whole, sounds), stream_with(step, sounds)):
        for features, samples in zip(found, sounds, strict=True):
            expected = encode_offline(encoder, samples, 16_000)
            np.testing.assert_allclose(features, expected, rtol=0, atol=1e-5)


def test_the_live_feature_of_a_frame_needs_the_next_frame_and_no_more(step):
    """The look-ahead of 80 ms: frame t is decided by the sound before t/25 s + 80 ms."""
    frames = sound(20 * 640).reshape(1, -1, 640)
    changed = frames.copy()
    changed[:, 12:] = 0.5
    before, after = (step.run(None, {"frames": x, **at_rest(step)})[0] for x in (frames, changed))
    np.testing.assert_array_equal(before[:, :12], after[:, :12])
    assert np.abs(before[:, 12] - after[:, 12]).max() > 1e-3


def test_a_row_whose_state_is_zeroed_starts_anew(step):
    frames = np.stack([sound(10 * 640, seed).reshape(10, 640) for seed in (1, 2)])
    _, *following = step.run(None, {"frames": frames, **at_rest(step, 2)})
    state = dict(zip(at_rest(step), following, strict=True))
    for value in state.values():
        value[1] = 0
    again = step.run(None, {"frames": frames, **state})[0]
    fresh = step.run(None, {"frames": frames[1:], **at_rest(step)})[0]
    np.testing.assert_allclose(again[1], fresh[0], rtol=0, atol=1e-6)
    assert np.abs(again[0] - fresh[0]).max() > 1e-3
