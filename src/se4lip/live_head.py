"""A head that answers while somebody speaks: sound is pushed, frames come out of an async iterator.

    async with se4lip.live("grid-s1", sample_rate=48_000) as head:
        listening = asyncio.create_task(listen(head))  # await head.push(samples), again and again
        async for frame in head:
            show(frame.picture, frame.sound)

Sound is the clock. Where none comes the head rests, moving as people do who listen. Frames that
cannot be drawn in time are left out, sound never is.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import TypeVar

import numpy as np
import torch
from jaxtyping import Float32, UInt8

from se4lip.artifacts.avatar import Avatar, load_avatar
from se4lip.artifacts.encoder import encoder_identity, load_encoder
from se4lip.encoder.streaming import SpeechStream, checked_samples
from se4lip.features.catalogue import OURS
from se4lip.live_stream import LOOKAHEAD_FRAMES, Due, LiveStream
from se4lip.types import FRAME_RATE_HZ, SAMPLE_RATE_HZ, InputError

FRAME_S = 1 / FRAME_RATE_HZ
_DRIFT = 1e-3  # how fast, in seconds a second, two clocks may part without frames being left out
_PILED_UP_S = 0.12  # of sound not heard yet
T = TypeVar("T")


@dataclass(frozen=True)
class LiveConfig:
    """``paced``: sound is pushed faster than it sounds, as synthesis does, and each frame is to
    come at its time. Otherwise (a microphone) each comes as soon as it can be drawn.

    ``patience_s`` after the last sound the head comes to rest. `LiveHead.push` waits while more
    than ``buffer_s`` of sound lie ahead of the last frame.
    """

    size_px: int | None = 256
    lookahead_frames: int = LOOKAHEAD_FRAMES
    paced: bool = False
    patience_s: float = 0.2
    buffer_s: float = 2.0


@dataclass(frozen=True)
class LiveFrame:
    """A picture and the sound that goes with it: all up to this frame's end that went with no
    earlier one, so that the sounds of all frames joined are what was pushed, with silence between.

    ``pushed`` counts pushed samples up to the first of this frame, None at rest. Frames left out
    make gaps in ``index``. The last five say where the time went: the sound that completed the
    frame came at ``arrived_s`` (`time.monotonic`) and ended with pushed sample ``completed_by``,
    None where it was silence of our making.
    """

    index: int
    picture: UInt8[np.ndarray, "H W 3"]
    sound: Float32[np.ndarray, " S"]
    pushed: int | None
    completed_by: int | None
    arrived_s: float
    encoding_s: float
    waiting_s: float
    drawing_s: float

    @property
    def time_s(self) -> float:
        """When it is to be seen, counted in the sound given out so far."""
        return self.index / FRAME_RATE_HZ


@dataclass(frozen=True)
class _Ready:
    due: Due
    completed_by: int | None
    arrived_s: float
    encoding_s: float


class LiveHead:
    """See `live`, which makes it. Used by one event loop; the work is done in ``worker``."""

    def __init__(self, stream: LiveStream, config: LiveConfig, worker: Executor | None = None):
        self.config, self.lookahead_s = config, stream.lookahead_s
        self.sample_rate_hz = stream.rate_hz
        self.skipped = 0  # frames left out so far
        self._stream = stream
        self._own = None if worker else ThreadPoolExecutor(1, "se4lip-live")
        self._worker: Executor = worker or self._own  # type: ignore[assignment]
        self._inbox: deque[tuple[np.ndarray, float]] = deque()
        self._ready: deque[_Ready] = deque()
        self._drawn = 0  # index behind the last frame drawn or left out
        self._anchor: float | None = None  # clock time at which frame 0 was, or would have been
        self._chunk_s = 0.0
        self._spoke_s = -np.inf
        self._resting: tuple[float, int] | None = None  # since when, from which frame on
        self._rested = False  # what was heard last was silence of our making
        self._lost: int | None = None  # samples forgotten by an interruption not yet carried out
        self._pushes = 0  # interruptions so far, by which a waiting push knows that it is void
        self._wake_at = 0.0
        self._stirred, self._room = asyncio.Event(), asyncio.Event()
        self._outbox: asyncio.Queue[LiveFrame | None] = asyncio.Queue(1)
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> LiveHead:
        await self._in_worker(self._warm_up)
        self._task = asyncio.create_task(self._run())
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """End the iteration and free everything; sound not yet shown is forgotten."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        self._inbox.clear()
        self._ready.clear()
        self._room.set()
        if self._own is not None:
            self._own.shutdown(wait=False, cancel_futures=True)

    async def push(self, samples: Float32[np.ndarray, " S"]) -> None:
        """Let it hear ``samples`` in [-1, 1]; waits while ``buffer_s`` of sound lie ahead.

        Raises:
            InputError: not one channel of finite floating-point samples, or the head is closed.
        """
        samples = checked_samples(samples).astype(np.float32)
        arrived_s, turn, slice_ = time.monotonic(), self._pushes, self._stream.edge(1)
        self._chunk_s = len(samples) / self.sample_rate_hz
        for start in range(0, len(samples), slice_):
            while self._ahead_s() > self.config.buffer_s and self._living():
                self._room.clear()
                await self._room.wait()
                arrived_s = time.monotonic()
            if turn != self._pushes:
                return  # interrupted while it waited
            if not self._living():
                raise InputError("this head is closed: open another one with se4lip.live")
            self._inbox.append((samples[start : start + slice_], arrived_s))
            self._spoke_s, self._resting = arrived_s, None
            self._stirred.set()

    def flush(self) -> None:
        """The utterance is over: its last frames need not wait for more sound."""
        self._spoke_s = -np.inf
        self._stirred.set()

    def interrupt(self) -> None:
        """Forget what was pushed and is not shown yet; the lips go to rest at once."""
        lost = sum(len(samples) for samples, _ in self._inbox)
        self._inbox.clear()
        self._lost = (self._lost or 0) + lost
        self._pushes += 1
        self.flush()
        self._room.set()

    def __aiter__(self) -> LiveHead:
        return self

    async def __anext__(self) -> LiveFrame:
        if self._living() or not self._outbox.empty():
            frame = await self._outbox.get()
            if frame is not None:
                return frame
        task = self._task
        if task is not None and not task.cancelled() and (error := task.exception()):
            raise error
        raise StopAsyncIteration

    def _living(self) -> bool:
        return self._task is not None and not self._task.done()

    def _ahead_s(self) -> float:
        waiting = sum(len(samples) for samples, _ in self._inbox)
        behind = self._stream.length + waiting - self._stream.edge(self._drawn)
        return behind / self.sample_rate_hz - self.lookahead_s

    async def _run(self) -> None:
        try:
            while True:
                self._stirred.clear()
                frame = await self._in_worker(self._turn)
                self._room.set()
                if frame is not None:
                    await self._outbox.put(frame)
                    continue
                timeout = max(0.0, self._wake_at - time.monotonic())
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._stirred.wait(), timeout)
        finally:
            self._room.set()
            if self._outbox.empty():  # wakes a consumer that waits
                self._outbox.put_nowait(None)

    async def _in_worker(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._worker, work)

    # In the worker, one call at a time.

    def _warm_up(self) -> None:
        codes = self._stream.head.speech(torch.zeros((1, self._stream.head.feature_width)))
        self._stream.draw(Due(0, codes[0], None))

    def _turn(self) -> LiveFrame | None:
        """Hear what came; draw the next frame if it is time, else say when to come again."""
        if self._lost is not None:
            lost, self._lost = self._lost, None
            self._ready.clear()
            self._stream.interrupt(self._drawn, lost)
            self._anchor = None
        self._catch_up()
        while self._inbox and not (self.config.paced and len(self._ready) > 1):
            samples, arrived_s = self._inbox.popleft()
            if self._rested and not self.config.paced:
                self._anchor = None  # another source, another delay
            self._rested = False
            self._hear(arrived_s, partial(self._stream.put, samples))
        if not self._ready:
            self._rest()
        now = time.monotonic()
        while len(self._ready) > 1 and now - self._time_of(self._ready[0]) > self._allowed_s():
            self._drawn = self._ready.popleft().due.index + 1
            self.skipped += 1
        if not self._ready:
            return None
        if self.config.paced and (at := self._time_of(self._ready[0])) > now:
            self._wake_at = at
            return None
        ready = self._ready.popleft()
        picture = self._stream.draw(ready.due)
        self._drawn = ready.due.index + 1
        done = time.monotonic()
        return LiveFrame(
            index=ready.due.index,
            picture=picture,
            sound=self._stream.take_sound(ready.due.index),
            pushed=ready.due.pushed,
            completed_by=ready.completed_by,
            arrived_s=ready.arrived_s,
            encoding_s=ready.encoding_s,
            waiting_s=now - ready.arrived_s - ready.encoding_s,
            drawing_s=done - now,
        )

    def _catch_up(self) -> None:
        """Sound that has piled up is heard at one go, which costs much less: most of its frames
        are late anyway."""
        pieces = list(self._inbox)
        piled_up_s = sum(len(samples) for samples, _ in pieces) / self.sample_rate_hz
        if self.config.paced or piled_up_s < _PILED_UP_S:
            return
        for _ in pieces:
            self._inbox.popleft()
        self._inbox.appendleft((np.concatenate([samples for samples, _ in pieces]), pieces[-1][1]))

    def _hear(self, arrived_s: float, complete: Callable[[], list[Due]]) -> None:
        began = time.monotonic()
        for due in complete():
            took = time.monotonic() - began
            completed_by = None if self._rested else self._stream.pushed
            self._ready.append(_Ready(due, completed_by, arrived_s, took))
            lag = arrived_s - due.index * FRAME_S
            if self._anchor is None:
                self._anchor = lag
            elif self.config.paced:
                self._anchor = max(self._anchor, lag)
            else:
                self._anchor = min(self._anchor + _DRIFT * FRAME_S, lag)

    def _rest(self) -> None:
        """Silence for one frame when nothing came for `patience_s`, then one every 40 ms."""
        now = time.monotonic()
        if self._resting is None:
            at = self._spoke_s + self.config.patience_s
        else:
            since, first = self._resting
            at = since + (self._stream.next_index - first) * FRAME_S
        if at > now:
            self._wake_at = at
            return
        if self._resting is None or now - at > FRAME_S:
            self._resting = (now, self._stream.next_index)
        if not self._rested and not self.config.paced:
            self._anchor = None
        self._rested = True
        self._hear(now, self._stream.rest)

    def _time_of(self, ready: _Ready) -> float:
        assert self._anchor is not None
        return self._anchor + ready.due.index * FRAME_S

    def _allowed_s(self) -> float:
        """How late a frame may be: by a frame, and by a chunk, whose frames all come at its end."""
        return FRAME_S + (0.0 if self.config.paced else self._chunk_s)


