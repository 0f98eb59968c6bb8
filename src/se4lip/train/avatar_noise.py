"""What an avatar hears besides clean speech: sounds that nobody speaks, alone and under its takes.

Alone they belong to the resting mouth, under speech to the mouth of the speech, so that the head
learns to tell the two apart by whatever features it hears: sounds are mixed as samples, before any
features are made.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float32

from se4lip.audio.ambience import LEARNED, ambience, at_level
from se4lip.types import SAMPLE_RATE_HZ, SAMPLES_PER_FRAME, InputError, within

Samples = Float32[np.ndarray, " S"]

_SILENT_RMS = 10 ** (-80 / 20)


@dataclass(frozen=True)
class NoiseConfig:
    """Sounds that nobody speaks, in which the mouth learns to rest and under which it hears.

    Attributes:
        sounds: How many sounds are made; each is heard alone, and all of them under speech.
        seconds: Length of each, and of the pieces into which recordings are cut.
        level_db: RMS of a sound alone, of full scale.
        under: Share of a take's other voices, and of unfilmed speech, heard in one of the sounds.
        snr_db: Level of the speech over such a sound.
        before_s: How long such a sound is heard before the take.
        after_s: And after it.
    """

    sounds: int = 480
    seconds: float = 4.0
    level_db: tuple[float, float] = (-70.0, -8.0)
    under: float = 0.5
    snr_db: tuple[float, float] = (5.0, 30.0)
    before_s: float = 0.4
    after_s: float = 0.6

    def __post_init__(self) -> None:
        if not 0 <= self.sounds <= 100_000:
            raise InputError(f"{self.sounds} sounds were asked for: give 0 to 100000")
        within(self, seconds=(0.1, 3600), level_db=(-200, 0), under=(0, 1), snr_db=(-200, 200))
        within(self, before_s=(0, 60), after_s=(0, 60))


def is_noisy(config: NoiseConfig, seed: int) -> bool:
    """Whether the take with this voice's ``seed`` is heard in noise."""
    return bool(np.random.default_rng([seed, 3]).random() < config.under)


def pieces_of(recordings: Sequence[Samples], config: NoiseConfig) -> list[Samples]:
    """Recordings in which nobody speaks, cut into pieces of RMS 1; digital silence is left out."""
    length = round(config.seconds * SAMPLE_RATE_HZ)
    found = []
    for samples in recordings:
        for first in range(0, len(samples) - length + 1, length):
            piece = samples[first : first + length]
            rms = np.sqrt(np.square(piece).mean(dtype=np.float64))
            if rms > _SILENT_RMS:
                found.append((piece / rms).astype(np.float32))
    return found


def sounds_alone(config: NoiseConfig, recorded: Sequence[Samples] = ()) -> Iterator[Samples]:
    """Digital silence once, for it is always alike, then every other kind in turn, then pieces of
    recordings, at levels drawn at random."""
    length = round(config.seconds * SAMPLE_RATE_HZ)
    silence, *kinds = LEARNED
    for seed in range(config.sounds):
        kind = kinds[seed % len(kinds)] if seed else silence
        level_db = np.random.default_rng([seed, 1]).uniform(*config.level_db)
        yield at_level(ambience(kind, length, seed), level_db)
    for seed, piece in enumerate(recorded):
        yield at_level(piece, np.random.default_rng([seed, 4]).uniform(*config.level_db))


@dataclass(frozen=True)
class InNoise:
    """Speech with a sound around and under it. Frames ``[start, stop)`` are the speech's own."""

    samples: Samples
    start: int
    stop: int


def in_noise(
    samples: Samples,
    speaking: Bool[np.ndarray, " T"],
    config: NoiseConfig,
    seed: int,
    recorded: Sequence[Samples] = (),
) -> InNoise:
    """``samples`` in one of the sounds, which begins before and ends after them; in a piece of a
    recording every second time, if there are any."""
    random = np.random.default_rng([seed, 2])
    before = round(config.before_s * SAMPLE_RATE_HZ / SAMPLES_PER_FRAME)
    after = round(config.after_s * SAMPLE_RATE_HZ / SAMPLES_PER_FRAME)
    frames = -(-len(samples) // SAMPLES_PER_FRAME)
    whole = np.zeros((before + frames + after) * SAMPLES_PER_FRAME, np.float32)
    start = before * SAMPLES_PER_FRAME
    whole[start : start + len(samples)] = samples
    loud = np.repeat(speaking, SAMPLES_PER_FRAME)[: len(samples)]
    voice = samples[: len(loud)][loud] if loud.any() else samples
    level_db = 10 * np.log10(np.square(voice).mean(dtype=np.float64) + 1e-12)
    kinds = list(LEARNED)[1:]  # silence changes nothing
    sound = ambience(kinds[random.integers(len(kinds))], len(whole), int(random.integers(1 << 19)))
    snr_db = random.uniform(*config.snr_db)
    if len(recorded) and random.random() < 0.5:
        sound = np.resize(recorded[int(random.integers(len(recorded)))], len(whole))
    noisy = at_level(sound, level_db - snr_db, whole)
    return InNoise(noisy, before, before + frames)
