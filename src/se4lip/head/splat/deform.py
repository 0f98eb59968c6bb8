"""How Gaussians follow a code: each has a few directions it can go, a small network says how far.

A branch moves a contiguous run of Gaussians, which may overlap another's, and is driven by one
code: the face branch and the mouth-interior branch by what is said, the eye branch by blinks, gaze
and brows, the look branch by hair and light (branches: Li et al. 2024, TalkingGaussian), the
swaying branch by the head's pose. For frame ``t`` every Gaussian's change
is a weighted sum of its own learned vectors. The weights, the code itself and a few numbers that a
small network makes of it, are the same for all, so a frame costs one matrix product.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

MEAN, COLOUR, LOG_SCALE, OPACITY = slice(0, 3), slice(3, 6), slice(6, 9), slice(9, 10)
CHANGES = 10  # of a Gaussian: the four above


@dataclass(frozen=True)
class BranchConfig:
    """Gaussians ``[start, stop)`` follow a code of ``code_width`` numbers; ``curves`` is how many
    nonlinear functions of the code there are, 0 for a linear branch."""

    start: int
    stop: int
    code_width: int
    curves: int = 12
    hidden: int = 32


class Branch(nn.Module):
    """Changes of a run of Gaussians, as a function of one code.

    ``share`` [n] in [0, 1] fades the branch out towards its border, where others take over.
    """

    share: Tensor
    origin: Tensor

    def __init__(self, config: BranchConfig) -> None:
        super().__init__()
        self.config = config
        count = config.stop - config.start
        self.register_buffer("share", torch.ones(count))
        self.register_buffer("origin", torch.zeros(config.code_width))
        self.vectors = nn.Parameter(torch.zeros(config.code_width + config.curves, count, CHANGES))
        if config.curves:
            self.curves = nn.Sequential(
                nn.Linear(config.code_width, config.hidden),
                nn.SiLU(),
                nn.Linear(config.hidden, config.curves),
                nn.Tanh(),
            )

    def weights(self, code: Float[Tensor, "*B K"]) -> Float[Tensor, "*B J"]:
        """The code relative to the canonical one, and its curves, which are zero there."""
        offset = code - self.origin
        if not self.config.curves:
            return offset
        bent = self.curves(offset) - self.curves(torch.zeros_like(self.origin))
        return torch.cat((offset, bent), dim=-1)

    def forward(self, code: Float[Tensor, " K"]) -> Float[Tensor, "n 10"]:
        change = (self.weights(code) @ self.vectors.flatten(1)).view(-1, CHANGES)
        return change * self.share[:, None]

    def bind(self, basis: Float[Tensor, "K n 3"]) -> None:
        """Lets the means start out following the code linearly."""
        with torch.no_grad():
            self.vectors[: self.config.code_width, :, MEAN] = basis
