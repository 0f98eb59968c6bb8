"""PSNR and SSIM: closed forms, the textbook sum as an oracle, torchmetrics' figures."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from se4lip.metrics.image import _gaussian, box_mask, pictures, psnr, ssim
from se4lip.types import InputError


def _noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize(("step", "data_range", "decibel"), [(0.1, 1, 20), (25.5, 255, 20)])
def test_psnr_of_a_constant_error_is_known(step: float, data_range: float, decibel: float) -> None:
    flat = torch.zeros(2, 3, 8, 8, dtype=torch.float64)
    assert psnr(flat + step, flat, data_range).tolist() == pytest.approx([decibel] * 2)


def test_psnr_is_per_picture_and_infinite_for_equal_ones() -> None:
    real = _noise(2, 3, 8, 8)
    predicted = real.clone()
    predicted[1] += 0.01
    assert psnr(predicted, real, 1).tolist() == pytest.approx([math.inf, 40])


def test_a_mask_sees_only_its_own_pixels() -> None:
    real = _noise(1, 3, 32, 40)
    predicted = real.clone()
    predicted[..., :16, :] = torch.nan  # outside
    predicted[..., 20:, 10:30] += 0.1
    mask = box_mask(torch.tensor([[10.0, 20.0, 30.0, 32.0]]), 32, 40)
    assert int(mask.sum()) == 20 * 12
    assert psnr(predicted, real, 1, mask).tolist() == pytest.approx([20])
    nothing = torch.zeros_like(mask)
    assert psnr(real, real + 0.1, 1, nothing).isnan().all()
    assert ssim(real, real + 0.1, 1, nothing).isnan().all()


def test_a_masked_ssim_is_the_mean_over_the_windows_centred_in_the_mask() -> None:
    real, predicted = _noise(1, 3, 24, 24), _noise(1, 3, 24, 24, seed=1)
    one = torch.zeros(1, 1, 24, 24, dtype=torch.bool)
    one[..., 12, 9] = True
    other = one.roll(3, -1)
    first, second, both = (ssim(predicted, real, 1, m).item() for m in (one, other, one | other))
    assert both == pytest.approx((first + second) / 2)
    predicted[..., :7, :] = torch.nan  # beyond the reach of its window
    assert ssim(predicted, real, 1, one).item() == pytest.approx(first)
    assert ssim(predicted, real, 1, one.roll(-1, -2)).isnan().all()


def test_ssim_of_two_flat_pictures_is_its_luminance_term() -> None:
    a, b = 0.2, 0.7
    flat = torch.ones(1, 1, 20, 20, dtype=torch.float64)
    expected = (2 * a * b + 1e-4) / (a * a + b * b + 1e-4)
    assert ssim(a * flat, b * flat, 1).item() == pytest.approx(expected)


def test_ssim_is_the_textbook_sum_over_windows() -> None:
    real, predicted = _noise(1, 1, 14, 13), _noise(1, 1, 14, 13, seed=1)
    x, y = (np.pad(each[0, 0].numpy(), 5, mode="reflect") for each in (predicted, real))
    at = np.arange(11) - 5
    weight = np.exp(-(at[:, None] ** 2 + at**2) / (2 * 1.5**2))
    weight /= weight.sum()
    values = []
    for top in range(14):
        for left in range(13):
            p, r = x[top : top + 11, left : left + 11], y[top : top + 11, left : left + 11]
            mp, mr = (weight * p).sum(), (weight * r).sum()
            vp, vr = (weight * (p - mp) ** 2).sum(), (weight * (r - mr) ** 2).sum()
            cov = (weight * (p - mp) * (r - mr)).sum()
            values.append(
                (2 * mp * mr + 1e-4)
                * (2 * cov + 9e-4)
                / ((mp**2 + mr**2 + 1e-4) * (vp + vr + 9e-4))
            )
    assert ssim(predicted, real, 1).item() == pytest.approx(np.mean(values), rel=1e-9)


@pytest.mark.parametrize("data_range", [1.0, 255.0])
def test_both_agree_with_torchmetrics(data_range: float) -> None:
    oracle = pytest.importorskip("torchmetrics.functional.image", reason="needs torchmetrics")
    real = data_range * _noise(3, 3, 40, 33)
    predicted = (real + 0.1 * data_range * _noise(3, 3, 40, 33, seed=1)).clamp(0, data_range)
    theirs = oracle.structural_similarity_index_measure(
        predicted, real, data_range=data_range, reduction="none"
    )
    assert ssim(predicted, real, data_range).tolist() == pytest.approx(theirs.tolist(), abs=1e-9)
    theirs = oracle.peak_signal_noise_ratio(
        predicted, real, data_range=data_range, dim=(1, 2, 3), reduction="none"
    )
    # torchmetrics rounds its logarithm of data_range to float32
    assert psnr(predicted, real, data_range).tolist() == pytest.approx(theirs.tolist(), abs=2e-6)


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 10_000), st.floats(0.01, 0.5))
def test_ssim_is_symmetric_bounded_and_one_only_for_equals(seed: int, noise: float) -> None:
    real = _noise(1, 3, 16, 16, seed=seed)
    other = (real + noise * (_noise(1, 3, 16, 16, seed=seed + 1) - 0.5)).clamp(0, 1)
    forth, back = ssim(other, real, 1).item(), ssim(real, other, 1).item()
    assert forth == pytest.approx(back, abs=1e-12)
    assert -1 <= forth < 1
    assert ssim(real, real, 1).item() == pytest.approx(1)


def test_eight_bit_frames_become_pictures_of_range_one() -> None:
    frames = np.zeros((2, 4, 6, 3), np.uint8)
    frames[0, 1, 2] = (255, 51, 0)
    made = pictures(frames)
    assert made.shape == (2, 3, 4, 6)
    assert made[0, :, 1, 2].tolist() == pytest.approx([1, 0.2, 0])


def test_pictures_that_cannot_be_compared_are_refused_in_one_sentence() -> None:
    picture = _noise(1, 3, 16, 16)
    with pytest.raises(InputError) as wrong:
        psnr(picture, picture[..., :-1], 1)
    assert str(wrong.value) == (
        "pictures have the shapes [1, 3, 16, 16] and [1, 3, 16, 15], but both must be "
        "[B, C, H, W] of one size: bring them to the same framing"
    )
    with pytest.raises(InputError) as wrong:
        ssim(picture[..., :5], picture[..., :5], 1)
    assert str(wrong.value) == (
        "pictures of 5x16 px are too small for the 11-px window of SSIM: "
        "give pictures of at least 6 px"
    )
    with pytest.raises(InputError, match="data_range is 0, but it must be positive: 1 or 255"):
        psnr(picture, picture, 0)


def test_similarity_can_teach_after_it_has_judged():
    a, b = torch.rand(2, 1, 3, 17, 19)
    _gaussian.cache_clear()
    with torch.inference_mode():
        ssim(a, b, 1.0)
    taught = a.clone().requires_grad_()
    ssim(taught, b, 1.0).sum().backward()
    assert taught.grad.abs().sum() > 0
