"""Recordings the tests make themselves, with PyAV alone: nothing of se4lip writes them.

``flash_and_click`` is dark and silent, then from one moment on bright and loud.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

LOUD_HZ = 1000.0


def tone(seconds: float, rate_hz: int, loud_from_s: float = 0.0) -> np.ndarray:
    """Silence, then a tone of 1 kHz that begins at a maximum: float32 [S]."""
    time_s = np.arange(round(seconds * rate_hz)) / rate_hz
    wave = 0.5 * np.cos(2 * np.pi * LOUD_HZ * (time_s - loud_from_s))
    return np.where(time_s >= loud_from_s, wave, 0).astype(np.float32)


def flash(times_s: Sequence[float], bright_from_s: float, size=(64, 48)) -> list[np.ndarray]:
    width, height = size
    return [
        np.full((height, width, 3), 235 if t >= bright_from_s - 1e-9 else 20, np.uint8)
        for t in times_s
    ]


def record(
    path: Path,
    pictures: Sequence[np.ndarray] | None,
    times_s: Sequence[float] | None = None,
    sound: np.ndarray | None = None,
    rate_hz: int = 48_000,
    sound_from_s: float = 0.0,
    video_codec: str = "libx264",
    audio_codec: str = "aac",
    b_frames: int = 2,
    ticks_hz: int = 90_000,
    fast_start: bool = False,
    pixel_aspect: Fraction | int | None = None,
    key_every: int = 12,
) -> Path:
    """A file with every picture at its time and the sound from ``sound_from_s`` on."""
    packets = []
    options = {"movflags": "+faststart"} if fast_start else {}
    with av.open(str(path), "w", options=options) as container:
        streams = []
        if pictures is not None:
            video = container.add_stream(
                video_codec, rate=25, options={"bf": str(b_frames)} if b_frames else {}
            )
            video.height, video.width = pictures[0].shape[:2]
            video.pix_fmt = "yuv420p"
            video.codec_context.time_base = Fraction(1, ticks_hz)
            video.gop_size = key_every
            if pixel_aspect is not None:
                video.codec_context.sample_aspect_ratio = Fraction(pixel_aspect)
            streams.append(video)
        if sound is not None:
            mono = sound.ndim == 1
            layout = "mono" if mono else {2: "stereo", 6: "5.1"}[len(sound)]
            audio = container.add_stream(audio_codec, rate=rate_hz, layout=layout)
            streams.append(audio)
        container.start_encoding()
        if pictures is not None:
            for picture, time_s in zip(pictures, times_s, strict=True):
                frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
                frame.pts, frame.time_base = round(time_s * ticks_hz), Fraction(1, ticks_hz)
                packets += video.encode(frame)
            packets += video.encode(None)
        if sound is not None:
            planes = np.atleast_2d(sound)
            size = audio.codec_context.frame_size or 1024
            for at in range(0, planes.shape[1], size):
                block = np.ascontiguousarray(planes[:, at : at + size])
                frame = av.AudioFrame.from_ndarray(block, "fltp", layout)
                frame.sample_rate = rate_hz
                frame.pts = at + round(sound_from_s * rate_hz)
                frame.time_base = Fraction(1, rate_hz)
                packets += audio.encode(frame)
            packets += audio.encode(None)
        for packet in sorted(packets, key=lambda p: float(p.dts * p.time_base)):
            container.mux(packet)
    return path


def flash_and_click(
    path: Path, times_s: Sequence[float], at_s: float, sound_s: float = 3.0, **how
) -> Path:
    rate_hz = how.get("rate_hz", 48_000)
    start_s = how.get("sound_from_s", 0.0)
    sound = tone(sound_s, rate_hz, at_s - start_s)
    return record(path, flash(times_s, at_s), times_s, sound, **how)


def onset_s(samples: np.ndarray, rate_hz: int = 16_000) -> float:
    """When the tone begins: half of its loudness is reached."""
    loud = np.abs(samples) > 0.25
    assert loud.any(), "there is no tone"
    return int(loud.argmax()) / rate_hz


def wav(path: Path, samples: np.ndarray, rate_hz: int, bits: int = 16) -> Path:
    """RIFF WAVE by hand. ``samples`` [S] or [S, C]: integers of ``bits``, or float32."""
    samples = samples[:, None] if samples.ndim == 1 else samples
    kind = 3 if samples.dtype == np.float32 else 1
    bits = 32 if kind == 3 else bits
    data = samples.astype({8: np.uint8, 16: np.int16, 32: samples.dtype}[bits]).tobytes()
    channels = samples.shape[1]
    block = channels * bits // 8
    header = b"WAVEfmt " + np.array([16], "<u4").tobytes()
    header += np.array([kind, channels], "<u2").tobytes()
    header += np.array([rate_hz, rate_hz * block], "<u4").tobytes()
    header += np.array([block, bits], "<u2").tobytes()
    body = header + b"data" + np.array([len(data)], "<u4").tobytes() + data
    path.write_bytes(b"RIFF" + np.array([len(body)], "<u4").tobytes() + body)
    return path


def turned(path: Path, matrix: Sequence[int]) -> Path:
    """Write a display matrix (a, b, c, d of one) into the first track header of an mp4."""
    content = bytearray(path.read_bytes())
    at = content.index(b"tkhd") + 4 + 4 + 20 + 16  # version and flags, times and ids, reserved
    a, b, c, d = matrix
    values = [a, b, 0, c, d, 0, 0, 0, 1]
    scales = [1 << 16, 1 << 16, 1 << 30] * 3
    fixed = np.array([v * s for v, s in zip(values, scales, strict=True)], ">i4")
    content[at : at + 36] = fixed.tobytes()
    path.write_bytes(content)
    return path
