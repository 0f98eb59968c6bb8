"""Where somebody speaks. Energy alone, relative to the recording's own quiet and loud parts.

It serves the sync score ("no speech" instead of a guess) and the training mask, not transcription.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float32

from se4lip.audio.timebase import frame_count
from se4lip.types import SAMPLES_PER_FRAME


@dataclass(frozen=True)
class VoiceActivityConfig:
    silence_db: float = -60.0  # RMS of a frame below this is never speech (full scale = 0 dB)
    below_loud_db: float = 18.0  # speech lies at most this far under the loudest frames
    above_quiet_db: float = 9.0  # ... and at least this far over the quietest
    steady_db: float = 6.0  # a level that varies less than this is hum or hiss, not speech
    hangover_frames: int = 3  # gaps up to this long inside speech count as speech


def frame_level_db(samples: Float32[np.ndarray, " S"]) -> Float32[np.ndarray, " T"]:
    """RMS level of every 40-ms frame in dB of full scale, -120 for digital silence."""
    frames = frame_count(len(samples))
    padded = np.zeros(frames * SAMPLES_PER_FRAME, np.float32)
    padded[: len(samples)] = samples
    power = np.square(padded.reshape(frames, SAMPLES_PER_FRAME)).mean(1, dtype=np.float64)
    return (10 * np.log10(np.maximum(power, 1e-12))).astype(np.float32)


def speech_frames(
    samples: Float32[np.ndarray, " S"], config: VoiceActivityConfig | None = None
) -> Bool[np.ndarray, " T"]:
    """True for every 25-fps frame in which somebody speaks. ``samples`` are 16 kHz mono."""
    config = config or VoiceActivityConfig()
    level = frame_level_db(samples)
    if len(level) == 0:
        return np.zeros(0, bool)
    loud, quiet = np.percentile(level, 95), np.percentile(level, 10)
    if loud - quiet < config.steady_db:
        return np.zeros(len(level), bool)
    threshold = max(config.silence_db, loud - config.below_loud_db)
    # A recording that is speech from end to end has no quiet part to stand out from.
    threshold = max(threshold, min(quiet + config.above_quiet_db, loud - 15.0))
    active = level > threshold
    return _fill_gaps(active, config.hangover_frames)


def speech_in_frames(
    samples: Float32[np.ndarray, " S"], frames: int
) -> Bool[np.ndarray, " {frames}"]:
    """``speech_frames`` of as many frames as a video has; nobody speaks where the sound is over."""
    found = np.zeros(frames, bool)
    active = speech_frames(samples)[:frames]
    found[: len(active)] = active
    return found


def _fill_gaps(active: Bool[np.ndarray, " T"], longest: int) -> Bool[np.ndarray, " T"]:
    filled = active.copy()
    edges = np.flatnonzero(np.diff(active.astype(np.int8)))
    for end, start in itertools.pairwise(edges):
        if active[end] and not active[end + 1] and start - end <= longest:
            filled[end + 1 : start + 1] = True
    return filled
