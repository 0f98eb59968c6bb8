"""Numbers as sentences have them."""

from __future__ import annotations


def counted(number: int, noun: str) -> str:
    """``1 clip``, ``2 clips``, ``-1 frame``: for nouns whose plural is an s."""
    return f"{number} {noun}" if abs(number) == 1 else f"{number} {noun}s"


def lateness(frames: float, ms: float, digits: int = 0) -> str:
    """``2 frames (81 ms) late``, ``1 frame (24 ms) early``; a positive offset is late."""
    said = f"{abs(frames):.{digits}f}"
    noun = "frame" if said == "1" else "frames"
    # Less than half a frame is 0 frames, and still early or late by its milliseconds.
    return f"{said} {noun} ({abs(ms):.0f} ms) {'early' if ms < 0 else 'late'}"
