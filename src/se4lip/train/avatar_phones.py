"""What is known of lips that nobody filmed, if it is known what they say.

On b, m and p they meet, on other sounds they do not; on o and u the mouth is narrow, on i and e it
is wide. How near, narrow and wide is the person's own: shares of what the mouth was filmed to do in
speech. A mouth that does more than is asked is left alone, and so are the sounds between, so the
phones of any language and voice can be asked of anybody.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Bool, Float, Int8
from torch import Tensor
from torch.nn import functional

from se4lip.face.expression import MouthModel
from se4lip.mesh import LOWER_INNER_LIP, MOUTH_CORNERS, UPPER_INNER_LIP
from se4lip.metrics.closure import Phone
from se4lip.metrics.phones import BILABIAL, OTHER_LABIAL, OTHER_VOWEL, ROUNDED, SPREAD
from se4lip.types import FRAME_RATE_HZ

NOTHING, SHUT, AJAR, OPEN, NARROW, WIDE = range(6)
# Weights beside millimetres of the lips. What a phone is asked for that another may do as well
# (a mouth open on t) counts less than what makes it seen.
_WEIGHT = {SHUT: 0.3, AJAR: 0.3, OPEN: 0.2, NARROW: 0.3, WIDE: 0.3}
_SHUT_SHARE = 0.05  # of the way from the 2nd to the 95th percentile; below 0.1 counts as closed
_AJAR, _OPEN = 0.2, 0.35  # quantiles of the gap in speech
_NARROW, _WIDE = 0.3, 0.6  # quantiles of the width in speech

Asked = Int8[np.ndarray, " T"]
Phones = Sequence[tuple[str, float, float]]  # names in IPA, starts and ends in seconds


def asked_of(phones: Phones, frames: int) -> Asked:
    """What each of ``frames`` asks of the lips: that of the phone whose middle lies in it.

    Of two phones in a frame the one that shuts the lips counts, else the first.
    """
    asked = np.full(frames, NOTHING, np.int8)
    for phone in (Phone(*one) for one in phones):
        middle_s, wanted = (phone.start_s + phone.end_s) / 2, _wanted(phone.letter)
        frame = int(middle_s * FRAME_RATE_HZ)
        if 0 <= frame < frames and (wanted == SHUT or asked[frame] == NOTHING):
            asked[frame] = wanted
    return asked


def _wanted(first: str) -> int:
    """Of a phone that begins with this letter."""
    if not first or first in OTHER_LABIAL:
        return NOTHING
    kinds = ((BILABIAL, SHUT), (ROUNDED, NARROW), (SPREAD, WIDE), (OTHER_VOWEL, OPEN))
    return next((kind for letters, kind in kinds if first in letters), AJAR)


class Demands:
    """How far lips are from what is asked of them, in millimetres."""

    def __init__(
        self, mouth: MouthModel, codes: Float[np.ndarray, "N K"], spoken: Bool[np.ndarray, " N"]
    ) -> None:
        """``codes`` are what the mouth was seen to do, in speech where ``spoken``."""
        left, right = MOUTH_CORNERS
        self._gap = span_mm(mouth, UPPER_INNER_LIP, LOWER_INNER_LIP, axis=1)
        self._width = span_mm(mouth, left, right, axis=0)
        spans = (self._gap, self._width)
        gap, width = (rest + codes[spoken] @ moved.numpy() for rest, moved in spans)
        low, high = np.percentile(gap, (2, 95))
        self.shut = float(low + _SHUT_SHARE * (high - low))
        self.ajar, self.open = (float(np.quantile(gap, q)) for q in (_AJAR, _OPEN))
        self.narrow, self.wide = (float(np.quantile(width, q)) for q in (_NARROW, _WIDE))

    def missed_mm(self, codes: Float[Tensor, "*B K"], asked: Int8[Tensor, "*B"]) -> Tensor:
        """Weighted means over the frames of each kind, added up."""
        gap, width = (rest + codes @ moved for rest, moved in (self._gap, self._width))
        over = {
            SHUT: gap - self.shut,
            AJAR: self.ajar - gap,
            OPEN: self.open - gap,
            NARROW: width - self.narrow,
            WIDE: self.wide - width,
        }
        missed = codes.new_zeros(())
        for kind, by in over.items():
            here = asked == kind
            mean = (functional.relu(by) * here).sum() / here.sum().clamp(min=1)
            missed = missed + _WEIGHT[kind] * mean
        return missed


def span_mm(
    mouth: MouthModel, first: int, second: int, axis: int
) -> tuple[float, Float[Tensor, " K"]]:
    """From one point of the mouth to another along an axis: at the mean mouth, and what each number
    of a code adds."""
    rest = 10 * (mouth.shape_cm[second, axis] - mouth.shape_cm[first, axis])
    moved = 10 * (mouth.basis_cm[:, second, axis] - mouth.basis_cm[:, first, axis])
    return float(rest), torch.from_numpy(moved).float()
