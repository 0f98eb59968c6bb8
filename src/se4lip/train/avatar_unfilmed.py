"""Speech of people whom nobody filmed: it teaches a head when a mouth moves, and nothing of how.

What is known of such speech is where somebody speaks in it, and that a mouth is at rest where
nobody does. Recordings of any language and voice will do.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
from jaxtyping import Bool, Float32

from se4lip.audio.voice_activity import speech_frames
from se4lip.train.avatar_noise import NoiseConfig, Samples, in_noise, is_noisy
from se4lip.train.avatar_speech import LEAST_SPEECH_FRAMES, Heard, coming_to_rest
from se4lip.train.listener import Listener
from se4lip.types import FRAME_RATE_HZ, SAMPLE_RATE_HZ, SAMPLES_PER_FRAME, InputError, Speech

_PIECE_FRAMES = 10 * FRAME_RATE_HZ  # longer recordings are cut, so that each is worth as much
_WORD_FRAMES = (8, 38)  # about as long as a word said alone
_BEFORE_FRAMES, _AFTER_FRAMES = 4, 15  # of silence around it
_FADE_S = 0.01

Speaking = Bool[np.ndarray, " T"]
Piece = tuple[Samples, Speaking]  # whole frames, and where somebody speaks in them


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
        report(f"{len(pieces)} pieces of speech that nobody filmed; silent ones are left out")
    for number, piece in enumerate(pieces):
        seed = first_seed + 2 * number
        for one, (samples, speaking) in enumerate((piece, a_word_of(*piece, seed))):
            if is_noisy(noise, seed + one):
                noisy = in_noise(samples, speaking, noise, seed + one, recorded)
                after = len(noisy.samples) // SAMPLES_PER_FRAME - noisy.stop
                samples, speaking = noisy.samples, np.pad(speaking, (noisy.start, after))
            yield unfilmed_take(listener.features("", Speech(samples)), speaking, rest)


def pieces_of_recordings(recordings: Sequence[Samples]) -> list[Piece]:
    """Raises: InputError when there are recordings and nobody is heard in any of them."""
    pieces = [piece for samples in recordings for piece in pieces_of_speech(samples)]
    if recordings and not pieces:
        raise InputError(
            f"in none of the {len(recordings)} recordings given with --also-spoken is anybody "
            "heard above the noise: give recordings of speech"
        )
    return pieces


def pieces_of_speech(samples: Samples) -> list[Piece]:
    """Pieces of ten seconds at most in which somebody speaks."""
    whole = np.pad(samples, (0, -len(samples) % SAMPLES_PER_FRAME))
    speaking, found = speech_frames(samples), []
    for first in range(0, len(speaking), _PIECE_FRAMES):
        active = speaking[first : first + _PIECE_FRAMES]
        if active.sum() >= LEAST_SPEECH_FRAMES:
            at = slice(first * SAMPLES_PER_FRAME, (first + len(active)) * SAMPLES_PER_FRAME)
            found.append((whole[at], active))
    return found


def a_word_of(samples: Samples, speaking: Speaking, seed: int) -> Piece:
    """A part about as long as a word, beginning within speech, between two short silences.

    Recordings of single words are over before the channel they come through is known, and sound
    unlike the middle of a sentence.
    """
    random = np.random.default_rng([seed, 5])
    length = min(int(random.integers(*_WORD_FRAMES)), len(speaking))
    loud = np.flatnonzero(speaking)
    start = min(int(random.choice(loud)), len(speaking) - length)
    word = samples[start * SAMPLES_PER_FRAME : (start + length) * SAMPLES_PER_FRAME].copy()
    ramp = np.linspace(0, 1, round(_FADE_S * SAMPLE_RATE_HZ), dtype=np.float32)
    word[: len(ramp)] *= ramp
    word[-len(ramp) :] *= ramp[::-1]
    around = np.array((_BEFORE_FRAMES, _AFTER_FRAMES))
    return (
        np.pad(word, around * SAMPLES_PER_FRAME),
        np.pad(speaking[start : start + length], around),
    )


def unfilmed_take(
    features: Float32[np.ndarray, "T D"], speaking: Speaking, rest: Float32[np.ndarray, " K"]
) -> Heard:
    """Speech whose lips nobody saw, but where it pauses."""
    _, spoken = coming_to_rest(speaking)
    if speaking.sum() < LEAST_SPEECH_FRAMES:
        spoken[~speaking] = np.nan  # too little to tell
    mouth = np.where(spoken[:, None] == 0, rest, np.float32(np.nan))
    return Heard(features, mouth.astype(np.float32), spoken)
