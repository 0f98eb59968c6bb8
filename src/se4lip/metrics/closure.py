"""Whether the mouth closes on b, m and p, and only there.

Read off the lip aperture (``metrics.landmarks``) and the times of the phones, which come from a
forced alignment. 25 frames a second show a closure of 60 ms in one or two frames, so a bilabial
counts as closed when *any* frame of it is, while another phone counts as wrongly closed only when
*all* its frames are: the closing and opening of a neighbouring bilabial reaches into it.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

from se4lip.metrics.phones import BILABIAL, OTHER_LABIAL, letter
from se4lip.types import FRAME_RATE_HZ, InputError

SILENCES = frozenset(
    {"", "sil", "sp", "spn", "pau", "h#", "#", "_", "-", "nsn", "silence", "noise", "laughter"}
    | {"laugh", "breath", "br", "lg", "cough", "unk"}
)


@dataclass(frozen=True)
class Phone:
    """One sound of an utterance, named as in ARPABET (capitals), IPA, or SAMPA where it does not
    contradict the two.

    Digits of stress and Kaldi's ``_B``, ``_I``, ``_E``, ``_S`` (where in its word it stands) are
    ignored.
    """

    name: str
    start_s: float
    end_s: float

    def __post_init__(self) -> None:
        if not 0 <= self.start_s < self.end_s < float("inf"):
            raise InputError(
                f"phone {self.name!r} lasts from {self.start_s} to {self.end_s} s, but it must "
                "start at 0 or later and end after it starts: check the alignment"
            )

    @property
    def plain(self) -> str:
        return re.sub(r"[<>\[\]+]|(?<=[^\W\d_])[0-9]+$", "", self._bare).lower()

    @property
    def is_silence(self) -> bool:
        """Nothing is said. ``<p:>`` of WebMAUS, ``+NOISE+`` of Sphinx, ``[laughter]`` and ``{lg}``
        are such too; ``[b]`` is a phone in brackets."""
        marked = re.fullmatch(r"<.*>|\+.*\+|\{.*\}|\[\w{3,}\]", self.name.strip())
        return self.plain in SILENCES or marked is not None

    @property
    def letter(self) -> str:
        """What it begins with in IPA (`metrics.phones`); nothing where nothing is said."""
        return "" if self.is_silence else letter(self._bare)

    @property
    def _bare(self) -> str:
        return re.sub(r"_[BIES]$", "", self.name.strip())


def phones_within(
    times: Iterable[tuple[str, float, float]], start_s: float, stop_s: float
) -> list[Phone]:
    """Phones that sound within a stretch of time, from its start on; the last may end a frame
    late, as an alignment of a whole recording does."""
    return [
        Phone(name, begin - start_s, end - start_s)
        for name, begin, end in times
        if begin >= start_s and end <= stop_s + 1 / FRAME_RATE_HZ
    ]


def said_in_frames(phones: Iterable[Phone], frames: int) -> Bool[np.ndarray, " {frames}"]:
    """True for every frame into which a sound reaches that is not silence."""
    said = np.zeros(frames, bool)
    for phone in phones:
        if not phone.is_silence:
            said[frames_of(phone)] = True
    return said


@dataclass(frozen=True)
class ClosureCounts:
    """Counts of several clips are added with ``+``."""

    closed: int = 0
    """Bilabials on which the mouth closes."""
    missed: int = 0
    """Bilabials on which it does not."""
    wrong: int = 0
    """Other sounds through which it stays closed."""

    def __add__(self, other: ClosureCounts) -> ClosureCounts:
        return ClosureCounts(
            self.closed + other.closed, self.missed + other.missed, self.wrong + other.wrong
        )

    @property
    def precision(self) -> float:
        return _ratio(self.closed, self.closed + self.wrong)

    @property
    def recall(self) -> float:
        return _ratio(self.closed, self.closed + self.missed)

    @property
    def f1(self) -> float:
        return _ratio(2 * self.closed, 2 * self.closed + self.missed + self.wrong)


def closed_below(real_aperture: Float[np.ndarray, " T"], share: float = 0.1) -> float:
    """The aperture under which this person's mouth counts as closed.

    ``share`` of the way from the 2nd to the 95th percentile of the real video: landmarks of closed
    lips keep a distance that differs from face to face. At a tenth, a real speaker (75 training
    clips of GRID s1, aligned by pocketsphinx) closes on 98 of 99 bilabials and through 36 of 1,087
    other phones; at a quarter, through 98. NaN without a face.
    """
    known = real_aperture[np.isfinite(real_aperture)]
    if len(known) == 0:
        return float("nan")
    low, high = np.percentile(known, (2, 95))
    return float(low + share * (high - low))


def frames_of(phone: Phone, slack_frames: float = 0.0) -> slice:
    """The frames that are shown while ``phone`` sounds, ``slack_frames`` more at either end."""
    # 0.28 s are 7 frames, not the 7.000000000000001 of binary fractions.
    first = math.floor(round(phone.start_s * FRAME_RATE_HZ - slack_frames, 6))
    last = math.ceil(round(phone.end_s * FRAME_RATE_HZ + slack_frames, 6))
    return slice(max(0, first), last)


def count_closures(
    aperture: Float[np.ndarray, " T"], phones: Sequence[Phone], threshold: float
) -> ClosureCounts:
    """Judge every phone that is not silence; phones without a frame of face are left out, and so
    are the labials that need not shut the mouth (`metrics.phones`).

    The frames of a phone are those shown while it sounds, a bilabial's half a frame more at
    either end.
    """
    counts = ClosureCounts()
    for phone in phones:
        if phone.is_silence or phone.letter in OTHER_LABIAL:
            continue
        bilabial = phone.letter in BILABIAL
        seen = aperture[frames_of(phone, 0.5 if bilabial else 0.0)]
        seen = seen[np.isfinite(seen)]
        if len(seen) == 0:
            continue
        shut = seen < threshold
        if bilabial:
            counts += ClosureCounts(closed=int(shut.any()), missed=int(not shut.any()))
        else:
            counts += ClosureCounts(wrong=int(shut.all()))
    return counts


def _ratio(part: int, whole: int) -> float:
    return part / whole if whole else float("nan")
