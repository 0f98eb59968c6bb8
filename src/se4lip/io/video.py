"""Pictures in and out on the 25-fps grid, and the soundtrack that belongs to them.

One origin for both: the presentation time of the first video frame. Time stamps decide, never a
count of frames or a nominal rate.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import av
import numpy as np
from av.sidedata.sidedata import Type as SideData
from av.video.reformatter import ColorPrimaries, ColorRange, Colorspace, ColorTrc
from jaxtyping import UInt8

from se4lip.io import audio
from se4lip.io.certificates import Certificate, chosen_certificate
from se4lip.io.credentials import MEDIA_TYPES, Origin, Seal
from se4lip.io.files import atomic, writable_files
from se4lip.io.media import decoded, opened
from se4lip.types import FRAME_RATE_HZ, InputError, Speech

Picture = UInt8[np.ndarray, "H W 3"]
F = TypeVar("F")

_LONGEST_STILL_S = 60.0
_SEEK_BEYOND_S = 10.0
_AAC_RATES_HZ = {8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000, 64000, 88200, 96000}


@dataclass(frozen=True)
class VideoInfo:
    """What the header says of a video. ``frames`` is an estimate on the 25-fps grid, or None."""

    width_px: int
    height_px: int
    frames: int | None
    has_sound: bool


def probe_video(path: Path | str) -> VideoInfo:
    """Size of the upright picture, length and presence of sound, after decoding one frame.

    Raises:
        InputError: missing, empty, damaged, or without pictures.
    """
    with opened(path, "video") as container:
        stream = _video_stream(container, path)
        first = _first_frame(container, stream, path)
        height_px, width_px = _upright(first, _turn(first)).shape[:2]
        length_s: float | None = None
        if stream.duration:
            length_s = float(stream.duration * stream.time_base)
        elif container.duration:
            length_s = container.duration / av.time_base
        return VideoInfo(
            width_px=width_px,
            height_px=height_px,
            frames=None if length_s is None else round(length_s * FRAME_RATE_HZ),
            has_sound=bool(container.streams.audio),
        )


def read_frames(path: Path | str, start: int = 0) -> Iterator[Picture]:
    """Upright RGB pictures of the 25-fps grid, from grid frame ``start`` on, one at a time.

    Picture ``t`` is the source frame whose time stamp is nearest to ``t / 25`` s, but none is
    shown more than half a frame early. The grid is as long as the source, to a frame.
    Pictures are C-contiguous; a repeated picture is the same array, so do not write into it.

    Raises:
        InputError: missing, empty, damaged, cut short, or without pictures.
    """
    picture: Picture | None = None
    shown: Any = None
    turn: _Turn | None = None
    for frame in on_grid(_timed_from(path, start / FRAME_RATE_HZ), start):
        turn = _turn(frame) if turn is None else turn
        if frame is not shown:
            shown, picture = frame, _upright(frame, turn)
        assert picture is not None
        yield picture


def iter_clip_speech(path: Path | str, chunk_s: float = 10.0) -> Iterator[Speech]:
    """The soundtrack on the origin of the pictures, in pieces of ``chunk_s``.

    Sound that starts late is preceded by silence, sound before the first picture is dropped.

    Raises:
        InputError: no pictures, no sound, or damage.
    """
    with opened(path, "video") as container:
        stream = _video_stream(container, path)
        origin_s = _first_frame(container, stream, path).time or 0.0
        if not container.streams.audio:
            raise InputError(f"{path} has no sound: give a video with an audio track")
    yield from audio.iter_from(path, chunk_s, origin_s)


def read_clip_speech(path: Path | str) -> Speech:
    """The whole soundtrack on the origin of the pictures; see ``iter_clip_speech``."""
    return Speech(np.concatenate([chunk.samples for chunk in iter_clip_speech(path)]))


@dataclass(frozen=True)
class VideoConfig:
    """How ``write_video`` encodes. ``crf``: 0 is lossless, 18 looks so, 28 is small."""

    crf: int = 18
    preset: str = "veryfast"
    audio_bit_rate: int = 96_000


def writable_video(path: Path | str) -> None:
    """Prove that a video can be written there, before hours of drawing.

    Raises:
        InputError: a folder, in a folder that cannot be written, or of a kind without credentials.
    """
    writable_files(path)
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
        with av.open(str(part), "w", options={"movflags": "+faststart"}) as container:
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


def _video_stream(container: Any, path: Path | str) -> Any:
    # A cover picture inside an audio file is a stream of type video, but no video.
    streams = [s for s in container.streams.video if not s.disposition & s.disposition.attached_pic]
    if not streams:
        raise InputError(f"{path} has no pictures, it is not a video: give a video file")
    return streams[0]


def _first_frame(container: Any, stream: Any, path: Path | str) -> Any:
    for frame in decoded(container, stream, path):
        return frame
    raise InputError(f"{path} holds no pictures: fetch or record it again")


def on_grid(frames: Iterator[tuple[float, float, F]], start: int = 0) -> Iterator[F]:
    """The frame to show at each grid step from ``start`` on, of frames (time_s, duration_s, frame).

    Times ascend and count from the origin; a duration of 0 is unknown. See ``read_frames``.
    """
    shown_s, duration_s, shown = next(frames)
    step_s = 1 / FRAME_RATE_HZ
    t = start
    for next_s, next_duration_s, upcoming in frames:
        step_s = next_s - shown_s
        # The upcoming frame takes over where it is nearer, or half a grid step before its time.
        takes_over_s = next_s - min(step_s, 1 / FRAME_RATE_HZ) / 2
        while t / FRAME_RATE_HZ < takes_over_s:
            yield shown
            t += 1
        shown_s, duration_s, shown = next_s, next_duration_s, upcoming
    end_s = shown_s + (duration_s or step_s)
    for _ in range(t, max(1, round(end_s * FRAME_RATE_HZ))):
        yield shown


def _timed_from(path: Path | str, start_s: float) -> Iterator[tuple[float, float, Any]]:
    """Frames with time since the first one, and duration, from ``start_s`` or earlier on."""
    with opened(path, "video") as container:
        stream = _video_stream(container, path)
        stream.thread_type = "AUTO"
        # Each thread holds frames; one for every core, in a worker for every core, fills memory.
        stream.codec_context.thread_count = 2
        frames = _timed(container, stream, path)
        first = next(frames, None)
        if first is None:
            raise InputError(f"{path} holds no pictures: fetch or record it again")
        origin_s = first[0]
        if start_s > _SEEK_BEYOND_S:
            # A second earlier, because frames are stored in another order than they are shown.
            container.seek(int((origin_s + start_s - 1) / stream.time_base), stream=stream)
            sought = _timed(container, stream, path)
            landed = next(sought, None)
            if landed is not None and landed[0] - origin_s <= start_s:
                first, frames = landed, sought
            else:  # some containers cannot seek well: read from the beginning
                container.seek(stream.start_time or 0, stream=stream)
                frames = (f for f in _timed(container, stream, path) if f[0] > origin_s)
        for time_s, duration_s, frame in itertools.chain([first], frames):
            yield time_s - origin_s, duration_s, frame


def _timed(container: Any, stream: Any, path: Path | str) -> Iterator[tuple[float, float, Any]]:
    """Frames with ascending time and duration; raw streams without time stamps count frames."""
    step_s = float(1 / stream.average_rate) if stream.average_rate else 1 / FRAME_RATE_HZ
    last_s: float | None = None
    for frame in decoded(container, stream, path):
        time_s = frame.time
        if time_s is None:
            time_s = 0.0 if last_s is None else last_s + step_s
        if last_s is not None and time_s <= last_s:
            continue
        if last_s is not None and time_s - last_s > _LONGEST_STILL_S:
            raise InputError(
                f"the picture of {path} stands still for {time_s - last_s:.0f} s, more than the "
                f"{_LONGEST_STILL_S:.0f} s that time stamps are believed: convert it again"
            )
        yield time_s, float((frame.duration or 0) * (frame.time_base or 0)), frame
        last_s = time_s


class _Turn(NamedTuple):
    """How stored pictures become upright ones: first transposed, then mirrored."""

    transposed: bool = False
    mirrored_y: bool = False
    mirrored_x: bool = False


def _turn(frame: Any) -> _Turn:
    """What the display matrix of a stream's frame asks for.

    It is asked of one frame only: side data and frame refer to each other in PyAV, so that frames
    asked for it stay in memory until the garbage collector comes round.
    """
    side = frame.side_data.get(SideData.DISPLAYMATRIX)
    if side is None:
        return _Turn()
    # [[a, b, u], [c, d, v], ...]: x' = a x + c y, y' = b x + d y in 16.16 fixed point.
    a, b, _, c, d = np.frombuffer(bytes(side), np.int32)[:5]
    if abs(a) + abs(d) < abs(b) + abs(c):  # x' comes from y
        return _Turn(True, mirrored_y=bool(b < 0), mirrored_x=bool(c < 0))
    return _Turn(False, mirrored_y=bool(d < 0), mirrored_x=bool(a < 0))


def _upright(frame: Any, turn: _Turn) -> Picture:
    picture = frame.to_ndarray(format="rgb24")
    if turn.transposed:
        picture = picture.swapaxes(0, 1)
    picture = picture[:: -1 if turn.mirrored_y else 1, :: -1 if turn.mirrored_x else 1]
    return np.ascontiguousarray(picture)
