"""Pictures of a video on the 25-fps grid, and the soundtrack that belongs to them.

One origin for both: the presentation time of the first video frame. Time stamps decide, never a
count of frames or a nominal rate.
"""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import av
import av.error
import numpy as np
from av.sidedata.sidedata import Type as SideData
from av.video.reformatter import Colorspace, Interpolation
from jaxtyping import UInt8

from se4lip.io import audio
from se4lip.io.media import CLOCK_GOES_BACK_S, check_decodable, decoded, joined_recordings, opened
from se4lip.types import FRAME_RATE_HZ, SAMPLE_RATE_HZ, InputError, Speech

Picture = UInt8[np.ndarray, "H W 3"]
F = TypeVar("F")

_LONGEST_STILL_S = 60.0
_SEEK_BEYOND_S = 10.0
_FLATTEST_PIXEL = 4.0  # a header that says more is wrong
_NO_COLORSPACE = 2  # AVCOL_SPC_UNSPECIFIED
_WIDEST_SD_PX, _TALLEST_SD_PX = 1024, 576  # what is larger and says nothing is BT.709


@dataclass(frozen=True)
class VideoInfo:
    """What the header says of a video. ``frames`` is an estimate on the 25-fps grid, or None.
    ``heard`` tells which of several sound tracks is heard; it is empty where there is one."""

    width_px: int
    height_px: int
    frames: int | None
    has_sound: bool
    heard: str = ""


def probe_video(path: Path | str) -> VideoInfo:
    """Size of the upright picture, length and presence of sound, after decoding one frame.

    Raises:
        InputError: missing, empty, damaged, or without pictures.
    """
    with opened(path, "video") as container:
        stream = _video_stream(container, path)
        _, _, first = _first(container, stream, path)
        height_px, width_px = _upright(first, _display(first, stream)).shape[:2]
        length_s: float | None = None
        if stream.duration:
            length_s = float(stream.duration * stream.time_base)
        elif container.duration:
            length_s = container.duration / av.time_base
        return VideoInfo(
            width_px=width_px,
            height_px=height_px,
            frames=None if length_s is None else round(length_s * FRAME_RATE_HZ),
            has_sound=audio.holds_sound(path),
            heard=audio.which_is_heard(container),
        )


def read_frames(path: Path | str, start: int = 0) -> Iterator[Picture]:
    """Upright RGB pictures of the 25-fps grid, from grid frame ``start`` on, one at a time.

    Picture ``t`` is the source frame whose time stamp is nearest to ``t / 25`` s, but none is
    shown more than half a frame early. The grid is as long as the source, to a frame.
    Pixels that are not square in the recording are made so. Pictures are C-contiguous; a repeated
    picture is the same array, so do not write into it.

    Raises:
        InputError: missing, empty, damaged, cut short, or without pictures.
    """
    picture: Picture | None = None
    shown: Any = None
    display: _Display | None = None
    for frame, stream in on_grid(_timed_from(path, start / FRAME_RATE_HZ), start):
        display = _display(frame, stream) if display is None else display
        if frame is not shown:
            shown, picture = frame, _upright(frame, display)
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
        origin_s, _, _ = _first(container, stream, path)
        if not container.streams.audio:
            raise InputError(f"{path} has no sound: give a video with an audio track")
    yield from audio.iter_from(path, chunk_s, origin_s)


def read_clip_speech(path: Path | str) -> Speech:
    """The whole soundtrack on the origin of the pictures; see ``iter_clip_speech``."""
    return Speech(np.concatenate([chunk.samples for chunk in iter_clip_speech(path)]))


def iter_heard(
    path: Path | str, chunk_s: float = 10.0, rate_hz: int | None = SAMPLE_RATE_HZ
) -> Iterator[Speech]:
    """The sound of a recording, of a video from its first picture on, in pieces of ``chunk_s``.

    So what is made of a video row by row or picture by picture fits its pictures. A file without
    pictures that can be shown begins with its first sample. A ``rate_hz`` of None is the file's.

    Raises:
        InputError: no sound, or damage.
    """
    origin_s: float | None = None
    with opened(path, "audio") as container, contextlib.suppress(InputError):
        origin_s, _, _ = _first(container, _video_stream(container, path), path)
    yield from audio.iter_from(path, chunk_s, origin_s, rate_hz)


def read_heard(path: Path | str) -> Speech:
    """The whole of ``iter_heard``."""
    return Speech(np.concatenate([chunk.samples for chunk in iter_heard(path)]))


def _video_stream(container: Any, path: Path | str) -> Any:
    # A cover picture inside an audio file is a stream of type video, but no video.
    streams = [s for s in container.streams.video if not s.disposition & s.disposition.attached_pic]
    if not streams:
        raise InputError(f"{path} has no pictures, it is not a video: give a video file")
    check_decodable(streams[0], "picture", path)
    return streams[0]


def _first(container: Any, stream: Any, path: Path | str) -> tuple[float, float, Any]:
    """Time, duration and content of the first frame."""
    for found in _timed(container, stream, path):
        return found
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


