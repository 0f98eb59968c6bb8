"""The verb ``encode``: sound in, lip features out."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from jaxtyping import Float32

from se4lip.artifacts.encoder import encoder_identity, load_encoder
from se4lip.encoder.streaming import SpeechStream, encode_offline
from se4lip.io.feature_notes import Author, features_writer, writable_features
from se4lip.io.video import iter_heard
from se4lip.types import FRAME_RATE_HZ, SAMPLE_RATE_HZ

_CHUNK_S = 30.0


class StreamingEncoder(SpeechStream):
    """Lip features while somebody speaks: ``init``, ``step``, ``finish`` (see ``SpeechStream``).

    They are those of ``encode`` for the same samples. Of a file at another rate than 16 kHz
    ``encode_file`` makes slightly others: it is resampled by soxr, which waits too long for a
    stream; cosines are 0.999 and more.

    Raises:
        InputError: a rate that is not positive, or weights that cannot be read.
    """

    def __init__(self, sample_rate: int, encoder: Path | str | None = None) -> None:
        super().__init__(load_encoder(encoder).speech, sample_rate)


def encode(
    samples: Float32[np.ndarray, " S"], sample_rate: int, encoder: Path | str | None = None
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
    """Features of any audio or video file PyAV reads. Beyond them, memory does not grow with it.

    Row 0 is of the first picture where there are pictures, else of the first sample.

    ``progress`` is called with the seconds done so far.
    """
    return np.concatenate(list(encoded_pieces(audio, encoder, _CHUNK_S, progress)))


def encode_to_file(
    audio: Path,
    out: Path,
    encoder: Path | None = None,
    progress: Callable[[float], None] | None = None,
) -> tuple[int, int]:
    """``encode_file`` into a ``.npy`` file of float32, in memory that the length does not decide.

    A note of the encoder is written beside it (``io.feature_notes``). Returns its shape.

    Raises:
        InputError: sound that cannot be read, or a file that cannot be written or is the sound.
    """
    writable_features(out, reading=(audio, encoder))
    identity = encoder_identity(encoder)
    author = Author(identity.features, identity.name, identity.sha256)
    pieces = encoded_pieces(audio, encoder, _CHUNK_S, progress)
    piece: np.ndarray | None = next(pieces)  # no file is begun for sound that cannot be read
    assert piece is not None
    rows, width = 0, piece.shape[1]
    with features_writer(out, author, width) as append:
        while piece is not None:
            append(piece)
            rows += len(piece)
            piece = next(pieces, None)
    return rows, width


def encoded_pieces(
    audio: Path,
    encoder: Path | str | None,
    chunk_s: float,
    progress: Callable[[float], None] | None = None,
) -> Iterator[Float32[np.ndarray, "t D"]]:
    """The features of a file piece by piece, the same as all at once.

    Raises: InputError when sound cannot be read, once the first piece is asked for.
    """
    stream = StreamingEncoder(SAMPLE_RATE_HZ, encoder)
    state, frames = stream.init(), 0
    for speech in iter_heard(audio, chunk_s):
        state, features = stream.step(state, speech.samples)
        frames += len(features)
        if progress:
            progress(frames / FRAME_RATE_HZ)
        yield features
    yield stream.finish(state)[1]
