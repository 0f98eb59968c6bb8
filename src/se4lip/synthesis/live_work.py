"""What a live head does in its worker: hear, rest, leave out what is late, draw. One call of `turn`
at a time; everything else here is for the event loop (`live_head.LiveHead`).
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from jaxtyping import Float32, UInt8

from se4lip.synthesis.live_stream import LOOKAHEAD_FRAMES, Due, LiveStream
from se4lip.types import FRAME_RATE_HZ, within

FRAME_S = 1 / FRAME_RATE_HZ
_DRIFT = 1e-3  # how fast, in seconds a second, two clocks may part without frames being left out
_PILED_UP_S = 0.12  # of sound not heard yet
_LONGEST_CHUNK_S = 1.0  # whose successor is waited for


@dataclass(frozen=True)
class LiveConfig:
    """``paced``: sound is pushed faster than it sounds, as synthesis does, and each frame is to
    come at its time. Otherwise (a microphone) each comes as soon as it can be drawn.

    ``patience_s`` after the last sound, and a chunk as long as that was, the head comes to rest.
    `LiveHead.push` waits while more than ``buffer_s`` of sound lie ahead of the last frame.
    """

    size_px: int | None = 256
    lookahead_frames: int = LOOKAHEAD_FRAMES
    paced: bool = False
    patience_s: float = 0.2
    buffer_s: float = 2.0

    def __post_init__(self) -> None:
        within(self, size_px=(16, 4096), patience_s=(0, 60), buffer_s=(0, 3600))


@dataclass(frozen=True)
class LiveFrame:
    """A picture and the sound that goes with it: all up to this frame's end that went with no
    earlier one, so that the sounds of all frames joined are what was pushed, with silence between.

    ``pushed`` counts pushed samples up to the first of this frame, None at rest; ``given`` those
    that are out with this frame and the ones before it, or were forgotten. Frames left out make
    gaps in ``index``. The last five say where the time went: the sound that completed the frame
    came at ``arrived_s`` (`time.monotonic`) and ended with pushed sample ``completed_by``, None
    where it was silence of our making.
    """

    index: int
    picture: UInt8[np.ndarray, "H W 3"]
    sound: Float32[np.ndarray, " S"]
    pushed: int | None
    given: int
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


class LiveWork:
    """Sound waiting to be heard, frames waiting to be drawn, and when each is due."""

    def __init__(self, stream: LiveStream, config: LiveConfig) -> None:
        self.stream, self.config = stream, config
        self.drawn = 0  # index behind the last frame drawn or left out
        self.wake_at = 0.0  # when `turn` is to be called again if nothing comes
        self._inbox: deque[tuple[np.ndarray, float]] = deque()
        self._door = threading.Lock()  # of the inbox, which both threads empty
        self._ready: deque[_Ready] = deque()
        self._anchor: float | None = None  # clock time at which frame 0 was, or would have been
        self._chunk_s = 0.0
        self._spoke_s = -np.inf
        self._resting: tuple[float, int] | None = None  # since when, from which frame on
        self._rested = False  # what was heard last was silence of our making
        # Of an interruption not yet carried out: the first frame nobody saw, samples forgotten.
        self._forget: tuple[int, int] | None = None
        self._interruptions = 0

    # For the event loop.

    def put(self, samples: Float32[np.ndarray, " S"], arrived_s: float, chunk_s: float) -> None:
        """Sound for the next turn, a slice of a chunk of ``chunk_s``."""
        with self._door:
            self._inbox.append((samples, arrived_s))
        self._chunk_s = chunk_s
        self._spoke_s, self._resting = arrived_s, None

    def flush(self) -> None:
        """Rest need not wait for more sound."""
        self._spoke_s = -np.inf

    def interrupt(self, unseen: int, untaken: int) -> None:
        """In the next turn forget the frames from ``unseen`` on, which come again, and what was
        pushed for them, ``untaken`` samples among it that never came here."""
        with self._door:
            before = 0 if self._forget is None else self._forget[1]
            lost = sum(len(samples) for samples, _ in self._inbox)
            self._inbox.clear()
            self._forget = unseen, before + lost + untaken
            self._interruptions += 1
        self.flush()

    def clear(self) -> None:
        """Let go of everything that waits."""
        with self._door:
            self._inbox.clear()
        self._ready.clear()

    def ahead_s(self) -> float:
        """Sound that lies ahead of the last frame drawn, less what is needed to draw the next."""
        with self._door:
            waiting = sum(len(samples) for samples, _ in self._inbox)
        behind = self.stream.length + waiting - self.stream.edge(self.drawn)
        return behind / self.stream.rate_hz - self.stream.lookahead_s

    # For the worker, one call at a time.

    def warm_up(self) -> None:
        """Draw once, for nobody: what a first picture costs more than others is spent here."""
        codes = self.stream.head.speech(torch.zeros((1, self.stream.head.feature_width)))
        self.stream.draw(Due(0, codes[0], None))

    def turn(self) -> tuple[int, LiveFrame] | None:
        """Hear what came; draw the next frame if it is time, else say when to come again. With the
        frame comes how many interruptions it knows of: one that comes meanwhile makes it void."""
        with self._door:
            forget, self._forget = self._forget, None
            known = self._interruptions
        if forget is not None:
            self._ready.clear()
            self.stream.interrupt(*forget)
            self.drawn, self._anchor = forget[0], None
        self._catch_up()
        while not (self.config.paced and len(self._ready) > 1):
            with self._door:
                if self._forget is not None or not self._inbox:
                    break
                samples, arrived_s = self._inbox.popleft()
            if self._rested and not self.config.paced:
                self._anchor = None  # another source, another delay
            self._rested = False
            self._hear(arrived_s, partial(self.stream.put, samples))
        if not self._ready:
            self._rest()
        now = time.monotonic()
        while len(self._ready) > 1 and now - self._time_of(self._ready[0]) > self._allowed_s():
            self.drawn = self._ready.popleft().due.index + 1
        if not self._ready:
            return None
        if self.config.paced and (at := self._time_of(self._ready[0])) > now:
            self.wake_at = at
            return None
        ready = self._ready.popleft()
        picture = self.stream.draw(ready.due)
        self.drawn = ready.due.index + 1
        done = time.monotonic()
        frame = LiveFrame(
            index=ready.due.index,
            picture=picture,
            sound=self.stream.take_sound(ready.due.index),
            pushed=ready.due.pushed,
            given=self.stream.given,
            completed_by=ready.completed_by,
            arrived_s=ready.arrived_s,
            encoding_s=ready.encoding_s,
            waiting_s=now - ready.arrived_s - ready.encoding_s,
            drawing_s=done - now,
        )
        return known, frame

    def _catch_up(self) -> None:
        """Sound that has piled up is heard at one go, which costs much less: most of its frames
        are late anyway."""
        with self._door:
            pieces = list(self._inbox)
            piled_up_s = sum(len(samples) for samples, _ in pieces) / self.stream.rate_hz
            if self.config.paced or piled_up_s < _PILED_UP_S:
                return
            self._inbox.clear()
            joined = np.concatenate([samples for samples, _ in pieces])
            self._inbox.append((joined, pieces[-1][1]))

    def _hear(self, arrived_s: float, complete: Callable[[], list[Due]]) -> None:
        began = time.monotonic()
        for due in complete():
            took = time.monotonic() - began
            completed_by = None if self._rested else self.stream.pushed
            self._ready.append(_Ready(due, completed_by, arrived_s, took))
            lag = arrived_s - due.index * FRAME_S
            if self._anchor is None:
                self._anchor = lag
            elif self.config.paced:
                self._anchor = max(self._anchor, lag)
            else:
                self._anchor = min(self._anchor + _DRIFT * FRAME_S, lag)

    def _rest(self) -> None:
        """Silence for one frame when nothing came for as long as the last chunk and `patience_s`
        last, then one every 40 ms."""
        now = time.monotonic()
        resting = self._resting  # the other thread ends it when sound comes
        if resting is None:
            # Of sound that comes as it is made, the next chunk is not to be had any sooner.
            at = self._spoke_s + min(self._chunk_s, _LONGEST_CHUNK_S) + self.config.patience_s
        else:
            since, first = resting
            at = since + (self.stream.next_index - first) * FRAME_S
        if at > now:
            self.wake_at = at
            return
        if resting is None or now - at > FRAME_S:
            self._resting = (now, self.stream.next_index)
        if not self._rested and not self.config.paced:
            self._anchor = None
        self._rested = True
        self._hear(now, self.stream.rest)

    def _time_of(self, ready: _Ready) -> float:
        assert self._anchor is not None
        return self._anchor + ready.due.index * FRAME_S

    def _allowed_s(self) -> float:
        """How late a frame may be: by a frame, and by a chunk, whose frames all come at its end."""
        return FRAME_S + (0.0 if self.config.paced else self._chunk_s)
