"""Layouts: what each row of a file holds, and that the networks which read it see time in it."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from se4lip.dropin import maps
from se4lip.dropin.layouts import Layout, lay_out, moments

WINDOWS = [Layout("", "window", width) for width in (29, 32, 44)]


def features(frames: int, seed: int = 0) -> np.ndarray:
    rows = np.random.default_rng(seed).normal(size=(frames, 512))
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def first_convolution(rows: np.ndarray) -> np.ndarray:
    """[N, 16, C] -> [N, 32, 8]: how every AudioNet begins, after the loader's permute(0, 2, 1).

    AD-NeRF NeRFs/HeadNeRF/run_nerf_helpers.py; the same in RAD-NeRF nerf/network.py, ER-NeRF and
    SyncTalk nerf_triplane/network.py, TalkingGaussian scene/motion_net.py, GaussianTalker
    scene/networks.py and GeneFace modules/nerfs/lm3d_nerf/cond_encoder.py.
    """
    torch.manual_seed(0)
    convolution = nn.Conv1d(rows.shape[2], 32, kernel_size=3, stride=2, padding=1).double()
    with torch.no_grad():
        return convolution(torch.from_numpy(rows).double().permute(0, 2, 1)).numpy()


@pytest.mark.parametrize("layout", WINDOWS, ids=lambda layout: str(layout.width))
def test_a_window_holds_eight_frames_of_twice_its_width(layout):
    speech = features(20)
    rows = lay_out(layout, speech, 20)
    narrowed = maps.narrow(speech, 2 * layout.width)
    assert rows.shape == (20, 16, layout.width)
    np.testing.assert_array_equal(rows[10].reshape(8, 2 * layout.width), narrowed[6:14])


@pytest.mark.parametrize("layout", WINDOWS, ids=lambda layout: str(layout.width))
def test_the_first_convolution_of_a_window_runs_along_time(layout):
    """Output o of row i is output o + 1 of row i - 1, the same moment (o = 0 has a padded side)."""
    outputs = first_convolution(lay_out(layout, features(30), 30))
    np.testing.assert_allclose(outputs[6:24, :, 1:-1], outputs[5:23, :, 2:], atol=1e-12)


def test_the_first_convolution_meets_each_frame_whole_and_once_with_its_past():
    speech = features(30)
    moved = speech.copy()
    moved[15] = features(1, seed=9)[0]
    layout = Layout("", "window", 32)
    changed = first_convolution(lay_out(layout, moved, 30)) - first_convolution(
        lay_out(layout, speech, 30)
    )
    row, output = np.nonzero(np.abs(changed).max(axis=1) > 1e-9)
    # Frame 15 is output 19 - i of row i; the next output still sees its second half.
    assert set(zip(row.tolist(), output.tolist(), strict=True)) == {
        (i, o) for i in range(12, 20) for o in (19 - i, 20 - i) if o < 8
    }


def test_a_pair_is_the_frame_and_the_moment_20_ms_later():
    speech = features(6)
    rows = lay_out(Layout("", "pair", 1024), speech, 6)
    assert rows.shape == (6, 2, 1024)
    np.testing.assert_array_equal(rows[:, 0], maps.wide(speech))
    np.testing.assert_allclose(rows[:-1, 1], (rows[:-1, 0] + rows[1:, 0]) / 2, rtol=0, atol=1e-6)
    np.testing.assert_array_equal(rows[-1, 1], rows[-1, 0])


def test_pairs_are_half_frames_two_by_two():
    speech = features(9)
    half_frames = lay_out(Layout("", "half_frame", 1024), speech, 9)
    assert half_frames.shape == (18, 1024)
    pairs = lay_out(Layout("", "pair", 1024), speech, 9)
    np.testing.assert_array_equal(half_frames.reshape(-1, 2, 1024), pairs)


def test_a_chunk_at_20_hz_surrounds_the_time_of_its_frame():
    """One number that grows by a frame a frame reads back the moments, in frames of 40 ms."""
    ramp = np.zeros((101, 512), np.float32)
    ramp[:, 0] = np.arange(101)
    layout = Layout("", "chunk", 512)
    rows = lay_out(layout, ramp, layout.frames_heard(101))
    assert rows.shape == (81, 16, 512)
    frame = 40  # at 40 / 20 = 2 s, which is frame 50 of 25 a second
    np.testing.assert_allclose(rows[frame, :, 0] / np.float32(maps.GAIN), np.arange(42, 58))
    np.testing.assert_allclose(rows[41, 8, 0] / np.float32(maps.GAIN), 51.25)


@pytest.mark.parametrize(("heard", "frames"), [(1, 1), (4, 4), (5, 4), (6, 5), (25, 20), (26, 21)])
def test_a_frame_begun_at_20_hz_counts(heard, frames):
    assert Layout("", "chunk", 512).frames_heard(heard) == frames


@pytest.mark.parametrize(
    "layout",
    [*WINDOWS, Layout("", "pair", 1024), Layout("", "frame", 512), Layout("", "chunk", 512)],
    ids=lambda layout: f"{layout.kind}{layout.width}",
)
def test_rows_beyond_the_sound_hold_its_last_moment(layout):
    rows = lay_out(layout, features(10), 40)
    assert len(rows) == 40
    held = lay_out(layout, np.repeat(features(10)[-1:], 3, axis=0), 1)[0]
    np.testing.assert_allclose(rows[-1], held, atol=1e-5)


@settings(max_examples=50, deadline=None)
@given(st.integers(2, 30), st.floats(-5, 40, allow_nan=False))
def test_moments_lie_between_their_neighbours(frames, at):
    ramp = np.repeat(np.arange(frames, dtype=np.float32)[:, None], 512, axis=1)
    got = moments(ramp, np.array([at]))
    np.testing.assert_allclose(got, np.clip(at, 0, frames - 1), atol=1e-5)


def test_moments_on_a_frame_are_the_frame_exactly():
    speech = features(12)
    np.testing.assert_array_equal(moments(speech, np.arange(12.0)), speech)