def _timed_from(path: Path | str, start_s: float) -> Iterator[tuple[float, float, tuple[Any, Any]]]:
    """Time since the first frame, duration, and frame and stream, from ``start_s`` or earlier."""
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
        if start_s > _SEEK_BEYOND_S and not _counts(container):
            # A second earlier, because frames are stored in another order than they are shown.
            goal = int((origin_s + start_s - 1) / stream.time_base)
            try:
                container.seek(goal, stream=stream)
            except av.error.FFmpegError:  # raw streams, and then they stand at their end
                yield from _timed_from(path, 0.0)
                return
            sought = _timed(container, stream, path)
            landed = next(sought, None)
            if landed is not None and landed[0] - origin_s <= start_s:
                first, frames = landed, sought
            else:  # some containers cannot seek well, back to the beginning no better
                yield from _timed_from(path, 0.0)
                return
        for time_s, duration_s, frame in itertools.chain([first], frames):
            yield time_s - origin_s, duration_s, (frame, stream)
        if duration_s > _LONGEST_STILL_S:  # of the last: nothing comes after it that would tell
            raise InputError(_stands_still(path, duration_s))


def _counts(container: Any) -> bool:
    """Whether the container counts pictures as they are stored and knows no time of showing them.

    With B-frames FFmpeg's times of AVI files then go back and forth.
    """
    return container.format.name == "avi"


def _timed(container: Any, stream: Any, path: Path | str) -> Iterator[tuple[float, float, Any]]:
    """Frames with ascending time and duration; raw streams without time stamps count frames."""
    step_s = float(1 / stream.average_rate) if stream.average_rate else 1 / FRAME_RATE_HZ
    last_s: float | None = None
    behind = 0  # pictures in a row whose times lie far behind
    lead: int | None = None  # pictures that were stored before the first was shown
    for frame in decoded(container, stream, path):
        time_s = frame.time
        if _counts(container):
            count = frame.dts  # ascends with what is shown
            if lead is None:
                lead = (count or 0) - (stream.start_time or 0)
            time_s = None if count is None else float((count - lead) * frame.time_base)
        if time_s is None:
            time_s = 0.0 if last_s is None else last_s + step_s
        if last_s is not None and time_s <= last_s:
            behind = behind + 1 if time_s < last_s - CLOCK_GOES_BACK_S else 0
            if behind > 1:  # a single one may be wild
                raise InputError(joined_recordings(path, "picture", last_s - time_s))
            continue
        behind = 0
        if last_s is not None and time_s - last_s > _LONGEST_STILL_S:
            raise InputError(_stands_still(path, time_s - last_s))
        yield time_s, float((frame.duration or 0) * (frame.time_base or 0)), frame
        last_s = time_s


def _stands_still(path: Path | str, for_s: float) -> str:
    return (
        f"the picture of {path} stands still for {for_s:.0f} s, more than the "
        f"{_LONGEST_STILL_S:.0f} s that time stamps are believed: convert it again"
    )


class _Display(NamedTuple):
    """How stored pictures become those to be seen: of square pixels, then transposed, mirrored;
    ``colours`` is what those are that do not say."""

    width_px: int
    height_px: int
    transposed: bool = False
    mirrored_y: bool = False
    mirrored_x: bool = False
    colours: Colorspace | None = None


def _display(frame: Any, stream: Any) -> _Display:
    """What the pixel aspect ratio and the display matrix of a stream ask for.

    One frame only is asked: side data and frame refer to each other in PyAV, so that frames asked
    for it stay in memory until the garbage collector comes round.
    """
    aspect = float(stream.sample_aspect_ratio or 1)
    if not 1 / _FLATTEST_PIXEL <= aspect <= _FLATTEST_PIXEL:
        aspect = 1.0
    size_px = round(frame.width * max(1, aspect)), round(frame.height / min(1, aspect))
    is_large = frame.height > _TALLEST_SD_PX or frame.width > _WIDEST_SD_PX
    untold = frame.colorspace == _NO_COLORSPACE and is_large and not frame.format.is_rgb
    colours = Colorspace.ITU709 if untold else None  # as players take it
    side = frame.side_data.get(SideData.DISPLAYMATRIX)
    if side is None:
        return _Display(*size_px, colours=colours)
    # [[a, b, u], [c, d, v], ...]: x' = a x + c y, y' = b x + d y in 16.16 fixed point.
    a, b, _, c, d = np.frombuffer(bytes(side), np.int32)[:5]
    if abs(a) + abs(d) < abs(b) + abs(c):  # x' comes from y
        return _Display(*size_px, True, bool(b < 0), bool(c < 0), colours)
    return _Display(*size_px, False, bool(d < 0), bool(a < 0), colours)


def _upright(frame: Any, display: _Display) -> Picture:
    if (frame.width, frame.height) != (display.width_px, display.height_px):
        frame = frame.reformat(
            display.width_px, display.height_px, interpolation=Interpolation.BICUBIC
        )
    if display.colours is not None:
        frame = frame.reformat(format="rgb24", src_colorspace=display.colours)
    picture = frame.to_ndarray(format="rgb24")
    if display.transposed:
        picture = picture.swapaxes(0, 1)
    picture = picture[:: -1 if display.mirrored_y else 1, :: -1 if display.mirrored_x else 1]
    return np.ascontiguousarray(picture)
