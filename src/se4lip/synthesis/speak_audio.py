"""The verb ``speak``: an avatar says what is heard in a recording.

Everything is streamed: sound comes in by the second, pictures go out one by one, and memory does
not grow with the length of the speech.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float32, UInt8

from se4lip.artifacts.avatar import Avatar, load_avatar
from se4lip.artifacts.encoder import EncoderIdentity, encoder_identity
from se4lip.audio.timebase import frame_count
from se4lip.features.catalogue import OURS, load_features
from se4lip.head.base import Head
from se4lip.head.hearing import hear_all
from se4lip.head.motion import there_and_back
from se4lip.head.nerf.head import Shortcut
from se4lip.io.certificates import chosen_certificate
from se4lip.io.credentials import Origin
from se4lip.io.feature_files import read_features
from se4lip.io.feature_notes import author_of
from se4lip.io.files import sha256_of
from se4lip.io.pictures import SYNTHETIC, labelled
from se4lip.io.video import iter_heard, read_heard
from se4lip.io.video_writing import VideoConfig, writable_video, write_video
from se4lip.synthesis.encode_speech import encoded_pieces
from se4lip.types import FRAME_RATE_HZ, InputError
from se4lip.wording import counted

Features = Float32[np.ndarray, "T D"]
Picture = UInt8[np.ndarray, "H W 3"]

_CHUNK_S = 10.0
_LENGTHS_MAY_DIFFER_FRAMES = 2  # networks of others begin or end a row early or late
SMALLEST_PX, LARGEST_PX = 64, 2048


@dataclass
class SpokenVideo:
    """What was made, and where the time went, in seconds by the clock: on a CPU pictures are drawn
    while earlier ones are written, and waited for only where that is not enough."""

    video: Path
    frames: int = 0
    size_px: int = 0
    elapsed_s: float = 0.0
    profile_s: dict[str, float] = field(default_factory=dict)

    @property
    def frames_per_s(self) -> float:
        return self.frames / self.elapsed_s if self.elapsed_s else 0.0


def speak(
    avatar: Path | str | Avatar,
    audio: Path | str,
    out: Path | str,
    size_px: int | None = None,
    encoder: Path | str | None = None,
    features: Path | str | None = None,
    config: VideoConfig | None = None,
    on_progress: Callable[[float], None] = lambda done_s: None,
    *,
    label: bool = False,
    credentials: tuple[Path, Path] | None = None,
    feature_weights: Path | str | None = None,
    shortcut: Shortcut = "none",
    unchecked: bool = False,
) -> SpokenVideo:
    """Write a video of ``avatar`` saying ``audio``; its head moves as in its recordings.

    ``avatar`` is a file that ``train avatar`` wrote, or "grid-s1", who comes with the package. Of
    a video the sound is taken from its first picture on. It is written as it is, in one channel.

    ``features`` is a ``.npy`` file ``[T, D]`` at 25 rows a second to be used instead of computing
    them. The note beside it must say that they are of the avatar's encoder (``io.feature_notes``),
    unless they are ``unchecked`` or the avatar itself was trained on files of which nobody knows
    who wrote them. An avatar trained on features of others computes those, from ``feature_weights``
    if they are not where they are looked for. ``on_progress`` is told the seconds of video that are
    done. ``label`` burns the word "synthetic" into the picture; ``credentials`` are certificate and
    key of who signs the video (docs/provenance.md). ``shortcut`` is what the drawing of a radiance
    field may leave out (`nerf.head`).

    Raises:
        InputError: a file that cannot be read or written, features of another encoder than the
            avatar's or of other sound, an impossible size, or a certificate that cannot sign.
    """
    if size_px is not None and not SMALLEST_PX <= size_px <= LARGEST_PX:
        raise InputError(
            f"a picture of {size_px} px was asked for: "
            f"give --size from {SMALLEST_PX} to {LARGEST_PX}"
        )
    if unchecked and features is None:
        raise InputError("unchecked is about features of a file: give --features FILE.npy too")
    audio, out = Path(audio), Path(out)
    features = None if features is None else Path(features)
    weights = None if feature_weights is None else Path(feature_weights)
    file = None if isinstance(avatar, Avatar) else Path(avatar)
    writable_video(out, reading=(audio, features, file, *(credentials or ())))
    if not isinstance(avatar, Avatar):
        avatar = load_avatar(avatar)
    avatar = avatar.taking(shortcut)
    head: Head = avatar.head
    clock = _Clock()
    parts = avatar.parts
    if features is None:
        if not avatar.encoder.sha256:
            raise InputError(
                f"this avatar was trained on {avatar.encoder.name}, not on an encoder's features: "
                "give --features FILE.npy of the same kind"
            )
        heard = _heard(avatar, audio, encoder, weights)
    else:
        # An avatar without a checksum learned from files that nobody could vouch for either.
        vouched = bool(avatar.encoder.sha256) and not unchecked
        heard = iter([_given(avatar, features, audio, vouched)])
        parts["features"] = (features.name, sha256_of(features))
        if not vouched:
            del parts["encoder"]  # the video does not say whose features they are

    drawn_px = size_px or head.camera.width_px
    done = SpokenVideo(
        out, size_px=drawn_px + drawn_px % 2
    )  # video repeats a last odd row and column

    def pictures() -> Iterator[Picture]:
        for codes in mouth_codes(head, clock.timed("speech to mouth codes", heard)):
            rows = there_and_back(len(avatar.replay), done.frames, len(codes))
            drawn = head.pictures(codes, avatar.replay[rows], size_px)
            for picture in clock.timed("waiting for pictures", drawn):
                done.frames += 1
                yield picture
                if done.frames % FRAME_RATE_HZ == 0:
                    on_progress(done.frames / FRAME_RATE_HZ)

    began = time.perf_counter()
    write_video(
        out,
        labelled(pictures()) if label else pictures(),
        iter_heard(audio, 1.0, rate_hz=None),
        config or VideoConfig(),
        origin=Origin(
            "synthetic speech video: pictures drawn to a given sound",
            parts=parts,
            label=SYNTHETIC if label else None,
        ),
        certificate=chosen_certificate(credentials),
    )
    done.elapsed_s = time.perf_counter() - began
    done.profile_s = clock.seconds | {
        "writing the video": done.elapsed_s - sum(clock.seconds.values())
    }
    return done


def mouth_codes(head: Head, features: Iterable[Features]) -> Iterator[torch.Tensor]:
    """Codes of features that come in pieces, the same as if they came at once."""
    return hear_all(head, map(torch.from_numpy, features))


def _given(avatar: Avatar, file: Path, audio: Path, vouched: bool) -> Features:
    """The features in ``file``, if they are of ``audio`` and, ``vouched`` for by the note beside
    them, of the avatar's encoder."""
    rows = read_features(file)
    if vouched:
        author = author_of(file, rows)
        avatar.check_encoder(
            EncoderIdentity(author.name, author.sha256, rows.shape[1], author.features)
        )
    # Headers of compressed files are wrong by more than this; counting costs a second an hour.
    frames = frame_count(sum(len(piece.samples) for piece in iter_heard(audio)))
    if abs(len(rows) - frames) > _LENGTHS_MAY_DIFFER_FRAMES:
        raise InputError(
            f"feature file {file} holds {counted(len(rows), 'row')}, but {audio} lasts "
            f"{counted(frames, 'frame')}: give features of this sound, 25 rows a second"
        )
    return rows


def _heard(
    avatar: Avatar, audio: Path, encoder: Path | str | None, weights: Path | None
) -> Iterator[Features]:
    """Features of the kind that ``avatar`` was trained on; only our own come in pieces."""
    if avatar.encoder.features == OURS:
        avatar.check_encoder(encoder_identity(encoder))
        return encoded_pieces(audio, encoder, _CHUNK_S)
    kind = load_features(avatar.encoder.features, weights)
    avatar.check_encoder(kind.identity)
    return iter([kind(read_heard(audio).samples)])


class _Clock:
    """Adds up the time that iterators take to make their items."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    def timed(self, what: str, items: Iterable[Any]) -> Iterator[Any]:
        iterator = iter(items)
        while True:
            began = time.perf_counter()
            item = next(iterator, _END)
            took = time.perf_counter() - began
            self.seconds[what] = self.seconds.get(what, 0.0) + took
            if item is _END:
                return
            yield item


_END = object()
