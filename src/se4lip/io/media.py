"""Opening and decoding of audio and video containers, with one sentence for each way to fail."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av
import av.container
import av.error

from se4lip.io.files import existing_file
from se4lip.types import InputError

# Their headers state the true length. Others (MP3, MPEG-PS) only allow a guess from the bit rate.
_LENGTH_IS_TRUE = {"wav", "w64", "flac", "aiff", "caf", "mov,mp4,m4a,3gp,3g2,mj2"}
_LENGTH_SLACK_S = 0.25  # encoder delay and edit lists move an end by up to two AAC frames a side


@contextlib.contextmanager
def opened(path: Path | str, what: str) -> Iterator[av.container.InputContainer]:
    """Open ``path`` for decoding; ``what`` ("audio", "video") names it in errors.

    Raises:
        InputError: missing, empty, or nothing FFmpeg knows.
    """
    existing_file(path, what)
    try:
        # Metadata is often not UTF-8, and none of it matters here.
        container = av.open(str(path), metadata_errors="replace")
    except (av.error.FFmpegError, OSError, ValueError) as error:
        raise InputError(
            f"{what} {path} cannot be opened, it is damaged, cut short or no {what} file: "
            "fetch or record it again"
        ) from error
    with container:
        yield container


def decoded(container: av.container.InputContainer, stream: Any, path: Path | str) -> Iterator[Any]:
    """The frames of one stream in the order they are presented.

    Raises:
        InputError: the data are damaged, or end earlier than the header promises.
    """
    end_s = 0.0
    try:
        for frame in container.decode(stream):
            if frame.time is not None:
                end_s = max(end_s, frame.time - (stream.start_time or 0) * stream.time_base)
            yield frame
    except av.error.FFmpegError as error:
        raise InputError(
            f"{path} is damaged {float(end_s):.2f} s after its start: fetch or record it again"
        ) from error
    if stream.duration and container.format.name in _LENGTH_IS_TRUE:
        promised_s = float(stream.duration * stream.time_base)
        last_s = getattr(frame, "samples", 0) / (getattr(frame, "sample_rate", 0) or 1)
        missing_s = promised_s - float(end_s) - max(last_s, _duration_s(frame))
        if missing_s > _LENGTH_SLACK_S:
            raise InputError(
                f"{path} is cut short: {promised_s:.2f} s are promised and {missing_s:.2f} s of "
                "them are missing: fetch or record it again"
            )


def _duration_s(frame: Any) -> float:
    return float((frame.duration or 0) * (frame.time_base or 0))
