"""The verb ``evaluate languages``: do the lips close and round where the language says so?

A folder holds one folder for each voice, ``es-pico``, the language before the dash; in it lie
recordings and, beside each, the times of its phones in IPA: ``00.wav`` and ``00.phones``
(`io.phones`). No film of the speaker is needed: the head's mouth codes become landmarks through
the person's mouth model, and they are judged by the sounds alone.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float

from se4lip.artifacts.avatar import Avatar, load_avatar
from se4lip.audio.voice_activity import speech_in_frames
from se4lip.evaluation.lips_of_head import codes_heard, lip_landmarks
from se4lip.face.tracker import Tracker
from se4lip.io.audio import read_speech
from se4lip.io.phones import read_phones
from se4lip.metrics.closure import ClosureCounts, Phone, count_closures, frames_of
from se4lip.metrics.landmarks import lip_aperture, lip_width
from se4lip.metrics.phones import BILABIAL, OTHER_LABIAL, ROUNDED, SPREAD
from se4lip.train.listener import Listener, listener_of_avatar
from se4lip.types import FRAME_RATE_HZ, SAMPLE_RATE_HZ, InputError, Speech, at_least_one

_SHIFT_S = 0.3  # by which chance misplaces phones
_BOOTSTRAPS = 500
LEAST_RECORDINGS = 8  # fewer give no interval


@dataclass(frozen=True)
class Voice:
    """One voice in one language. Figures are NaN where no such phone was said.

    Recall, precision and F1 are of a mouth that shuts (`metrics.closure`), and ``chance_f1`` is
    what the same mouth reaches on phones that lie 0.3 s beside their place. Without a threshold,
    ``closing_auc`` is the probability that the lips come nearer to each other on a bilabial than
    on another phone, ``rounding_auc`` that the mouth is narrower on a rounded vowel than on a
    spread one: 0.5 by chance, with 95 % intervals (recordings drawn anew). ``at_rest`` is the share
    of frames inside phones, loud enough to be speech, in which the mouth does not stir because the
    head hears none.
    """

    name: str
    recordings: int
    bilabials: int
    other_phones: int
    recall: float
    precision: float
    f1: float
    chance_f1: float
    closing_auc: float
    closing_auc_low: float
    closing_auc_high: float
    rounded: int
    spread: int
    rounding_auc: float
    rounding_auc_low: float
    rounding_auc_high: float
    at_rest: float

    @property
    def language(self) -> str:
        return self.name.partition("-")[0]


@dataclass(frozen=True)
class Lips:
    """What the mouth does in one recording, in face widths, and what is said."""

    aperture: Float[np.ndarray, " T"]
    width: Float[np.ndarray, " T"]
    phones: list[Phone]
    at_rest: Bool[np.ndarray, " T"]
    heard: Bool[np.ndarray, " T"]  # the sound is as loud as speech


def evaluate_languages(
    avatar: Path | str | Avatar,
    folder: Path,
    tracker: Tracker | None = None,
    encoder: Path | None = None,
    most_recordings: int | None = None,
    on_progress: Callable[[float], None] = lambda share: None,
) -> list[Voice]:
    """One row for each voice, and for each language with more than one voice.

    With a ``tracker`` the head is drawn and its lips are tracked in the pictures, instead of being
    read off its codes: slower, and the last word.

    Raises:
        InputError: files that cannot be read, no recordings with phones, or another encoder.
    """
    at_least_one(most_recordings, "--most-recordings")
    loaded = avatar if isinstance(avatar, Avatar) else load_avatar(avatar)
    listener = listener_of_avatar(loaded, encoder)
    if not folder.is_dir():
        raise InputError(f"there is no folder {folder}: one with a folder for each voice is needed")
    voices = {
        place.name: sorted(place.glob("*.phones"))[:most_recordings]
        for place in sorted(folder.iterdir())
        if place.is_dir() and any(place.glob("*.phones"))
    }
    if not voices:
        raise InputError(
            f"{folder} has no folder of recordings with phones: LANGUAGE-VOICE/NAME.wav and "
            "NAME.phones are needed (docs/languages.md)"
        )
    lips: dict[str, list[Lips]] = {}
    total, done = sum(map(len, voices.values())), 0
    for name, files in voices.items():
        for file in files:
            lips.setdefault(name, []).append(_lips(loaded, listener, file, tracker))
            done += 1
            on_progress(done / total)
    every = [one for voice in lips.values() for one in voice]
    threshold = _closed_below(loaded, listener, every, tracker)
    rows = [judged(name, one, threshold) for name, one in lips.items()]
    for language in sorted({row.language for row in rows}):
        of_it = [name for name in lips if name.partition("-")[0] == language]
        if len(of_it) > 1:
            together = [one for name in of_it for one in lips[name]]
            rows.append(judged(language, together, threshold))
    return rows


def _lips(avatar: Avatar, listener: Listener, file: Path, tracker: Tracker | None) -> Lips:
    speech = read_speech(_recording(file))
    # Some aligners give the last phones a time at which nothing sounds any more.
    phones = [Phone(*phone) for phone in read_phones(file) if phone[1] < speech.duration_s]
    codes = codes_heard(avatar, listener, speech)
    points = lip_landmarks(avatar, codes, tracker)
    at_rest = (codes == avatar.head.speech.rest).all(-1).numpy()
    heard = speech_in_frames(speech.samples, len(at_rest))
    return Lips(lip_aperture(points), lip_width(points), phones, at_rest, heard)


def _recording(phones: Path) -> Path:
    beside = phones.parent.glob(f"{phones.stem}.*")
    found = [file for file in beside if file.suffix not in {".phones", ".txt"}]
    if len(found) != 1:
        raise InputError(
            f"{len(found)} recordings lie beside {phones}: exactly one of the same name is needed"
        )
    return found[0]


def _closed_below(
    avatar: Avatar, listener: Listener, lips: list[Lips], tracker: Tracker | None
) -> float:
    """The rule of `closure.closed_below` for a person whose film is not at hand: shut is how the
    head holds its mouth in silence, open what it reaches in all this speech."""
    silence = Speech(np.zeros(2 * SAMPLE_RATE_HZ, np.float32))
    points = lip_landmarks(avatar, codes_heard(avatar, listener, silence), tracker)
    shut = float(np.nanmedian(lip_aperture(points)))
    opened = float(np.nanpercentile(np.concatenate([one.aperture for one in lips]), 95))
    return shut + 0.1 * (opened - shut)


# --- one voice ----------------------------------------------------------------------------------


def judged(name: str, lips: list[Lips], threshold: float) -> Voice:
    """The figures of recordings whose mouth counts as closed below ``threshold`` face widths."""
    counts = sum((_closures(one, threshold, 0.0) for one in lips), ClosureCounts())
    chance = sum(
        (_closures(one, threshold, by) for one in lips for by in (_SHIFT_S, -_SHIFT_S)),
        ClosureCounts(),
    )
    nearest = [_apertures(one) for one in lips]
    narrow = [(_widths(one, ROUNDED), _widths(one, SPREAD)) for one in lips]
    phones = [phone for one in lips for phone in _closing(one.phones)]
    return Voice(
        name=name,
        recordings=len(lips),
        bilabials=sum(phone.name == "b" for phone in phones),
        other_phones=sum(phone.name != "b" for phone in phones),
        recall=counts.recall,
        precision=counts.precision,
        f1=counts.f1,
        chance_f1=chance.f1,
        **_interval("closing_auc", nearest),
        rounded=sum(len(rounded) for rounded, _ in narrow),
        spread=sum(len(spread) for _, spread in narrow),
        **_interval("rounding_auc", narrow),
        at_rest=_share_at_rest(lips),
    )


def _closing(phones: list[Phone]) -> list[Phone]:
    """Phones that must close the lips under the name b, those that must not under that of x."""
    found = []
    for phone in phones:
        first = phone.letter
        if first and first not in OTHER_LABIAL:
            name = "b" if first in BILABIAL else "x"
            found.append(Phone(name, phone.start_s, phone.end_s))
    return found


def _closures(lips: Lips, threshold: float, shift_s: float) -> ClosureCounts:
    return count_closures(lips.aperture, _shifted(_closing(lips.phones), shift_s), threshold)


def _apertures(lips: Lips) -> tuple[np.ndarray, np.ndarray]:
    """The smallest aperture within half a frame of each bilabial, and of each other phone."""
    found: dict[str, list[float]] = {"b": [], "x": []}
    for phone in _closing(lips.phones):
        seen = _frames(lips.aperture, phone, 0.5)
        if len(seen):
            found[phone.name].append(seen.min())
    return np.array(found["b"]), np.array(found["x"])


def _share_at_rest(lips: list[Lips]) -> float:
    """Of all frames in the middle of which something is said and heard.

    A source of phone times may give a phone, the last one most of all, a length in which nothing
    sounds any more; a mouth may rest in it.
    """
    frames = []
    for one in lips:
        for phone in one.phones:
            if not phone.is_silence:
                rows = slice(*(round(at * FRAME_RATE_HZ) for at in (phone.start_s, phone.end_s)))
                frames.append(one.at_rest[rows][one.heard[rows]])
    said = np.concatenate(frames) if frames else np.zeros(0, bool)
    return float(said.mean()) if len(said) else math.nan


def _widths(lips: Lips, letters: frozenset[str]) -> Float[np.ndarray, " P"]:
    """The mouth's mean width over each phone that begins with one of ``letters``."""
    seen = [_frames(lips.width, phone, 0.0) for phone in lips.phones if phone.letter in letters]
    return np.array([values.mean() for values in seen if len(values)])


