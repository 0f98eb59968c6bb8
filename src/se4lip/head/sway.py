"""What hair, neck and torso do as the head moves, which no rigid piece does.

Long hair hangs while the head nods under it, a neck bends, light and shadow change. The head's pose
alone says much of it: six numbers, which what is around the face follows linearly. The face itself
does not: few pictures cannot tell a pose from what was said just then, and a pose must not speak.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

SWAY_WIDTH = 6
FARTHEST = 3.0  # spreads: poses farther off than training went are held there
_STILL = 1e-3  # radians or centimetres: less than any tracker tells


class Sway(nn.Module):
    """The head's turn (sines about x, y, z) and place (cm) as a code of mean 0 and spread 1 in
    training."""

    mean: Tensor
    spread: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(SWAY_WIDTH))
        self.register_buffer("spread", torch.ones(SWAY_WIDTH))

    def forward(self, camera_from_head: Float[Tensor, "*B 3 4"]) -> Float[Tensor, "*B 6"]:
        code = (turn_and_place(camera_from_head) - self.mean) / self.spread
        return code.clamp(-FARTHEST, FARTHEST)

    def fit(self, camera_from_head: Float[Tensor, "M 3 4"]) -> None:
        numbers = turn_and_place(camera_from_head.double())
        self.mean.copy_(numbers.mean(0))
        self.spread.copy_(numbers.std(0, correction=0).clamp_min(_STILL))


def turn_and_place(camera_from_head: Float[Tensor, "*B 3 4"]) -> Float[Tensor, "*B 6"]:
    turn, place = camera_from_head[..., :3], camera_from_head[..., 3]
    twice = turn - turn.transpose(-1, -2)
    sines = torch.stack((twice[..., 2, 1], twice[..., 0, 2], twice[..., 1, 0]), dim=-1) / 2
    return torch.cat((sines, place), dim=-1)
