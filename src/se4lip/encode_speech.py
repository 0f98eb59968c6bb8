"""The verb ``encode``: sound in, lip features out."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from jaxtyping import Float32

from se4lip.artifacts.encoder import load_encoder
from se4lip.encoder.streaming import SpeechStream, encode_offline
from se4lip.io.audio import iter_speech
from se4lip.io.files import write_array
from se4lip.types import FRAME_RATE_HZ, SAMPLE_RATE_HZ


class StreamingEncoder(SpeechStream):
    """Lip features while somebody speaks: ``init``, ``step``, ``finish`` (see ``SpeechStream``).

    Raises:
        InputError: a rate that is not positive, or weights that cannot be read.
    """

    def __init__(self, sample_rate: int, encoder: Path | None = None) -> None:
        super().__init__(load_encoder(encoder).speech, sample_rate)


def encode(
    samples: Float32[np.ndarray, " S"], sample_rate: int, encoder: Path | None = None
) -> Float32[np.ndarray, "T 512"]:
    """Lip features of a recording: one unit vector per 25-fps frame, ``T = ceil(duration * 25)``.

    ``samples`` are one channel in [-1, 1] at ``sample_rate`` Hz; the rate is never guessed.

    Raises:
        InputError: more than one channel, integers, NaN, or a rate that is not positive.
    """
    return encode_offline(load_encoder(encoder).speech, samples, sample_rate)


def encode_file(
    audio: Path,
    encoder: Path | None = None,
    progress: Callable[[float], None] | None = None,
) -> Float32[np.ndarray, "T 512"]:
    """Features of any audio or video file PyAV reads, in memory that its length does not decide.

    ``progress`` is called with the seconds done so far.
    """
    stream = StreamingEncoder(SAMPLE_RATE_HZ, encoder)
    state, parts, frames = stream.init(), [], 0
    for speech in iter_speech(audio, chunk_s=30.0):
        state, features = stream.step(state, speech.samples)
        parts.append(features)
        frames += len(features)
        if progress:
            progress(frames / FRAME_RATE_HZ)
    _, features = stream.finish(state)
    return np.concatenate((*parts, features))


def write_features(path: Path, features: Float32[np.ndarray, "T D"]) -> None:
    """One ``.npy`` file, float32, nothing pickled."""
    write_array(path, features)
