"""Head motion to speak with: recorded motion, replayed for as long as somebody speaks.

Recorded pieces are joined by short glides; at the end the motion runs backwards, then forwards
again, so that it never jumps. Heads and blinks look natural either way.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float32, Int

from se4lip.head.base import Motion

GLIDE_FRAMES = 12


def there_and_back(recorded: int, first: int, count: int) -> Int[np.ndarray, " count"]:
    """Rows of ``recorded`` frames of motion for frames ``first, first + 1, ...``."""
    if recorded == 1:
        return np.zeros(count, int)
    period = 2 * (recorded - 1)
    phase = np.arange(first, first + count) % period
    return np.minimum(phase, period - phase)


def joined(pieces: Sequence[Motion], frames: int) -> Motion:
    """Pieces one after the other, at most ``frames`` in all, each next one where its head is
    nearest to where the last one ended, with a glide of half a second between."""
    waiting = list(pieces)
    parts = [waiting.pop(0)[:frames]]
    while waiting and sum(map(len, parts)) + GLIDE_FRAMES + 25 <= frames:
        end = parts[-1].camera_from_head[-1]
        jumps = [np.abs(piece.camera_from_head[0] - end).sum() for piece in waiting]
        following = waiting.pop(int(np.argmin(jumps)))
        room = frames - sum(map(len, parts)) - GLIDE_FRAMES
        parts += [_glide(parts[-1], following), following[:room]]
    return Motion.end_to_end(parts)


def _glide(before: Motion, after: Motion) -> Motion:
    """From the last frame of one piece to the first of the next, gently. The eyes go halfway."""
    share = (np.arange(GLIDE_FRAMES) + 1) / (GLIDE_FRAMES + 1)
    share = (share * share * (3 - 2 * share)).astype(np.float32)
    return Motion(
        camera_from_head=_between(before.camera_from_head[-1], after.camera_from_head[0], share),
        camera_from_torso=_between(before.camera_from_torso[-1], after.camera_from_torso[0], share),
        eyes=_mixed(before.eyes[-1], after.eyes[0], share),
        look=_mixed(before.look[-1], after.look[0], share),
    )


def _mixed(start: np.ndarray, end: np.ndarray, share: Float32[np.ndarray, " T"]) -> np.ndarray:
    share = share.reshape(-1, *(1,) * start.ndim)
    return (1 - share) * start + share * end


def _between(
    start: Float32[np.ndarray, "3 4"], end: Float32[np.ndarray, "3 4"], share: np.ndarray
) -> Float32[np.ndarray, "T 3 4"]:
    """Mixed poses, with rotations brought back to rotations."""
    mixed = _mixed(start, end, share)
    u, _, vt = np.linalg.svd(mixed[:, :, :3])
    return np.concatenate((u @ vt, mixed[:, :, 3:]), axis=-1).astype(np.float32)
