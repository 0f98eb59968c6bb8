"""What goes over the WebSocket, and what of it is refused.

Client: ``{"start": {"avatar": NAME, "rate": HZ}}`` first, then binary messages of 16-bit samples
(little-endian, one channel, at most a second each), ``{"flush": true}`` at the end of an utterance,
``{"interrupt": true}`` to forget what is not shown yet, and ``{"seen": INDEX}`` for each frame that
came: whoever says so is sent no more than the way holds.
Server: ``{"ready": {...}}`` or ``{"refused": SENTENCE}``, then one binary message a frame: the
header below and a JPEG picture.
"""

from __future__ import annotations

import json
import struct
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Float32

from se4lip.synthesis.live_work import LiveFrame

LONGEST_TEXT = 1000  # characters
LONGEST_S = 1.0  # of sound in a message
# Those that sound cards have. Any other rate would let a client choose the size of the resampler's
# table: 191,999 Hz needs 123 MB.
# fmt: off
RATES_HZ = (
    8_000, 11_025, 12_000, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000, 88_200, 96_000,
    176_400, 192_000,
)
# fmt: on
LARGEST_MESSAGE = 2 * max(RATES_HZ) + 65_536  # a little more is told what is wrong with it

# index, frames left out so far, pushed sample that begins the frame (-1: none, it rests),
# pushed samples when it was complete (-1: silence completed it), ms of encoding, ms on the server
_HEADER = struct.Struct("<IIddff")
POLICY, BROKEN, FULL = 1008, 1011, 1013  # close codes of RFC 6455 and its registry


class Refused(Exception):
    """This connection ends with ``code`` and a sentence for its user."""

    def __init__(self, sentence: str, code: int = POLICY) -> None:
        super().__init__(sentence)
        self.sentence, self.code = sentence, code


class Start(NamedTuple):
    avatar: str
    rate_hz: int


@dataclass(frozen=True)
class FrameNote:
    """The header of a frame message."""

    index: int
    skipped: int
    pushed: int | None
    completed_by: int | None
    encoding_ms: float
    held_ms: float


def frame_message(frame: LiveFrame, skipped: int, jpeg: bytes, now_s: float) -> bytes:
    """``now_s`` is `time.monotonic` when the message is handed to the socket."""
    return (
        _HEADER.pack(
            frame.index,
            skipped,
            -1 if frame.pushed is None else frame.pushed,
            -1 if frame.completed_by is None else frame.completed_by,
            1e3 * frame.encoding_s,
            1e3 * (now_s - frame.arrived_s),
        )
        + jpeg
    )


def read_frame(message: bytes) -> tuple[FrameNote, bytes]:
    index, skipped, pushed, completed_by, encoding_ms, held_ms = _HEADER.unpack_from(message)
    note = FrameNote(
        index,
        skipped,
        None if pushed < 0 else int(pushed),
        None if completed_by < 0 else int(completed_by),
        encoding_ms,
        held_ms,
    )
    return note, message[_HEADER.size :]


def read_start(text: str) -> Start:
    """Raises: Refused."""
    start = _json(text).get("start")
    if not isinstance(start, dict):
        raise Refused("the first message must be a start with an avatar and a sample rate")
    avatar, rate = start.get("avatar"), start.get("rate")
    if not isinstance(avatar, str):
        raise Refused("the start names no avatar")
    if not isinstance(rate, int) or rate not in RATES_HZ:
        raise Refused(f"the sample rate must be one of {', '.join(map(str, RATES_HZ))} Hz")
    return Start(avatar, rate)


def read_command(text: str) -> Literal["flush", "interrupt"] | int:
    """A command, or the index of a frame that was seen. Raises: Refused."""
    told = _json(text)
    index = told.get("seen")
    if len(told) == 1 and type(index) is int and 0 <= index < 1 << 32:
        return index
    if told == {"flush": True}:
        return "flush"
    if told == {"interrupt": True}:
        return "interrupt"
    raise Refused("a message was neither sound nor flush nor interrupt nor seen")


def read_samples(message: bytes, rate_hz: int) -> Float32[np.ndarray, " S"]:
    """Raises: Refused."""
    if not message:
        raise Refused("a message held no sound")
    if len(message) % 2:
        raise Refused("a message of 16-bit samples had an odd number of bytes")
    if len(message) > 2 * LONGEST_S * rate_hz:
        raise Refused(f"a message held more than {LONGEST_S:g} s of sound")
    return np.frombuffer(message, "<i2").astype(np.float32) / 32768


def _json(text: str) -> dict[str, object]:
    if len(text) > LONGEST_TEXT:
        raise Refused(f"a text message was longer than {LONGEST_TEXT} characters")
    try:
        told = json.loads(text)
    except (ValueError, RecursionError):
        raise Refused("a text message was not JSON") from None
    if not isinstance(told, dict):
        raise Refused("a text message was not a JSON object")
    return told
