"""Laying points onto points, and smoothing: answers that are known."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import puppet
from se4lip.face.rigid import nearest_rotations, similarities
from se4lip.face.smoothing import smoothed


def turns(count: int) -> np.ndarray:
    random = np.random.default_rng(4)
    return np.stack([puppet.rotation(*random.uniform(-1.5, 1.5, 3)) for _ in range(count)])


def test_a_similarity_is_found_again() -> None:
    random = np.random.default_rng(5)
    source, turned = random.normal(size=(6, 9, 3)), turns(6)
    scales, shifts = random.uniform(0.2, 5, 6), random.normal(size=(6, 3))
    target = scales[:, None, None] * source @ turned.mT + shifts[:, None]
    found = similarities(source, target)
    for got, want in zip(found, (turned, scales, shifts), strict=True):
        np.testing.assert_allclose(got, want, atol=1e-9)


def test_a_mirrored_shape_is_turned_and_never_mirrored() -> None:
    source = np.random.default_rng(6).normal(size=(3, 9, 3))
    turned, _, _ = similarities(source, source * [-1, 1, 1])
    np.testing.assert_allclose(np.linalg.det(turned), 1)


def test_a_stretched_rotation_gives_the_rotation_and_how_far_it_was_stretched() -> None:
    turned = turns(4)
    found, stretches = nearest_rotations(3 * turned)
    np.testing.assert_allclose(found, turned, atol=1e-12)
    np.testing.assert_allclose(stretches, 3)


@given(
    frames=st.integers(1, 80),
    slope=st.floats(-5, 5),
    start=st.floats(-100, 100),
    sigma_frames=st.just(0.0) | st.floats(1e-3, 25.0),
)
def test_smoothing_keeps_lines(
    frames: int, slope: float, start: float, sigma_frames: float
) -> None:
    line = (start + slope * np.arange(frames))[:, None]
    np.testing.assert_allclose(smoothed(line, sigma_frames), line, atol=1e-6)


@pytest.mark.parametrize("sigma_frames", [1.5, 3.0])
def test_smoothing_of_an_impulse_is_the_gaussian_window(sigma_frames: float) -> None:
    impulse = np.zeros((41, 1))
    impulse[20] = 1
    away = np.arange(41) - 20
    want = np.exp(-0.5 * (away / sigma_frames) ** 2)
    want[np.abs(away) > np.ceil(3 * sigma_frames)] = 0  # cut at three standard deviations
    got = smoothed(impulse, sigma_frames)[:, 0]
    np.testing.assert_allclose(got, want / want.sum(), atol=1e-12)