def live(
    avatar: Path | str | Avatar,
    sample_rate: int = SAMPLE_RATE_HZ,
    encoder: Path | None = None,
    config: LiveConfig = LiveConfig(),
    worker: Executor | None = None,
) -> LiveHead:
    """A head to be entered with ``async with``, that hears sound of ``sample_rate`` Hz.

    ``avatar`` is a file that ``train avatar`` wrote, or "grid-s1", who comes with the package.
    Heads that share a ``worker`` of one thread take turns.

    Raises:
        InputError: files that cannot be used, another encoder than the avatar's, a wrong rate.
    """
    if not isinstance(avatar, Avatar):
        avatar = load_avatar(avatar)
    stream = stream_of(avatar, sample_rate, encoder, config)
    return LiveHead(stream, config, worker)


def stream_of(
    avatar: Avatar, sample_rate: int, encoder: Path | None, config: LiveConfig
) -> LiveStream:
    """Ears and head of ``avatar``, joined. Raises: InputError as `live` does."""
    if not avatar.encoder.sha256 or avatar.encoder.features != OURS:
        raise InputError(
            f"this avatar was trained on {avatar.encoder.name} features, which do not come live: "
            "use one trained on a se4lip encoder's"
        )
    avatar.check_encoder(encoder_identity(encoder))
    hearing = SpeechStream(load_encoder(encoder).speech, sample_rate)
    return LiveStream(avatar.head, avatar.replay, hearing, config.size_px, config.lookahead_frames)
