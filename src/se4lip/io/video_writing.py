"""Pictures and their sound become a video file that says it is made, and by what."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from importlib.metadata import version
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.video.reformatter import ColorPrimaries, ColorRange, Colorspace, ColorTrc

from se4lip.io import audio
from se4lip.io.certificates import Certificate, chosen_certificate
from se4lip.io.credentials import MEDIA_TYPES, Origin, Seal
from se4lip.io.files import atomic, writable_files
from se4lip.io.media import by_path
from se4lip.io.video import Picture
from se4lip.types import FRAME_RATE_HZ, InputError, Speech

_AAC_RATES_HZ = {8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000, 64000, 88200, 96000}


@dataclass(frozen=True)
class VideoConfig:
    """How ``write_video`` encodes. ``crf``: 0 is lossless, 18 looks so, 28 is small."""

    crf: int = 18
    preset: str = "veryfast"
    audio_bit_rate: int = 96_000


def writable_video(path: Path | str, reading: Iterable[Path | str | None] = ()) -> None:
    """Prove that a video can be written there, before hours of drawing.

    Raises:
        InputError: a folder, in a folder that cannot be written, one of the files that are
            ``reading``, or of a kind without credentials.
    """
    writable_files(path, reading=reading)
    suffix = Path(path).suffix.lower()
    if suffix not in MEDIA_TYPES:
        raise InputError(
            f"cannot write {path}: {suffix or 'no suffix'} is no video format that carries content "
            "credentials: use .mp4"
        )


def write_video(
    path: Path | str,
    frames: Iterable[Picture],
    speech: Speech | Iterable[Speech] | None,
    config: VideoConfig = VideoConfig(),
    *,
    origin: Origin | None = None,
    certificate: Certificate | None = None,
    frame_rate_hz: int = FRAME_RATE_HZ,
) -> int:
    """Write H.264 (yuv420p, BT.709) and AAC, streamed, whole or not at all; returns the frames.

    Sample 0 sounds when picture 0 is shown. Odd sizes are padded by one repeated row or column.
    Every video says that it is made, and by what: ``origin`` becomes a C2PA content credential
    signed with ``certificate`` (`io.certificates`; the user's or this computer's where it is None),
    and its comment follows "se4lip VERSION:" in the file's comment tag.

    Raises:
        InputError: ``path`` cannot be written or is not of a kind that carries credentials, the
            certificate cannot sign, there are no frames, or they differ in size.
    """
    writable_video(path)
    origin = origin or Origin()
    seal = Seal(certificate or chosen_certificate())
    pictures = iter(frames)
    try:
        first = next(pictures)
    except StopIteration:
        raise InputError(f"there are no pictures to write to {path}: give at least one") from None
    pieces = _aac_ready(iter(() if speech is None else _pieces(speech)))
    with atomic(path) as part:
        with av.open(by_path(part), "w", options={"movflags": "+faststart"}) as container:
            container.metadata["comment"] = f"se4lip {version('se4lip')}: {origin.comment}"
            video = _video_output(container, first, config, frame_rate_hz)
            piece = next(pieces, None)
            sound: Any = None
            if piece is not None:
                sound = container.add_stream("aac", rate=piece.sample_rate_hz, layout="mono")
                sound.bit_rate = config.audio_bit_rate
            heard = shown = 0
            for picture in itertools.chain([first], pictures):
                if picture.shape != first.shape:
                    raise InputError(
                        f"picture {shown} has shape {picture.shape}, the first {first.shape}: "
                        "all pictures of a video must be of one size"
                    )
                container.mux(video.encode(_video_frame(picture, shown, frame_rate_hz)))
                shown += 1
                # Sound goes in beside its picture, so that the muxer never has to wait for it.
                while piece is not None and heard / piece.sample_rate_hz < shown / frame_rate_hz:
                    container.mux(sound.encode(_audio_frame(piece, heard)))
                    heard += len(piece.samples)
                    piece = next(pieces, None)
            while piece is not None:
                container.mux(sound.encode(_audio_frame(piece, heard)))
                heard += len(piece.samples)
                piece = next(pieces, None)
            container.mux(video.encode(None))
            if sound is not None:
                container.mux(sound.encode(None))
        seal.sign(part, origin, title=Path(path).name)
    return shown


def _video_output(container: Any, first: Picture, config: VideoConfig, rate_hz: int) -> Any:
    stream = container.add_stream(
        "libx264", rate=rate_hz, options={"crf": str(config.crf), "preset": config.preset}
    )
    stream.height, stream.width = (side + side % 2 for side in first.shape[:2])
    stream.pix_fmt = "yuv420p"
    context = stream.codec_context
    context.colorspace = Colorspace.ITU709
    context.color_primaries = ColorPrimaries.BT709
    context.color_trc = ColorTrc.BT709
    context.color_range = ColorRange.MPEG
    return stream


def _video_frame(picture: Picture, index: int, rate_hz: int) -> av.VideoFrame:
    odd_h, odd_w = (side % 2 for side in picture.shape[:2])
    if odd_h or odd_w:
        picture = np.pad(picture, ((0, odd_h), (0, odd_w), (0, 0)), mode="edge")
    frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")
    frame = frame.reformat(
        format="yuv420p",
        src_color_range=ColorRange.JPEG,
        dst_colorspace=Colorspace.ITU709,
        dst_color_range=ColorRange.MPEG,
    )
    frame.pts, frame.time_base = index, Fraction(1, rate_hz)
    return frame


def _audio_frame(piece: Speech, position: int) -> av.AudioFrame:
    frame = av.AudioFrame.from_ndarray(piece.samples[None], "fltp", "mono")
    frame.sample_rate = piece.sample_rate_hz
    frame.pts, frame.time_base = position, Fraction(1, piece.sample_rate_hz)
    return frame


def _pieces(speech: Speech | Iterable[Speech]) -> Iterator[Speech]:
    """Tenth-second pieces, so that sound and pictures interleave finely."""
    for chunk in [speech] if isinstance(speech, Speech) else speech:
        size = max(1, chunk.sample_rate_hz // 10)
        for at in range(0, len(chunk.samples), size):
            yield Speech(chunk.samples[at : at + size], chunk.sample_rate_hz)


def _aac_ready(pieces: Iterator[Speech]) -> Iterator[Speech]:
    """The same sound at a rate that AAC knows."""
    first = next(pieces, None)
    if first is None:
        return
    pieces = itertools.chain([first], pieces)
    if first.sample_rate_hz in _AAC_RATES_HZ:
        yield from pieces
        return
    samples = (piece.samples for piece in pieces)
    for block in audio.resampled(samples, first.sample_rate_hz, 48_000):
        if len(block):
            yield Speech(block, 48_000)
