"""What every speech feature is: samples in, one row a video frame out, on one clock.

Networks of others give 50 or 100 rows a second, each about a moment of the sound that is hardly
ever the middle of anything of ours. ``Timing`` puts them on the frame grid: sound is pushed by less
than a row, so that the rows of a frame lie evenly inside the 40 ms in which it is shown, and they
are laid side by side, so that nothing of them is lost.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from jaxtyping import Float32

from se4lip.artifacts.encoder import EncoderIdentity
from se4lip.audio.timebase import frame_count
from se4lip.types import SAMPLE_RATE_HZ, SAMPLES_PER_FRAME

_GAP_FRAMES = 10  # of silence between clips that are heard together

Samples = Float32[np.ndarray, " S"]
Rows = Float32[np.ndarray, "T D"]
Network = Callable[[Samples], Float32[np.ndarray, "R D"]]


class SpeechFeatures(Protocol):
    """A kind of features with its weights. ``identity`` names both; heads refuse others."""

    @property
    def identity(self) -> EncoderIdentity: ...

    def __call__(self, samples: Samples) -> Rows:
        """``[T, D]`` of 16 kHz speech, ``T = ceil(S / 640)``: row ``t`` is about the sound from
        ``t / 25`` s on for 40 ms, and as much around it as the network looks at."""
        ...


def hear_all(kind: SpeechFeatures, clips: Sequence[Samples]) -> list[Rows]:
    """Features of each of many clips. A kind that fills up a long window for any sound
    (``packs_s``) is given as many clips as fit in it, with silence between them."""
    packs_s = getattr(kind, "packs_s", 0.0)
    if not packs_s:
        return [kind(samples) for samples in clips]
    found: list[Rows] = []
    pack: list[Samples] = []
    for samples in clips:
        whole = frame_count(len(samples)) * SAMPLES_PER_FRAME
        one = np.pad(samples, (0, whole - len(samples) + _GAP_FRAMES * SAMPLES_PER_FRAME))
        if sum(map(len, pack)) + len(one) > packs_s * SAMPLE_RATE_HZ:
            found += _unpacked(kind, pack)
            pack = []
        pack.append(one)
    return found + _unpacked(kind, pack)


def _unpacked(kind: SpeechFeatures, pack: Sequence[Samples]) -> list[Rows]:
    if not pack:
        return []
    rows = kind(np.concatenate(pack))
    ends = np.cumsum([len(one) // SAMPLES_PER_FRAME for one in pack])
    return [part[:-_GAP_FRAMES] for part in np.split(rows, ends[:-1])]


@dataclass(frozen=True)
class Timing:
    """When a network's rows are: row ``j`` is about sample ``first + hop * j`` of what it is given.

    Attributes:
        hop: Samples between rows; divides a frame's 640.
        first: The sample in the middle of what row 0 sees.
        reach: Samples after its middle that a row needs to be given at all.
    """

    hop: int
    first: int
    reach: int

    @property
    def rows_per_frame(self) -> int:
        return SAMPLES_PER_FRAME // self.hop

    @property
    def lead(self) -> int:
        """Silence put before the sound, so that rows lie in the middle of equal parts of frames."""
        early = self.first - self.hop // 2
        return early if early >= 0 else early % self.hop

    @property
    def surplus(self) -> int:
        """Rows that are about that silence."""
        return -(-max(0, self.lead - self.first) // self.hop)

    def framed(self, network: Network, samples: Samples) -> Rows:
        """The rows of each frame side by side."""
        frames = frame_count(len(samples))
        behind = frames * SAMPLES_PER_FRAME - len(samples) + self.reach
        rows = network(np.pad(samples, (self.lead, behind)))[self.surplus :]
        wanted = frames * self.rows_per_frame
        if len(rows) < wanted:
            raise ValueError(f"{len(rows)} rows of {wanted}: the network needs a longer reach")
        return np.ascontiguousarray(rows[:wanted], np.float32).reshape(frames, -1)


def in_pieces(network: Network, hop: int, piece_s: float, context_s: float) -> Network:
    """The same rows of long sound, in memory that does not grow with the square of its length.

    Sound up to ``piece_s`` goes through at once. Longer sound goes in pieces of that length that
    overlap by twice ``context_s``, and the rows in an overlap come from the piece whose edge is
    farther away.
    """
    piece = round(piece_s * SAMPLE_RATE_HZ) // hop * hop
    context = round(context_s * SAMPLE_RATE_HZ) // hop * hop

    def rows(samples: Samples) -> Float32[np.ndarray, "R D"]:
        if len(samples) <= piece:
            return network(samples)
        parts, start = [], 0
        while start + piece < len(samples):
            found = network(samples[start : start + piece])
            parts.append(found[context // hop if start else 0 : (piece - context) // hop])
            start += piece - 2 * context
        parts.append(network(samples[start:])[context // hop :])
        return np.concatenate(parts)

    return rows
