"""Where head points land in the picture: rigid poses and the pinhole camera.

A pose is ``camera_from_head`` ``[3, 4]``: ``x_camera = R @ x_head + t``. Axes as in `se4lip.types`:
the camera looks along +z, x right, y down.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from se4lip.types import Camera, InputError


def rotation_from_quat(quats: Float[Tensor, "N 4"]) -> Float[Tensor, "N 3 3"]:
    """Rotation matrices of quaternions (w, x, y, z) of any length."""
    w, x, y, z = (quats / quats.norm(dim=-1, keepdim=True)).unbind(-1)
    rows = [
        *(1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)),
        *(2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)),
        *(2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)),
    ]
    return torch.stack(rows, -1).unflatten(-1, (3, 3))


def compose(
    c_from_b: Float[Tensor, "*b 3 4"], b_from_a: Float[Tensor, "*b 3 4"]
) -> Float[Tensor, "*b 3 4"]:
    """``c_from_a``: first ``b_from_a``, then ``c_from_b``."""
    rotation = c_from_b[..., :3] @ b_from_a[..., :3]
    translation = c_from_b[..., :3] @ b_from_a[..., 3:] + c_from_b[..., 3:]
    return torch.cat([rotation, translation], -1)


def invert(b_from_a: Float[Tensor, "*b 3 4"]) -> Float[Tensor, "*b 3 4"]:
    """``a_from_b`` of a rigid pose (its rotation must be orthonormal)."""
    transposed = b_from_a[..., :3].transpose(-1, -2)
    return torch.cat([transposed, -transposed @ b_from_a[..., 3:]], -1)


def transform(
    b_from_a: Float[Tensor, "*b 3 4"], points_a: Float[Tensor, "*b n 3"]
) -> Float[Tensor, "*b n 3"]:
    """Carries points from frame ``a`` to frame ``b``."""
    return points_a @ b_from_a[..., :3].transpose(-1, -2) + b_from_a[..., None, :, 3]


def project_px(points: Float[Tensor, "*b 3"], camera: Camera) -> Float[Tensor, "*b 2"]:
    """Pixels of points in camera coordinates. Points need ``z > 0``; nothing is clipped."""
    principal = points.new_tensor([camera.cx_px, camera.cy_px])
    return camera.focal_px * points[..., :2] / points[..., 2:] + principal


def unproject(
    pixels: Float[Tensor, "*b 2"], depth: Float[Tensor, "*b"], camera: Camera
) -> Float[Tensor, "*b 3"]:
    """Camera coordinates of pixel positions at depth ``z``; undoes `project_px`."""
    principal = pixels.new_tensor([camera.cx_px, camera.cy_px])
    xy = (pixels - principal) * depth[..., None] / camera.focal_px
    return torch.cat([xy, depth[..., None]], -1)


def resized(camera: Camera, width_px: int, height_px: int) -> Camera:
    """The camera of the same view drawn at another size of the same aspect ratio.

    Raises: InputError when the aspect ratio changes by more than a pixel's rounding.
    """
    scale = width_px / camera.width_px
    if abs(camera.height_px * scale - height_px) > 1:
        raise InputError(
            f"a {camera.width_px}x{camera.height_px} camera cannot be resized to "
            f"{width_px}x{height_px}: keep the aspect ratio"
        )
    return Camera(
        focal_px=camera.focal_px * scale,
        cx_px=camera.cx_px * scale,
        cy_px=camera.cy_px * scale,
        width_px=width_px,
        height_px=height_px,
    )
