"""Pictures of a video on the 25-fps grid, and the soundtrack that belongs to them.

One origin for both: the presentation time of the first video frame. Time stamps decide, never a
count of frames or a nominal rate.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import av
import numpy as np
from av.sidedata.sidedata import Type as SideData
from jaxtyping import UInt8

from se4lip.io import audio
from se4lip.io.media import decoded, opened
from se4lip.types import FRAME_RATE_HZ, InputError, Speech

Picture = UInt8[np.ndarray, "H W 3"]
F = TypeVar("F")

_LONGEST_STILL_S = 60.0
_SEEK_BEYOND_S = 10.0


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
