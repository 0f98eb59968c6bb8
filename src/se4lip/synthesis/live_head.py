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
from collections.abc import Callable
from concurrent.futures import Executor, ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import TypeVar

import numpy as np
from jaxtyping import Float32

from se4lip.artifacts.avatar import Avatar, load_avatar
from se4lip.artifacts.encoder import encoder_identity, load_encoder
from se4lip.encoder.streaming import SpeechStream, checked_samples
from se4lip.features.catalogue import OURS
from se4lip.synthesis.live_stream import LiveStream
from se4lip.synthesis.live_work import LiveConfig, LiveFrame, LiveWork
from se4lip.types import InputError

T = TypeVar("T")


class LiveHead:
    """See `live`, which makes it. Used by one event loop; the work is done in ``worker``."""

    def __init__(self, stream: LiveStream, config: LiveConfig, worker: Executor | None = None):
        self.config, self.lookahead_s = config, stream.lookahead_s
        self.sample_rate_hz = stream.rate_hz
        self._stream, self._work = stream, LiveWork(stream, config)
        self._own = None if worker else ThreadPoolExecutor(1, "se4lip-live")
        self._worker: Executor = worker or self._own  # type: ignore[assignment]
        self._pushed = self._given = 0  # samples
        self._untaken = 0  # samples of pushes that wait
        self._shown = self._skipped = 0  # index behind the last frame given out; frames left out
        self._interruptions = 0  # by which a push that waits and a frame know that they are void
        self._stirred, self._room = asyncio.Event(), asyncio.Event()
        # With the interruptions that it knows of; None is the end.
        self._outbox: asyncio.Queue[tuple[int, LiveFrame] | None] = asyncio.Queue(1)
        self._task: asyncio.Task[None] | None = None

    @property
    def skipped(self) -> int:
        """Frames left out so far: as many as are missing in their numbers."""
        return self._skipped

    @property
    def pending(self) -> int:
        """Pushed samples that came out with no frame yet: nought when all was said, or forgotten.

        Frames in which the head rests say nothing of that, for some are on their way while sound
        is being pushed.
        """
        return self._pushed - self._given

    async def __aenter__(self) -> LiveHead:
        if self._task is not None:
            raise InputError("this head was opened before: open another one with se4lip.live")
        await asyncio.to_thread(self._warm_up)
        await self._in_worker(self._work.warm_up)
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
        self._work.clear()
        self._room.set()
        if self._own is not None:
            self._own.shutdown(wait=False, cancel_futures=True)

    async def push(self, samples: Float32[np.ndarray, " S"]) -> None:
        """Let it hear ``samples`` in [-1, 1]; waits while ``buffer_s`` of sound lie ahead.

        What an interruption finds waiting is forgotten with the rest.

        Raises:
            InputError: not one channel of finite floating-point samples, or the head is not open.
        """
        samples = checked_samples(samples).astype(np.float32)
        arrived_s, known, slice_ = time.monotonic(), self._interruptions, self._stream.edge(1)
        chunk_s, untaken = len(samples) / self.sample_rate_hz, len(samples)
        self._untaken += untaken
        try:
            for start in range(0, len(samples), slice_):
                while self._work.ahead_s() > self.config.buffer_s and self._living():
                    self._room.clear()
                    await self._room.wait()
                    arrived_s = time.monotonic()
                if known != self._interruptions:
                    return  # interrupted while it waited
                self._check_open()
                piece = samples[start : start + slice_]
                untaken -= len(piece)
                self._untaken -= len(piece)
                self._pushed += len(piece)
                self._work.put(piece, arrived_s, chunk_s)
                self._stirred.set()
        finally:
            if known == self._interruptions:
                self._untaken -= untaken

    def flush(self) -> None:
        """The utterance is over: its last frames need not wait for more sound."""
        self._work.flush()
        self._stirred.set()

    def interrupt(self) -> None:
        """Forget what was pushed and is not shown yet; the lips go to rest at once."""
        self._work.interrupt(self._shown, self._untaken)
        self._pushed += self._untaken
        self._given, self._untaken = self._pushed, 0
        self._interruptions += 1
        self._stirred.set()
        self._room.set()

    def __aiter__(self) -> LiveHead:
        return self

    async def __anext__(self) -> LiveFrame:
        if self._task is None:
            self._check_open()
        while self._living() or not self._outbox.empty():
            found = await self._outbox.get()
            if found is None:
                if self._outbox.empty():
                    self._outbox.put_nowait(None)  # for others who wait
                break
            known, frame = found
            if known == self._interruptions:  # else it says what was forgotten since
                self._given = max(self._given, frame.given)
                self._skipped += frame.index - self._shown
                self._shown = frame.index + 1
                return frame
        task = self._task
        if task is not None and not task.cancelled() and (error := task.exception()):
            raise error
        raise StopAsyncIteration

    def _check_open(self) -> None:
        if self._task is None:
            raise InputError(
                "this head is not open yet: enter it, as in async with se4lip.live(...) as head"
            )
        if self._task.done():
            raise InputError("this head is closed: open another one with se4lip.live")

    def _living(self) -> bool:
        return self._task is not None and not self._task.done()

    async def _run(self) -> None:
        try:
            while True:
                self._stirred.clear()
                found = await self._in_worker(self._work.turn)
                self._room.set()
                if found is not None:
                    await self._outbox.put(found)
                    continue
                timeout = max(0.0, self._work.wake_at - time.monotonic())
                # Not `wait_for`: Python 3.11's loses a `close` that comes as something stirs.
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(timeout):
                        await self._stirred.wait()
        finally:
            self._room.set()
            if self._outbox.empty():  # wakes a consumer that waits
                self._outbox.put_nowait(None)

    async def _in_worker(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._worker, work)

    def _warm_up(self) -> None:
        """Hear a little for nobody. The resampler's table for a new rate takes longest, and in the
        worker other heads would wait for it."""
        hearing = self._stream.stream
        silence = np.zeros(self._stream.edge(5), np.float32)
        hearing.step(hearing.init(), silence)


def live(
    avatar: Path | str | Avatar,
    sample_rate: int,
    encoder: Path | str | None = None,
    config: LiveConfig | None = None,
    worker: Executor | None = None,
) -> LiveHead:
    """A head to be entered with ``async with``, that hears sound of ``sample_rate`` Hz, which is
    never guessed.

    ``avatar`` is a file that ``train avatar`` wrote, or "grid-s1", who comes with the package.
    Heads that share a ``worker`` of one thread take turns.

    Raises:
        InputError: files that cannot be used, another encoder than the avatar's, a wrong rate.
    """
    if not isinstance(avatar, Avatar):
        avatar = load_avatar(avatar)
    config = config or LiveConfig()
    stream = stream_of(avatar, sample_rate, encoder, config)
    return LiveHead(stream, config, worker)


def stream_of(
    avatar: Avatar, sample_rate: int, encoder: Path | str | None, config: LiveConfig
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
