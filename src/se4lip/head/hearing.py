"""Mouth codes while features still come in: each one as soon as a stated number of rows behind it
is known.

A head's `speech` looks ahead. Live (`hear`), a row's code is what `speech` makes of all rows up to
``lookahead_frames`` behind it and no more, which is exact for `FUTURE_CONTEXT` and nearly so for
less (docs/live.md has the figures). Where nobody waits (`hear_all`), it is exact.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from se4lip.head.base import Head
from se4lip.head.speech_window import FUTURE_CONTEXT, PAST_CONTEXT


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
    # A first piece of the wrong width is for the head to refuse.
    known = torch.cat((state.features, features)) if len(state.features) else features
    until = max(state.given, len(known) - lookahead_frames)
    codes = _codes(head, known, state.given, until, lookahead_frames)
    surplus = max(0, until - PAST_CONTEXT)
    return HearingState(known[surplus:].clone(), until - surplus), codes


@torch.inference_mode()
def hear_all(head: Head, pieces: Iterable[Float[Tensor, "T D"]]) -> Iterator[Float[Tensor, "T K"]]:
    """Codes of rows that come in pieces, the same as if they came at once."""
    state = start_hearing(head)
    for piece in pieces:
        state, codes = hear(head, state, piece, FUTURE_CONTEXT)
        if codes:
            yield torch.stack(codes)
    rows = state.features
    if state.given < len(rows):
        yield torch.stack(_codes(head, rows, state.given, len(rows), FUTURE_CONTEXT))


def _codes(
    head: Head, known: Float[Tensor, "T D"], first: int, until: int, lookahead_frames: int
) -> list[Float[Tensor, " K"]]:
    """Of rows ``[first, until)``, none of which may know more than so many rows behind it."""
    # With the whole context a row that knows more is the same, and all go through at once.
    together = max(1, until - first) if lookahead_frames >= FUTURE_CONTEXT else 1
    codes: list[Tensor] = []
    for row in range(first, until, together):
        start = max(0, row - PAST_CONTEXT)
        found = head.speech(known[start : row + together + lookahead_frames])
        codes += found[row - start : row - start + together]
    return codes
