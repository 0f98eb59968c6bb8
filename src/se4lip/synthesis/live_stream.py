"""A head on a timeline of sound, without a clock: sound goes on, frames that it completes come off.

The timeline is what was pushed, with silence wherever the caller found that nothing came. Frame
``k`` is shown while its samples ``[k, k + 1) / 25`` s sound. Everything here is plain computation
in a fixed order: what is pushed decides every number, when it is pushed decides none.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Float32, UInt8
from torch import Tensor

from se4lip.encoder.streaming import SpeechStream
from se4lip.head.base import Head, Motion
from se4lip.head.hearing import hear, start_hearing
from se4lip.head.motion import there_and_back
from se4lip.head.speech_window import FUTURE_CONTEXT
from se4lip.types import FRAME_RATE_HZ, InputError

# Feature rows the head waits for, 40 ms each, besides the encoder's 80 ms. Its window reaches seven
# rows ahead, but hardly uses the last four (docs/live.md).
LOOKAHEAD_FRAMES = 3
_KEPT_CODES = 8  # more than there are drawn and not yet shown
_GLIDE_FRAMES = 5  # in which the lips go from where an interruption left them to rest


@dataclass(frozen=True)
class Due:
    """A frame that can be drawn. ``pushed`` counts pushed samples up to the frame's first, None
    where it begins in silence of the caller's making."""

    index: int
    code: Float[Tensor, " K"]
    pushed: int | None


class LiveStream:
    """Sound of ``stream.sample_rate_hz`` in, frames out; ``take_sound`` gives back the sound that
    belongs to them."""

    def __init__(
        self,
        head: Head,
        replay: Motion,
        stream: SpeechStream,
        size_px: int | None = None,
        lookahead_frames: int = LOOKAHEAD_FRAMES,
    ) -> None:
        if lookahead_frames not in range(FUTURE_CONTEXT + 1):
            raise InputError(
                f"a look-ahead of {lookahead_frames} frames was asked for, but the head can use "
                f"0 to {FUTURE_CONTEXT}"
            )
        self.head, self.replay, self.stream = head, replay, stream
        self.size_px, self.lookahead_frames = size_px, lookahead_frames
        self.rate_hz = stream.sample_rate_hz
        self.length = 0  # samples on the timeline
        self.pushed = 0  # of these, samples that were pushed
        self.given = 0  # pushed samples that `take_sound` gave back, or that were forgotten
        self.next_index = 0  # of the next frame that `put` completes
        self._sound: deque[tuple[int, int | None, np.ndarray]] = deque()  # (start, pushed, samples)
        self._glide: tuple[Tensor, int] | None = None  # code to leave, frames left
        # Of the last pictures, that of an interruption's last one among them: index and code.
        self._shown: deque[tuple[int, Tensor]] = deque(maxlen=_KEPT_CODES)
        self._hearing = stream.init(), start_hearing(head)

    @property
    def lookahead_s(self) -> float:
        """How long after a frame's time its picture can first be drawn."""
        return self.stream.lookahead_s + self.lookahead_frames / FRAME_RATE_HZ

    def edge(self, frame: int) -> int:
        """First sample of ``frame``."""
        return frame * self.rate_hz // FRAME_RATE_HZ

    def missing(self) -> int:
        """Samples until the next frame is complete, or a few more: the resampler's filter reaches
        5 ms, rounded up."""
        frames = self.lookahead_frames + round(self.stream.lookahead_s * FRAME_RATE_HZ)
        return max(0, self.edge(self.next_index + frames) + 4 - self.length)

    def put(self, samples: Float32[np.ndarray, " S"], pushed: bool = True) -> list[Due]:
        """The frames that these samples complete.

        Raises:
            InputError: not one channel of finite floating-point samples.
        """
        encoding, hearing = self._hearing
        encoding, features = self.stream.step(encoding, samples)
        if len(samples):
            self._sound.append((self.length, self.pushed if pushed else None, samples))
        self.length += len(samples)
        self.pushed += len(samples) if pushed else 0
        rows = torch.from_numpy(features)
        hearing, codes = hear(self.head, hearing, rows, self.lookahead_frames)
        self._hearing = encoding, hearing
        due = []
        for code in codes:
            code = self._glided(code)
            due.append(Due(self.next_index, code, self._pushed_at(self.edge(self.next_index))))
            self.next_index += 1
        return due

    def rest(self) -> list[Due]:
        """Silence on the timeline, as much as the next frame needs."""
        return self.put(np.zeros(self.missing(), np.float32), pushed=False)

    def take_sound(self, frame: int) -> Float32[np.ndarray, " S"]:
        """All sound up to the end of ``frame`` that was not taken yet: each sample once, in
        order."""
        until, parts = self.edge(frame + 1), [np.zeros(0, np.float32)]
        while self._sound and self._sound[0][0] < until:
            start, pushed, samples = self._sound.popleft()
            parts.append(samples[: until - start])
            if pushed is not None:
                self.given = pushed + len(parts[-1])
            left = samples[until - start :]
            if len(left):
                later = None if pushed is None else pushed + until - start
                self._sound.appendleft((until, later, left))
        return np.concatenate(parts)

    def interrupt(self, next_index: int, lost: int = 0) -> None:
        """Forget the sound of frame ``next_index`` and later ones; the lips go on from where they
        are. Frames from ``next_index`` on come again. ``lost`` counts samples that were pushed and
        forgotten before they came here."""
        edge = self.edge(next_index)
        while self._sound and self._sound[-1][0] >= edge:
            self._sound.pop()
        if self._sound and self._sound[-1][0] + len(self._sound[-1][2]) > edge:
            start, pushed, samples = self._sound.pop()
            self._sound.append((start, pushed, samples[: edge - start]))
        self.length, self.next_index = min(self.length, edge), next_index
        self.pushed += lost
        self.given = self.pushed
        self._hearing = self.stream.init(), start_hearing(self.head)
        while self._shown and self._shown[-1][0] >= next_index:
            self._shown.pop()
        if self._shown:
            self._glide = (self._shown[-1][1], _GLIDE_FRAMES)

    def draw(self, due: Due) -> UInt8[np.ndarray, "H W 3"]:
        self._shown.append((due.index, due.code))
        rows = there_and_back(len(self.replay), due.index, 1)
        return next(self.head.pictures(due.code[None], self.replay[rows], self.size_px))

    def _glided(self, code: Tensor) -> Tensor:
        if self._glide is not None:
            start, left = self._glide
            share = left / (_GLIDE_FRAMES + 1)
            code = share * start + (1 - share) * code
            self._glide = (start, left - 1) if left > 1 else None
        return code

    def _pushed_at(self, sample: int) -> int | None:
        for start, pushed, samples in self._sound:
            if start <= sample < start + len(samples):
                return None if pushed is None else pushed + sample - start
        return None
