"""How fast features are made on one core: the real-time factor offline, and milliseconds a live
frame.

    OMP_NUM_THREADS=1 python benchmarks/encode.py [--json]

The live figure is a stream of 40-ms chunks at 48 kHz, resampling included. Medians of several
runs, and the processor's own time beside the clock's, because machines are shared.
"""

import argparse
import json
import statistics
import time

import numpy as np
import torch

from se4lip.artifacts.encoder import load_encoder
from se4lip.encoder.streaming import SpeechStream, encode_offline

SECONDS = 60
RUNS = 5


def speechlike(seconds: float, rate_hz: int) -> np.ndarray:
    """Noise in syllables: what is said does not change how long it takes."""
    time_s = np.arange(int(seconds * rate_hz)) / rate_hz
    noise = np.random.default_rng(0).standard_normal(len(time_s))
    return (0.1 * noise * (0.5 + 0.5 * np.sin(2 * np.pi * 4 * time_s))).astype(np.float32)


def offline(encoder) -> None:
    encode_offline(encoder, speechlike(SECONDS, 16_000), 16_000)


def live(encoder) -> None:
    stream, sound = SpeechStream(encoder, 48_000), speechlike(SECONDS, 48_000)
    state = stream.init()
    for start in range(0, len(sound), 1920):
        state, _ = stream.step(state, sound[start : start + 1920])


def measured(work) -> tuple[float, float]:
    work()
    wall, own = [], []
    for _ in range(RUNS):
        clock, process = time.perf_counter(), time.process_time()
        work()
        wall.append(time.perf_counter() - clock)
        own.append(time.process_time() - process)
    return statistics.median(wall), statistics.median(own)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    as_json = parser.parse_args().json
    torch.set_num_threads(1)
    encoder = load_encoder().speech
    figures = {}
    for name, work in (("offline", offline), ("live", live)):
        wall, own = measured(lambda work=work: work(encoder))
        figures[name] = {
            "real_time_factor": round(wall / SECONDS, 4),
            "real_time_factor_cpu": round(own / SECONDS, 4),
            "ms_per_frame": round(1000 * wall / (25 * SECONDS), 3),
            "ms_per_frame_cpu": round(1000 * own / (25 * SECONDS), 3),
        }
    if as_json:
        print(json.dumps(figures, indent=1))
        return
    for name, row in figures.items():
        print(f"{name:8}", "  ".join(f"{key} {value}" for key, value in row.items()))


if __name__ == "__main__":
    main()
