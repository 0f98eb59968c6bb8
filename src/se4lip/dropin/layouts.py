"""How rows of a feature file hold frames: the shapes other systems' audio networks were built for.

| kind         | a row                     | rows a second | what the numbers are            |
|--------------|---------------------------|---------------|---------------------------------|
| `window`     | [16, C], C = 29, 32 or 44 | 25            | frames i-4 .. i+3, 2 x C each   |
| `pair`       | [2, 1024]                 | 25            | frame i, and 20 ms later        |
| `half_frame` | [1024]                    | 50            | the same, unpaired              |
| `frame`      | [512]                     | 25            | frame i                         |
| `chunk`      | [16, 512]                 | 20            | moments 40 ms apart, 8 of them  |
|              |                           |               | before frame i                  |

Why a `window` is not 16 moments at 50 Hz, as DeepSpeech's is: our features have 25 a second, so
every other moment would be the mean of its neighbours and tell nothing. The networks that read
windows (AD-NeRF's AudioNet and its copies) begin with a convolution of kernel 3, **stride 2**,
padding 1. Its output ``o`` is centred on entry ``2 o``, so its middle tap only ever meets even
entries and its outer taps odd ones. Two different halves of one projection, C numbers each, may
therefore alternate: output ``o`` belongs to frame ``i - 4 + o``, sees both its halves, always
through the same taps, and shifting speech by a frame shifts the output by one. A frame then passes
2 C numbers instead of C.

Cutting one frame's 512 numbers into [16, 32] would pass all of them, but the convolutions share
their weights along the 16, which would no longer be time: numbers that have nothing in common
would have to be treated alike.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float, Float32

from se4lip.dropin import maps
from se4lip.types import FRAME_RATE_HZ

Kind = Literal["window", "pair", "half_frame", "frame", "chunk"]

WINDOW_FRAMES = 8  # in a window: four past, the current one, three to come
CHUNK_MOMENTS = 16  # in a chunk: WeNet's encoder gives 16 outputs, 40 ms apart, every 50 ms
CHUNK_LEAD = 8  # of which this many lie before the frame


@dataclass(frozen=True)
class Layout:
    """One file: its name is the audio file's name without extension, then ``suffix``."""

    suffix: str
    kind: Kind
    width: int

    @property
    def video_rate_hz(self) -> int:
        """Frame rate of the video that the rows go with."""
        return 20 if self.kind == "chunk" else FRAME_RATE_HZ

    @property
    def rows_per_frame(self) -> int:
        return 2 if self.kind == "half_frame" else 1

    @property
    def row_shape(self) -> tuple[int, ...]:
        first = {"window": (2 * WINDOW_FRAMES,), "pair": (2,), "chunk": (CHUNK_MOMENTS,)}
        return (*first.get(self.kind, ()), self.width)

    def frames_heard(self, features: int) -> int:
        """Frames of the video, the last one begun included, while ``features`` go by at 25 Hz."""
        return math.ceil(features * self.video_rate_hz / FRAME_RATE_HZ)


def lay_out(
    layout: Layout,
    features: Float32[np.ndarray, "T 512"],
    frames: int,
) -> Float32[np.ndarray, "..."]:
    """``features`` as ``layout`` wants them, for ``frames`` frames; outside, the ends are held."""
    frame = np.arange(frames)
    match layout.kind:
        case "window":
            halves = maps.narrow(features, 2 * layout.width).reshape(-1, 2, layout.width)
            window = frame[:, None] + np.arange(-WINDOW_FRAMES // 2, WINDOW_FRAMES // 2)
            return halves[window.clip(0, len(halves) - 1)].reshape(frames, *layout.row_shape)
        case "pair" | "half_frame":
            rows = maps.wide(moments(features, np.arange(2 * frames) / 2))
            return rows.reshape(-1, *layout.row_shape)
        case "frame":
            return maps.native(moments(features, frame.astype(float)))
        case "chunk":
            centre = frame * (FRAME_RATE_HZ / layout.video_rate_hz)
            moment = centre[:, None] + np.arange(CHUNK_MOMENTS) - CHUNK_LEAD
            rows = maps.native(moments(features, moment.ravel()))
            return rows.reshape(frames, *layout.row_shape)


def moments(
    features: Float32[np.ndarray, "T 512"], at_frames: Float[np.ndarray, " M"]
) -> Float32[np.ndarray, "M 512"]:
    """Features at any times, in frames: linear between, exact on them, held beyond the ends."""
    at = at_frames.clip(0, len(features) - 1)
    before = np.floor(at).astype(int)
    after = np.minimum(before + 1, len(features) - 1)
    share = (at - before).astype(np.float32)[:, None]
    return (1 - share) * features[before] + share * features[after]
