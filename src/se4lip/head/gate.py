"""When a mouth may move: evidence of speech, and how much of it is asked for.

What leaks through a gate in music or rain are long runs of weak evidence; speech is sure of itself
again and again. So weak evidence counts only near strong evidence, as in Canny's edges (1986). How
strong that must be depends on what was heard of late: a word out of silence is believed at once, a
word out of music must be plain.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

STRETCH = 1.2  # of the gate's sigmoid, so that it can shut and open wholly
CERTAIN_ROWS = (25, 3)  # back and ahead, within which speech must have been certain
NOISE_ROWS = 25  # over which the log odds of noise are averaged
NOISE_LIMIT = 4.0  # of these log odds, so that a click is none
NOISY = (0.5, 1.5)  # such means begin to be noise, and are noise
NOISE_MEMORY_ROWS = 75  # back, within which noise is not forgotten
NOISE_CONTEXT = NOISE_ROWS - 1 + NOISE_MEMORY_ROWS  # rows back that `noisy` depends on


def opened(heed: Float[Tensor, "*B T"]) -> Float[Tensor, "*B T"]:
    """How far the gate is open, 0 to 1, for log odds that somebody speaks."""
    return (STRETCH * (heed.sigmoid() - 0.5) + 0.5).clamp(0, 1)


def certain(
    heed: Float[Tensor, "*B T"], certainty: Float[Tensor, ""] | Float[Tensor, "*B T"]
) -> Float[Tensor, "*B T"]:
    """Log odds that somebody speaks, lowered where nobody was certain to within a second."""
    back, ahead = CERTAIN_ROWS
    held = functional.pad(_rows(heed), (back, ahead), mode="replicate")
    best = functional.max_pool1d(held, back + ahead + 1, stride=1).reshape(heed.shape)
    return torch.minimum(heed, best - certainty)


def noisy(noise: Float[Tensor, "*B T"]) -> Float[Tensor, "*B T"]:
    """How much noise was heard of late, 0 to 1, from log odds that a row is of such.

    Before the first row nothing was heard.
    """
    limited = functional.pad(_rows(noise.clamp(-NOISE_LIMIT, NOISE_LIMIT)), (NOISE_ROWS - 1, 0))
    mean = functional.avg_pool1d(limited, NOISE_ROWS, stride=1)
    held = functional.pad(mean, (NOISE_MEMORY_ROWS, 0), value=-NOISE_LIMIT)
    worst = functional.max_pool1d(held, NOISE_MEMORY_ROWS + 1, stride=1).reshape(noise.shape)
    low, high = NOISY
    return ((worst - low) / (high - low)).clamp(0, 1)


def _rows(values: Float[Tensor, "*B T"]) -> Float[Tensor, "N 1 T"]:
    return values.reshape(-1, 1, values.shape[-1])
