"""Draws Gaussians: one function, three back ends, one picture. What is only shown is drawn by
`frame_numba`, to the same picture.

The picture is defined by (the oracle, `raster_oracle`, is this text in PyTorch):

1.  A Gaussian with camera-space centre ``(x, y, z)`` and ``z < near`` is not drawn.
2.  EWA projection: ``cov2d = J cov3d J^T + eps2d I`` with ``J`` the Jacobian of the pinhole at the
    centre, whose ``x/z`` and ``y/z`` are first clamped to 1.3 times the view (0.3 half-views beyond
    the border), because the linearisation explodes off screen.
3.  At a pixel centre, ``alpha = min(ALPHA_MAX, opacity * exp(-d^T cov2d^-1 d / 2))``; less than
    ``ALPHA_MIN`` is nothing.
4.  From ``T = 1``, front to back by ``z`` (ties by index): ``rgb += T alpha colour``, then
    ``T *= 1 - alpha``. The first Gaussian that would bring ``T`` to ``TRANSMITTANCE_MIN`` or
    below is left out, with all behind it.
5.  ``rgb += T background``, ``alpha = 1 - T``.

The cuts in 1, 3 and 4 are not differentiated. Every constant is gsplat 1.5.3's.
Source: Zwicker et al. 2001 (EWA); Kerbl et al. 2023 (3DGS).
"""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from se4lip.head.splat.gaussians import Gaussians
from se4lip.head.splat.raster_config import RasterConfig
from se4lip.types import Camera, InputError

LARGEST = 1e6
SHORTEST_QUAT = 1e-12

Backend = Literal["auto", "oracle", "numba", "gsplat"]


DEFAULT = RasterConfig()


def rasterize(
    gaussians: Gaussians,
    camera: Camera,
    background: Float[Tensor, " C"] | Float[Tensor, "H W C"] | None = None,
    camera_from_head: Float[Tensor, "3 4"] | None = None,
    *,
    config: RasterConfig = DEFAULT,
    backend: Backend = "auto",
) -> tuple[Float[Tensor, "H W C"], Float[Tensor, "H W"]]:
    """Draws the Gaussians and returns ``(rgb, alpha)``, differentiable in every tensor.

    ``background`` is one colour or a picture behind the Gaussians, black if None.
    ``camera_from_head`` is the head's pose, the identity if None.

    ``auto`` is gsplat for CUDA tensors, numba for float32 on the CPU, else the oracle.

    Raises: InputError when values are not finite, a quaternion is zero, a scale is negative, an
    opacity lies outside [0, 1], shapes disagree, or the back end cannot take the tensors.
    """
    _check_inputs(gaussians, camera, background, camera_from_head)
    if background is None:
        background = gaussians.colours.new_zeros(gaussians.channels)
    if camera_from_head is None:
        camera_from_head = torch.eye(
            3, 4, dtype=gaussians.means.dtype, device=gaussians.means.device
        )
    chosen = choose_backend(gaussians.means) if backend == "auto" else backend
    if chosen == "oracle":
        from se4lip.head.splat.raster_oracle import rasterize_oracle

        return rasterize_oracle(gaussians, camera, background, camera_from_head, config)
    if chosen == "numba":
        from se4lip.head.splat.raster_numba import rasterize_numba

        return rasterize_numba(gaussians, camera, background, camera_from_head, config)
    if chosen == "gsplat":
        from se4lip.head.splat.raster_gsplat import rasterize_gsplat

        return rasterize_gsplat(gaussians, camera, background, camera_from_head, config)
    raise InputError(f"backend '{backend}' is unknown: choose auto, oracle, numba or gsplat")


def choose_backend(means: Tensor) -> Literal["oracle", "numba", "gsplat"]:
    """The back end that ``auto`` stands for, by the tensors' device and dtype."""
    if means.is_cuda:
        return "gsplat"
    compiled = means.device.type == "cpu" and means.dtype == torch.float32
    return "numba" if compiled else "oracle"


def _check_inputs(
    gaussians: Gaussians,
    camera: Camera,
    background: Tensor | None,
    camera_from_head: Tensor | None,
) -> None:
    if gaussians.means.dtype not in (torch.float32, torch.float64):
        raise InputError(
            f"Gaussians are {gaussians.means.dtype}, but torch.float32 or torch.float64 is "
            "needed: convert them"
        )
    channels = gaussians.channels
    picture = (camera.height_px, camera.width_px, channels)
    if background is not None and tuple(background.shape) not in ((channels,), picture):
        raise InputError(
            f"background has shape {list(background.shape)}, but [{channels}] or {list(picture)} "
            f"is needed for colours of {channels} channels"
        )
    if camera_from_head is not None and tuple(camera_from_head.shape) != (3, 4):
        raise InputError(
            f"camera_from_head has shape {list(camera_from_head.shape)}, but [3, 4] is needed: "
            "drop the last row of a 4x4 pose"
        )
    given = {
        **gaussians.tensors(),
        "background": background,
        "camera_from_head": camera_from_head,
    }
    for name, tensor in given.items():
        if tensor is None:
            continue
        if tensor.dtype != gaussians.means.dtype or tensor.device != gaussians.means.device:
            raise InputError(
                f"{name} is {tensor.dtype} on {tensor.device}, but means are "
                f"{gaussians.means.dtype} on {gaussians.means.device}: "
                "convert them to one dtype and device"
            )
        if tensor.numel() == 0:
            continue
        low, high = _range(tensor)
        if not max(-low, high) <= LARGEST:  # NaN fails every comparison
            raise InputError(
                f"{name} holds values that are NaN or beyond {LARGEST:g}: "
                "the fit has diverged, or the file is damaged"
            )
        if name == "scales" and low < 0:
            raise InputError(
                f"scales go down to {low:.3g}, but standard deviations are needed: "
                "pass exp(log_scales), not log_scales"
            )
        if name == "opacities" and not 0 <= low <= high <= 1:
            raise InputError(
                f"opacities lie in [{low:.3g}, {high:.3g}], but [0, 1] is needed: "
                "pass sigmoid(logits), not logits"
            )
        if name == "quats" and _shortest(tensor) < SHORTEST_QUAT:
            raise InputError("quats hold a zero quaternion, which is no rotation: use (1, 0, 0, 0)")


# On the CPU these two count in numpy: torch would wake its threads for it, and on a busy machine
# waiting for them takes longer than drawing the picture.


def _range(tensor: Tensor) -> tuple[float, float]:
    """Least and largest value; NaN when there is one."""
    tensor = tensor.detach()
    if tensor.device.type == "cpu":
        return float(tensor.numpy().min()), float(tensor.numpy().max())
    low, high = torch.stack(tensor.aminmax()).tolist()
    return low, high


def _shortest(vectors: Float[Tensor, "N D"]) -> float:
    """The least length."""
    vectors = vectors.detach()
    if vectors.device.type == "cpu":
        squares = np.einsum("nd,nd->n", vectors.numpy(), vectors.numpy())
        return math.sqrt(squares.min())
    return vectors.square().sum(1).amin().sqrt().item()
