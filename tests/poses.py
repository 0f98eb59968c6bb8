"""Poses for tests."""

from __future__ import annotations

import torch
from torch import Tensor


def pose_from_vector(rotation: Tensor, translation: Tensor) -> Tensor:
    """[3, 4]: turned about ``rotation`` by its length in radians, then moved."""
    x, y, z = rotation.unbind()
    zero = torch.zeros_like(x)
    cross = torch.stack((zero, -z, y, z, zero, -x, -y, x, zero)).view(3, 3)
    return torch.cat((torch.linalg.matrix_exp(cross), translation[:, None]), dim=1)
