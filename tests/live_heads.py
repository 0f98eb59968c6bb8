"""A head of a few numbers: its pictures show its mouth code and its motion, so that tests read
what a live head drew."""

from __future__ import annotations

import time

import numpy as np
import torch

from se4lip.encoder.speech import SpeechEncoder, SpeechEncoderConfig
from se4lip.encoder.streaming import SpeechStream
from se4lip.head.base import Motion
from se4lip.head.speech_window import SpeechWindow, SpeechWindowConfig
from se4lip.synthesis.live_stream import LiveStream
from se4lip.types import Camera

WIDTH, CODES = 8, 3


class PlainHead:
    """Pixel 0 is the code in three bytes, pixel 1 the row of motion."""

    feature_width = WIDTH
    camera = Camera(10, 2, 2, 4, 4)

    def __init__(self, drawing_s: float = 0.0):
        torch.manual_seed(1)
        self.speech = SpeechWindow(SpeechWindowConfig(WIDTH, CODES, hidden=8)).eval()
        self.drawing_s = drawing_s
        self.drawn = 0

    def pictures(self, codes, motion, size_px=None):
        for code, eyes in zip(codes, motion.eyes, strict=True):
            time.sleep(self.drawing_s)
            self.drawn += 1
            picture = np.zeros((4, 4, 3), np.uint8)
            picture[0, 0] = np.clip(128 + 100 * code.detach().numpy(), 0, 255)
            picture[0, 1] = round(float(eyes[0]))
            yield picture


def motion(rows: int = 50) -> Motion:
    pose = np.zeros((rows, 3, 4), np.float32)
    row = np.arange(rows, dtype=np.float32)[:, None]
    return Motion(pose, pose, row, np.zeros((rows, 1), np.float32))


def speech_stream(rate_hz: int) -> SpeechStream:
    torch.manual_seed(0)
    config = SpeechEncoderConfig(projection=8, hidden=8, embedding=WIDTH)
    return SpeechStream(SpeechEncoder(config).eval().requires_grad_(False), rate_hz)


def live_stream(rate_hz: int = 16_000, head: PlainHead | None = None, **how) -> LiveStream:
    return LiveStream(head or PlainHead(), motion(), speech_stream(rate_hz), **how)


def noise(samples: int, seed: int = 0) -> np.ndarray:
    return (0.1 * np.random.default_rng(seed).standard_normal(samples)).astype(np.float32)
