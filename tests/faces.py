"""Drawn faces and a tracker that finds them, so that no recording of a person is needed.

A face is a red or a blue rectangle with a black bar for a mouth. Its landmarks are those of one
fixed mask, fitted into the rectangle. A hidden face is as bright, but the tracker misses it.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np

from se4lip.face.tracker import Face

RED, BLUE = 0, 2
# Where a mask of width 1 and height 1 has the points that are used: x right, y down, z away.
_PLACES = {
    **{33: (0.15, 0.35, 0.10), 133: (0.38, 0.36, 0.05), 362: (0.62, 0.36, 0.05)},
    **{263: (0.85, 0.35, 0.10), 168: (0.5, 0.33, 0.0), 6: (0.5, 0.38, -0.02)},
    **{197: (0.5, 0.43, -0.04), 195: (0.5, 0.48, -0.06), 8: (0.5, 0.27, 0.0)},
    **{9: (0.5, 0.22, 0.0), 151: (0.5, 0.12, 0.01), 10: (0.5, 0.02, 0.03)},
    **{127: (0.02, 0.40, 0.40), 356: (0.98, 0.40, 0.40), 2: (0.5, 0.60, 0.0)},
    **{61: (0.32, 0.75, 0.04), 291: (0.68, 0.75, 0.04), 13: (0.5, 0.75, 0.0)},
    **{14: (0.5, 0.76, 0.0), 0: (0.5, 0.71, 0.0), 17: (0.5, 0.81, 0.0), 152: (0.5, 1.0, 0.05)},
}


def mask() -> np.ndarray:
    """One face, [478, 3]."""
    points = np.random.default_rng(0).uniform(0.1, 0.9, (478, 3)) * [1, 1, 0.3]
    for index, place in _PLACES.items():
        points[index] = place
    return points


def head(
    yaw: float = 0.0, scale: float = 100.0, at=(200.0, 150.0), roll: float = 0.0
) -> np.ndarray:
    """The mask seen by a distant camera after turning, in pixels: [478, 3]."""
    cy, sy, cr, sr = np.cos(yaw), np.sin(yaw), np.cos(roll), np.sin(roll)
    turn = np.array([[cr, -sr, 0], [sr, cr, 0], [0, 0, 1]]) @ np.array(
        [[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]]
    )
    return (mask() - [0.5, 0.5, 0.1]) @ turn.T * scale + [*at, 0]


def face_at(left: float, top: float, width: float, height: float) -> Face:
    blendshapes = np.zeros(52, np.float32)
    points = mask() * [width, height, width] + [left, top, 0]
    return Face(points.astype(np.float32), blendshapes, np.eye(4, dtype=np.float32))


def draw(
    size=(160, 120), red=(40, 20, 60, 80), blue=None, ground: int = 60, hidden: bool = False
) -> np.ndarray:
    """A picture with up to two faces, each (left, top, width, height)."""
    picture = np.full((size[1], size[0], 3), ground, np.uint8)
    for channel, box in ((RED, red), (BLUE, blue)):
        if box is not None:
            left, top, width, height = box
            picture[top : top + height, left : left + width] = 0
            picture[top : top + height, left : left + width, channel] = 250
            picture[top : top + height, left : left + width, 1] = 140 if hidden else 0
            bar = slice(top + round(0.72 * height), top + round(0.80 * height))
            picture[bar, left + width // 4 : left + width - width // 4] = 0
    return picture


@dataclass
class DrawnFaceTracker:
    """Finds the rectangles of ``draw``; ``delay_s`` makes it as slow as wanted."""

    delay_s: float = 0.0
    name: str = "drawn faces 1"

    def track(self, rgb: np.ndarray) -> list[Face]:
        time.sleep(self.delay_s)
        found = []
        for channel in (RED, BLUE):
            others = rgb[..., [c for c in range(3) if c != channel]].max(-1).astype(int)
            ys, xs = np.nonzero(rgb[..., channel] - others > 120)
            if len(ys) > 50:
                left, top = xs.min(), ys.min()
                found.append(face_at(left, top, xs.max() + 1 - left, ys.max() + 1 - top))
        return found
