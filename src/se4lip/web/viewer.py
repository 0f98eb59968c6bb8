"""One viewer: a WebSocket that brings sound and takes pictures, from its first message to its last.

Whatever happens, ``attend`` returns with everything freed: the head, its place, its tasks.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Executor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import UInt8

from se4lip.artifacts.avatar import Avatar
from se4lip.io.pictures import jpeg_bytes, labelled
from se4lip.synthesis.live_head import LiveHead
from se4lip.synthesis.live_work import LiveConfig
from se4lip.web.allowance import Allowance
from se4lip.web.messages import (
    BROKEN,
    FULL,
    Refused,
    Start,
    frame_message,
    read_command,
    read_samples,
    read_start,
)

if TYPE_CHECKING:
    from aiohttp.web import WebSocketResponse

Picture = UInt8[np.ndarray, "H W 3"]
_LOG = logging.getLogger(__name__)
Opener = Callable[[Avatar, int, LiveConfig, Executor], LiveHead]
# A second. A page sends sound in chunks of 20 ms; whoever sends less at a time keeps the event loop
# busy with messages instead of sound.
_MESSAGES_HZ = 200
_COMMANDS_HZ = 5  # flushes and interruptions: each lets a head begin anew
_FAREWELL_S = 5.0
_ON_THE_WAY_S = 0.25  # of the oldest picture not seen yet: more would wait in a link too slow
_GONE_S = 15.0  # without a picture that was seen, or taken
_LONGEST_REASON = 120  # bytes; a close frame holds 123


@dataclass
class House:
    """What all viewers share. ``places`` are free ones; ``most_sockets`` may be open at a time, of
    those who have a place, wait for one, or have not said yet what they want."""

    avatars: Mapping[str, Avatar]
    config: LiveConfig
    worker: Executor
    places: int
    longest_s: float
    jpeg_quality: int
    open_head: Opener
    start_within_s: float = 10.0
    leave_within_s: float = 1.0
    most_sockets: int = 64


async def attend(socket: WebSocketResponse, house: House) -> None:
    """Serve one viewer until either side ends it."""
    try:
        await _attend(socket, house)
    except Refused as refused:
        await _farewell(socket, refused.sentence, refused.code)
    except ConnectionError:
        pass  # it is gone
    except Exception:
        _LOG.exception("a viewer was sent away")
        await _farewell(socket, "the head failed: start again, or choose another", BROKEN)


async def _farewell(socket: WebSocketResponse, sentence: str, code: int) -> None:
    """Who has gone already, or does not read, is not waited for."""
    with contextlib.suppress(ConnectionError, TimeoutError):
        async with asyncio.timeout(_FAREWELL_S):
            if not socket.closed:
                await socket.send_json({"refused": sentence})
            await socket.close(code=code, message=sentence.encode()[:_LONGEST_REASON])


async def _attend(socket: WebSocketResponse, house: House) -> None:
    start = await _start(socket, house.start_within_s)
    if start is None:
        return
    avatar = house.avatars.get(start.avatar)
    if avatar is None:
        raise Refused("there is no such avatar here")
    await _take_place(house)  # not before: who says nothing takes nobody's place
    try:
        await _stay(socket, house, avatar, start.rate_hz)
    finally:
        house.places += 1


async def _take_place(house: House) -> None:
    """A place that is about to be left, by somebody who reloads the page, is waited for."""
    until = time.monotonic() + house.leave_within_s
    while house.places <= 0:
        if time.monotonic() > until:
            raise Refused("all places are taken: try again in a minute", FULL)
        await asyncio.sleep(0.02)
    house.places -= 1


async def _stay(socket: WebSocketResponse, house: House, avatar: Avatar, rate_hz: int) -> None:
    async with house.open_head(avatar, rate_hz, house.config, house.worker) as head:
        await socket.send_json({"ready": {"lookahead_ms": round(1e3 * head.lookahead_s)}})
        way = Way()
        both = {
            asyncio.create_task(_listen(socket, head, way)),
            asyncio.create_task(_show(socket, head, way, house.jpeg_quality)),
        }
        try:
            done, _ = await asyncio.wait(
                both, timeout=house.longest_s, return_when=asyncio.FIRST_COMPLETED
            )
        finally:
            for task in both:
                task.cancel()
            await asyncio.gather(*both, return_exceptions=True)
        if not done:
            raise Refused(f"{house.longest_s / 60:.3g} minutes are over: start again")
        for task in done:
            task.result()  # says why it ended, if it failed


async def _start(socket: WebSocketResponse, within_s: float) -> Start | None:
    from aiohttp import WSMsgType

    try:
        async with asyncio.timeout(within_s):
            message = await socket.receive()
    except TimeoutError:
        raise Refused(f"no start came within {within_s:g} s") from None
    if message.type == WSMsgType.TEXT:
        return read_start(message.data)
    if message.type in {WSMsgType.BINARY, WSMsgType.PING, WSMsgType.PONG}:
        raise Refused("the first message must be a start with an avatar and a sample rate")
    return None


@dataclass
class Way:
    """Pictures between here and a viewer who says which were seen. Buffers on the way hold seconds
    of them; of a viewer who says nothing it is not known."""

    sent: deque[tuple[int, float]] = field(default_factory=deque)  # indices, and when
    skipped: int = 0  # left out because the way was full
    seen_s: float | None = None  # when one was seen last

    def sends(self, index: int) -> None:
        if self.seen_s is not None:  # else nothing would ever be taken off
            self.sent.append((index, time.monotonic()))

    def seen(self, index: int) -> None:
        self.seen_s = time.monotonic()
        while self.sent and self.sent[0][0] <= index:
            self.sent.popleft()

    def has_room(self) -> bool:
        """Raises: Refused when nothing was seen for long."""
        now = time.monotonic()
        if self.seen_s is None or not self.sent or now - self.sent[0][1] < _ON_THE_WAY_S:
            return True
        if now - self.seen_s > _GONE_S:
            raise Refused(f"no picture was seen for {_GONE_S:g} s: the connection is too slow")
        self.skipped += 1
        return False


async def _listen(socket: WebSocketResponse, head: LiveHead, way: Way) -> None:
    from aiohttp import WSMsgType

    messages, commands, sound = Allowance(_MESSAGES_HZ), Allowance(_COMMANDS_HZ), Allowance(1.0)
    while True:
        message = await socket.receive()
        await asyncio.sleep(0)  # messages that lie ready would let nobody else's through
        if message.type in {WSMsgType.CLOSE, WSMsgType.CLOSING, WSMsgType.CLOSED, WSMsgType.ERROR}:
            return
        if not messages.spend():
            raise Refused(f"more than {_MESSAGES_HZ} messages came in a second: send longer sound")
        if message.type == WSMsgType.BINARY:
            samples = read_samples(message.data, head.sample_rate_hz)
            if not sound.spend(len(samples) / head.sample_rate_hz):
                raise Refused("sound came faster than it sounds: send it as it is heard")
            await head.push(samples)
        elif message.type == WSMsgType.TEXT:
            command = read_command(message.data)
            if isinstance(command, int):
                way.seen(command)
                continue
            if not commands.spend():
                raise Refused(f"more than {_COMMANDS_HZ} commands came in a second: send fewer")
            {"flush": head.flush, "interrupt": head.interrupt}[command]()
        elif message.type == WSMsgType.PING:
            await socket.pong(message.data)


async def _show(socket: WebSocketResponse, head: LiveHead, way: Way, quality: int) -> None:
    as_sent = picture_writer(quality)
    async for frame in head:
        if not way.has_room():
            continue
        jpeg, skipped = as_sent(frame.picture), head.skipped + way.skipped
        way.sends(frame.index)
        message = frame_message(frame, skipped, jpeg, time.monotonic())
        try:
            async with asyncio.timeout(_GONE_S):
                await socket.send_bytes(message)
        except TimeoutError:
            raise Refused(f"no picture was taken for {_GONE_S:g} s") from None


def picture_writer(quality: int) -> Callable[[Picture], bytes]:
    """Makes of pictures what is sent: a JPEG with the label in it."""
    drawn: list[Picture] = []
    marked = labelled(_popped(drawn))  # one patch for them all

    def as_sent(picture: Picture) -> bytes:
        drawn.append(picture)
        return jpeg_bytes(next(marked), quality)

    return as_sent


def _popped(drawn: list[Picture]) -> Iterator[Picture]:
    while True:
        yield drawn.pop()
