"""Mouth codes while features still come in: each one as soon as a stated number of rows behind it
is known.

A head's `speech` looks ahead. Live, a row's code is what `speech` makes of all rows up to
``lookahead_frames`` behind it and no more, which is exact for `CONTEXT_FRAMES` and nearly so for
less (docs/live.md has the figures).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from se4lip.head.base import Head
from se4lip.head.speech_window import CONTEXT_FRAMES


@dataclass(frozen=True)
class HearingState:
    """The rows that codes still to come depend on. Their number never grows."""

    features: Float[Tensor, "T D"]
    given: int = 0  # rows of `features` whose codes are out


def start_hearing(head: Head) -> HearingState:
    return HearingState(torch.zeros((0, head.feature_width)))


@torch.inference_mode()
def hear(
    head: Head, state: HearingState, features: Float[Tensor, "T D"], lookahead_frames: int
) -> tuple[HearingState, list[Float[Tensor, " K"]]]:
    """Take the next rows, give the codes that they complete (perhaps none).

    In any chunking code ``t`` is row ``t`` of ``head.speech(rows[: t + 1 + lookahead_frames])``.
    """
    known = torch.cat((state.features, features))
    until = max(state.given, len(known) - lookahead_frames)
    codes = [
        head.speech(known[max(0, row - CONTEXT_FRAMES) : row + 1 + lookahead_frames])[
            min(row, CONTEXT_FRAMES)
        ]
        for row in range(state.given, until)
    ]
    surplus = max(0, until - CONTEXT_FRAMES)
    return HearingState(known[surplus:].clone(), until - surplus), codes
