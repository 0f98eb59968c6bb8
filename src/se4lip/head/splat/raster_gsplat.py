"""The CUDA back end: gsplat's own kernels, called so that they draw the picture of `raster`.

gsplat is an optional package (the extra ``gpu``) and builds itself with nvcc when it first draws.
It is called by the four public functions that its ``rasterization`` is made of. The alpha clamp,
the cuts and the frustum margin are compiled into gsplat: 1.5's are those of `raster`, 1.6 clamps at
0.99 and is turned away.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from se4lip.head.splat.gaussians import Gaussians
from se4lip.head.splat.raster_config import RasterConfig
from se4lip.types import Camera, InputError

TILE_PX = 16
VERSION = "1.5."


def rasterize_gsplat(
    gaussians: Gaussians,
    camera: Camera,
    background: Float[Tensor, " C"] | Float[Tensor, "H W C"],
    camera_from_head: Float[Tensor, "3 4"],
    config: RasterConfig,
) -> tuple[Float[Tensor, "H W C"], Float[Tensor, "H W"]]:
    """As `raster.rasterize`, which checks the inputs. Parity holds to about 1e-4: gsplat is built
    with ``-use_fast_math``.

    Raises: InputError when gsplat 1.5 is not installed or not built, or the tensors are not
    float32 on a CUDA device.
    """
    means = gaussians.means
    require_cuda(means)
    require_gsplat()
    from gsplat import (
        fully_fused_projection,
        isect_offset_encode,
        isect_tiles,
        rasterize_to_pixels,
    )

    width, height = camera.width_px, camera.height_px
    if len(gaussians) == 0:
        rgb = background.expand(height, width, gaussians.channels)
        return rgb, means.new_zeros(height, width)
    last_row = means.new_tensor([[0, 0, 0, 1]])
    lens = means.new_tensor(
        [[camera.focal_px, 0, camera.cx_px], [0, camera.focal_px, camera.cy_px], [0, 0, 1]]
    )
    radii, centres_px, depths, precisions, _ = fully_fused_projection(
        means,
        None,
        gaussians.quats,
        gaussians.scales,
        torch.cat([camera_from_head, last_row])[None],
        lens[None],
        width,
        height,
        eps2d=config.eps2d_px2,
        near_plane=config.near,
        opacities=gaussians.opacities,
    )
    tiles_x, tiles_y = -(-width // TILE_PX), -(-height // TILE_PX)
    _, pairs, rows = isect_tiles(centres_px, radii, depths, TILE_PX, tiles_x, tiles_y)
    rgb, alpha = rasterize_to_pixels(
        centres_px,
        precisions,
        gaussians.colours[None],
        gaussians.opacities[None],
        width,
        height,
        TILE_PX,
        isect_offset_encode(pairs, 1, tiles_x, tiles_y),
        rows,
    )
    return rgb[0] + (1 - alpha[0]) * background, alpha[0, ..., 0]


def require_cuda(means: Tensor) -> None:
    """Raises: InputError when gsplat's kernels cannot take ``means``."""
    if means.dtype != torch.float32 or not means.is_cuda:
        raise InputError(
            f"Gaussians are {means.dtype} on {means.device}, but the gsplat back end draws "
            "torch.float32 on cuda: convert them, or choose another back end"
        )


def require_gsplat() -> None:
    """Raises: InputError when gsplat is missing, of another version, or cannot build itself."""
    try:
        import gsplat
    except ImportError:
        raise InputError(
            "gsplat is not installed, and Gaussians on a CUDA device need it: "
            "pip install '.[gpu]' in se4lip's checkout, or move them to the CPU"
        ) from None
    if not gsplat.__version__.startswith(VERSION):
        raise InputError(
            f"gsplat {gsplat.__version__} is installed, but se4lip's picture is that of gsplat "
            f"{VERSION}x: pip install 'gsplat==1.5.3'"
        )
    toolkit = f"install the CUDA toolkit (nvcc) of torch's CUDA version, {torch.version.cuda}"
    try:
        from gsplat.cuda._backend import _C
    except Exception as error:  # of whatever its build stumbled over
        why = str(error).strip().splitlines() or [type(error).__name__]
        raise InputError(f"gsplat could not build its kernels ({why[0]}): {toolkit}") from error
    if _C is None:
        raise InputError(f"gsplat could not build its kernels: {toolkit}")
