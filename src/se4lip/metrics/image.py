"""How near two pictures are: PSNR and SSIM, of the whole picture or of a part of it.

Pictures are ``[B, C, H, W]`` of any floating-point type with values in ``[0, data_range]``; a mask
is ``[B, 1, H, W]`` and true where pixels count. Every figure is per picture, ``[B]``: average them
over a video last, as papers do.
"""

from __future__ import annotations

import functools

import numpy as np
import torch
from jaxtyping import Bool, Float, UInt8
from torch import Tensor
from torch.nn import functional

from se4lip.types import InputError

SSIM_WINDOW_PX = 11
SSIM_SIGMA_PX = 1.5


def psnr(
    predicted: Float[Tensor, "B C H W"],
    real: Float[Tensor, "B C H W"],
    data_range: float,
    mask: Bool[Tensor, "B 1 H W"] | None = None,
) -> Float[Tensor, " B"]:
    """Peak signal-to-noise ratio in dB of each picture; infinite for equal ones.

    NaN where the mask leaves no pixel.
    """
    _check(predicted, real, data_range)
    error = (predicted - real).square().mean(1, keepdim=True)
    mse = error.mean((1, 2, 3)) if mask is None else _masked_mean(error, mask)
    return 10 * torch.log10(data_range**2 / mse)


def ssim(
    predicted: Float[Tensor, "B C H W"],
    real: Float[Tensor, "B C H W"],
    data_range: float,
    mask: Bool[Tensor, "B 1 H W"] | None = None,
) -> Float[Tensor, " B"]:
    """Structural similarity of each picture, averaged over its channels; 1 for equal ones.

    Gaussian window of 11 pixels, sigma 1.5, K1 = 0.01, K2 = 0.03, one window centred on every
    pixel, the picture mirrored at its border. With a mask, the windows centred on its pixels
    count. NaN where none is left.

    Source: Wang, Bovik, Sheikh, Simoncelli, IEEE Trans. Image Processing 13 (2004), eq. 13; the
    border as in torchmetrics (the authors left out the windows that cross it).
    """
    _check(predicted, real, data_range)
    border = SSIM_WINDOW_PX // 2
    if min(predicted.shape[-2:]) <= border:
        raise InputError(
            f"pictures of {predicted.shape[-1]}x{predicted.shape[-2]} px are too small for the "
            f"{SSIM_WINDOW_PX}-px window of SSIM: give pictures of at least {border + 1} px"
        )
    predicted, real = (
        functional.pad(picture, (border,) * 4, mode="reflect") for picture in (predicted, real)
    )
    channels = predicted.shape[1]
    window = _gaussian(predicted.dtype, predicted.device)

    def local_mean(values: Tensor) -> Tensor:
        rows = functional.conv2d(
            values, window[:, None].expand(channels, 1, -1, 1), groups=channels
        )
        return functional.conv2d(rows, window.expand(channels, 1, 1, -1), groups=channels)

    mean_p, mean_r = local_mean(predicted), local_mean(real)
    variance_p = (local_mean(predicted * predicted) - mean_p * mean_p).clamp_min(0)
    variance_r = (local_mean(real * real) - mean_r * mean_r).clamp_min(0)
    covariance = local_mean(predicted * real) - mean_p * mean_r
    c1, c2 = (0.01 * data_range) ** 2, (0.03 * data_range) ** 2
    luminance = (2 * mean_p * mean_r + c1) / (mean_p.square() + mean_r.square() + c1)
    structure = (2 * covariance + c2) / (variance_p + variance_r + c2)
    similarity = (luminance * structure).mean(1, keepdim=True)
    return similarity.mean((1, 2, 3)) if mask is None else _masked_mean(similarity, mask)


def box_mask(
    boxes_px: Float[Tensor, "B 4"], height_px: int, width_px: int
) -> Bool[Tensor, "B 1 H W"]:
    """True for the pixels whose centres lie inside each box (left, top, right, bottom)."""
    x = torch.arange(width_px, device=boxes_px.device) + 0.5
    y = torch.arange(height_px, device=boxes_px.device) + 0.5
    left, top, right, bottom = boxes_px[:, :, None].unbind(1)
    across = (x >= left) & (x < right)
    down = (y >= top) & (y < bottom)
    return (down[:, :, None] & across[:, None, :])[:, None]


def pictures(frames: UInt8[np.ndarray, "B H W 3"]) -> Float[Tensor, "B 3 H W"]:
    """8-bit RGB frames as float32 pictures of data range 1."""
    return torch.from_numpy(np.ascontiguousarray(frames)).permute(0, 3, 1, 2).float() / 255


@functools.lru_cache(maxsize=8)
def _gaussian(dtype: torch.dtype, device: torch.device) -> Float[Tensor, " K"]:
    # Kept for later calls, which may want gradients though this one does not.
    with torch.inference_mode(False):
        offset = torch.arange(SSIM_WINDOW_PX, dtype=torch.float64) - SSIM_WINDOW_PX // 2
        window = torch.exp(-0.5 * (offset / SSIM_SIGMA_PX) ** 2)
        return (window / window.sum()).to(device, dtype)


def _masked_mean(
    values: Float[Tensor, "B 1 H W"], mask: Bool[Tensor, "B 1 H W"]
) -> Float[Tensor, " B"]:
    # torch.where, because 0 * NaN outside the mask would be NaN.
    kept = torch.where(mask, values, values.new_zeros(()))
    return kept.sum((1, 2, 3)) / mask.sum((1, 2, 3))


def _check(predicted: Tensor, real: Tensor, data_range: float) -> None:
    if predicted.shape != real.shape or predicted.ndim != 4:
        raise InputError(
            f"pictures have the shapes {list(predicted.shape)} and {list(real.shape)}, but both "
            "must be [B, C, H, W] of one size: bring them to the same framing"
        )
    if not data_range > 0:
        raise InputError(f"data_range is {data_range}, but it must be positive: 1 or 255")