def _frames(values: Float[np.ndarray, " T"], phone: Phone, slack: float) -> np.ndarray:
    seen = values[frames_of(phone, slack)]
    return seen[np.isfinite(seen)]


def _shifted(phones: list[Phone], by_s: float) -> list[Phone]:
    return [
        Phone(phone.name, phone.start_s + by_s, phone.end_s + by_s)
        for phone in phones
        if phone.start_s + by_s >= 0
    ]


Pairs = list[tuple[np.ndarray, np.ndarray]]  # of each recording: what should be less, and more


def _auc(pairs: Pairs) -> float:
    """How often what should be less is less (Mann and Whitney 1947)."""
    less = np.concatenate([one for one, _ in pairs])
    more = np.sort(np.concatenate([two for _, two in pairs]))
    if not len(less) or not len(more):
        return float("nan")
    above = len(more) - np.searchsorted(more, less, side="right")
    equal = len(more) - np.searchsorted(more, less, side="left") - above
    return float((above + equal / 2).sum() / (len(less) * len(more)))


def _interval(name: str, pairs: Pairs) -> dict[str, float]:
    """The figure, and the middle 95 % of what recordings drawn anew, with replacement, give; NaN of
    fewer recordings than could tell."""
    if len(pairs) < LEAST_RECORDINGS:
        return {name: _auc(pairs), f"{name}_low": float("nan"), f"{name}_high": float("nan")}
    random = np.random.default_rng(0)
    drawn = random.integers(0, len(pairs), (_BOOTSTRAPS, len(pairs)))
    values = np.array([_auc([pairs[i] for i in rows]) for rows in drawn])
    known = values[np.isfinite(values)]
    low, high = np.percentile(known, (2.5, 97.5)) if len(known) else (float("nan"),) * 2
    return {name: _auc(pairs), f"{name}_low": float(low), f"{name}_high": float(high)}
