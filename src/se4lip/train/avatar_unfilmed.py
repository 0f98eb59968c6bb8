"""Speech of people whom nobody filmed: it teaches a head when a mouth moves, and what it says.

What is known of such speech is where somebody speaks in it, that a mouth is at rest where nobody
does, and, where its phones are known, what they ask of any lips (`train.avatar_phones`). Recordings
of any language and voice will do.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float32

from se4lip.audio.voice_activity import speech_frames
from se4lip.train.avatar_noise import NoiseConfig, Samples, in_noise, is_noisy
from se4lip.train.avatar_phones import Asked, Phones, asked_of
from se4lip.train.avatar_speech import LEAST_SPEECH_FRAMES, Heard, coming_to_rest
from se4lip.train.listener import Listener
from se4lip.train.log import said_along
from se4lip.types import FRAME_RATE_HZ, SAMPLE_RATE_HZ, SAMPLES_PER_FRAME, InputError, Speech

_PIECE_FRAMES = 10 * FRAME_RATE_HZ  # longer recordings are cut, so that each is worth as much
_WORD_FRAMES = (8, 38)  # about as long as a word said alone
_BEFORE_FRAMES, _AFTER_FRAMES = 4, 15  # of silence around it
_FADE_S = 0.01

Speaking = Bool[np.ndarray, " T"]


class Piece(NamedTuple):
    """Whole frames of sound, where somebody speaks in them, and what that asks of the lips."""

    samples: Samples
    speaking: Speaking
    asked: Asked


def unfilmed_takes(
    pieces: Sequence[Piece],
    rest: Float32[np.ndarray, " K"],
    listener: Listener,
    noise: NoiseConfig,
    recorded: Sequence[Samples],
    first_seed: int,
    report: Callable[[str], None],
) -> Iterator[Heard]:
    """Each piece and a word of it alone, a share of both in noise."""
    if pieces:
        told = sum(bool(piece.asked.any()) for piece in pieces)
        known = f", {told} of them with phones" if told else ""
        kept = f"{len(pieces)} pieces of speech that nobody filmed{known}"
        report(f"{kept}; silent ones are left out")
    named = "features of speech that nobody filmed"
    for number, piece in enumerate(said_along(pieces, len(pieces), named, report)):
        seed = first_seed + 2 * number
        for one, (samples, speaking, asked) in enumerate((piece, a_word_of(piece, seed))):
            if is_noisy(noise, seed + one):
                noisy = in_noise(samples, speaking, noise, seed + one, recorded)
                around = noisy.start, len(noisy.samples) // SAMPLES_PER_FRAME - noisy.stop
                samples = noisy.samples
                speaking, asked = np.pad(speaking, around), np.pad(asked, around)
            yield unfilmed_take(listener.features("", Speech(samples)), speaking, rest, asked)


def pieces_of_recordings(
    recordings: Sequence[Samples], phones: Sequence[Phones] | None = None
) -> list[Piece]:
    """Raises: InputError when there are recordings and nobody is heard in any of them."""
    said = phones or [()] * len(recordings)
    pieces = [
        piece
        for samples, its in zip(recordings, said, strict=True)
        for piece in pieces_of_speech(samples, its)
    ]
    if recordings and not pieces:
        raise InputError(
            f"in none of the {len(recordings)} recordings given with --also-spoken is anybody "
            "heard above the noise: give recordings of speech"
        )
    return pieces


def pieces_of_speech(samples: Samples, phones: Phones = ()) -> list[Piece]:
    """Pieces of ten seconds at most in which somebody speaks."""
    whole = np.pad(samples, (0, -len(samples) % SAMPLES_PER_FRAME))
    speaking, found = speech_frames(samples), []
    asked = asked_of(phones, len(speaking))
    for first in range(0, len(speaking), _PIECE_FRAMES):
        rows = slice(first, first + _PIECE_FRAMES)
        active = speaking[rows]
        if active.sum() >= LEAST_SPEECH_FRAMES:
            at = slice(first * SAMPLES_PER_FRAME, (first + len(active)) * SAMPLES_PER_FRAME)
            found.append(Piece(whole[at], active, asked[rows]))
    return found


def a_word_of(piece: Piece, seed: int) -> Piece:
    """A part about as long as a word, beginning within speech, between two short silences.

    Recordings of single words are over before the channel they come through is known, and sound
    unlike the middle of a sentence.
    """
    samples, speaking, asked = piece
    random = np.random.default_rng([seed, 5])
    length = min(int(random.integers(*_WORD_FRAMES)), len(speaking))
    loud = np.flatnonzero(speaking)
    start = min(int(random.choice(loud)), len(speaking) - length)
    word = samples[start * SAMPLES_PER_FRAME : (start + length) * SAMPLES_PER_FRAME].copy()
    ramp = np.linspace(0, 1, round(_FADE_S * SAMPLE_RATE_HZ), dtype=np.float32)
    word[: len(ramp)] *= ramp
    word[-len(ramp) :] *= ramp[::-1]
    around, rows = np.array((_BEFORE_FRAMES, _AFTER_FRAMES)), slice(start, start + length)
    return Piece(
        np.pad(word, around * SAMPLES_PER_FRAME),
        np.pad(speaking[rows], around),
        np.pad(asked[rows], around),
    )


def unfilmed_take(
    features: Float32[np.ndarray, "T D"],
    speaking: Speaking,
    rest: Float32[np.ndarray, " K"],
    asked: Asked | None = None,
) -> Heard:
    """Speech whose lips nobody saw, but where it pauses."""
    _, spoken = coming_to_rest(speaking)
    if speaking.sum() < LEAST_SPEECH_FRAMES:
        spoken[~speaking] = np.nan  # too little to tell
    mouth = np.where(spoken[:, None] == 0, rest, np.float32(np.nan))
    return Heard(features, mouth.astype(np.float32), spoken, asked)
