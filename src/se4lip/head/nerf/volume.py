"""Light along rays: densities and colours of samples become the colour of a pixel.

A ray crosses ``S`` samples front to back; sample ``i`` fills ``length_i`` centimetres of it with
density ``sigma_i`` per centimetre. It hides ``alpha_i = 1 - exp(-sigma_i length_i)`` of what is
behind it and is itself seen through what is in front, ``T_i = prod over j < i of (1 - alpha_j)``.
Source: Max 1995, as used by Mildenhall et al. 2020, equation 3.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional


def weights(
    density: Float[Tensor, "*r S"], length: Float[Tensor, "*r S"]
) -> tuple[Float[Tensor, "*r S"], Float[Tensor, "*r"]]:
    """What each sample adds to its pixel, and what passes all of them; together they are 1.

    Worked out as a sum of optical depths, so that an opaque sample gives 1 and no gradient is
    divided by a transmittance of zero.
    """
    depth = density * length
    ahead = functional.pad(depth.cumsum(-1), (1, 0))
    seen = torch.exp(-ahead)
    return -torch.expm1(-depth) * seen[..., :-1], seen[..., -1]


def composite(
    density: Float[Tensor, "*r S"],
    length: Float[Tensor, "*r S"],
    colour: Float[Tensor, "*r S C"],
    behind: Float[Tensor, "*r C"],
) -> tuple[Float[Tensor, "*r C"], Float[Tensor, "*r"]]:
    """The pixel's colour over what is ``behind`` it, and how much of that is seen."""
    share, through = weights(density, length)
    return (share[..., None] * colour).sum(-2) + through[..., None] * behind, through
