"""Where samples, STFT columns and video frames meet. No other module converts between them.

One origin for all three: sample 0, the start of column 0 and the start of frame 0 are the same
instant. Column ``k`` is computed from the 25 ms that *begin* at ``k * 10 ms``, so it can be
computed as soon as they have sounded, and a frame is exactly four columns long.
"""

from __future__ import annotations

from dataclasses import dataclass

from se4lip.types import SAMPLE_RATE_HZ, SAMPLES_PER_FRAME, InputError

COLUMN_HOP = 160  # samples: 10 ms
COLUMNS_PER_FRAME = SAMPLES_PER_FRAME // COLUMN_HOP
MAX_LOOKAHEAD_FRAMES = 2  # 80 ms: the most that a live head may wait for


def frame_count(samples: int) -> int:
    """Frames that ``samples`` samples at 16 kHz fill, the last one perhaps in part."""
    return -(-samples // SAMPLES_PER_FRAME)


@dataclass(frozen=True)
class Window:
    """The stretch of sound and picture behind the feature of one frame.

    The window of frame ``t`` is frames ``[t - frames + lookahead_frames, t + lookahead_frames)``:
    the five pictures t-3 .. t+1 by default, and exactly the sound heard while they are shown.
    """

    frames: int = 5
    lookahead_frames: int = 2

    def __post_init__(self) -> None:
        if not 0 <= self.lookahead_frames <= MAX_LOOKAHEAD_FRAMES:
            raise InputError(
                f"lookahead_frames is {self.lookahead_frames}, but a live head can wait for "
                f"0 to {MAX_LOOKAHEAD_FRAMES} frames"
            )
        if self.frames <= self.lookahead_frames:
            raise InputError(
                f"a window of {self.frames} frames does not reach back past its look-ahead of "
                f"{self.lookahead_frames}: make it longer"
            )

    @property
    def past_frames(self) -> int:
        """Frames before frame ``t`` that its window begins."""
        return self.frames - self.lookahead_frames

    @property
    def samples(self) -> int:
        return self.frames * SAMPLES_PER_FRAME

    def columns(self, column_samples: int) -> int:
        """STFT columns of ``column_samples`` samples that lie wholly inside the window."""
        return (self.samples - column_samples) // COLUMN_HOP + 1

    @property
    def lookahead_s(self) -> float:
        return self.lookahead_frames * SAMPLES_PER_FRAME / SAMPLE_RATE_HZ
