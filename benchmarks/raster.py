"""Times the CPU rasteriser, and says how many times faster it is than the oracle.

    python benchmarks/raster.py [--threads 2] [--json] [--no-oracle] [--rounds 20]

Each figure is wall milliseconds, the median of the rounds, then processor milliseconds of all
threads together, the least of the rounds: on a busy machine only the second means anything, and
divided by the number of threads it is about what an idle machine takes.

``forward`` is `rasterize` without gradients, ``both`` is forward and backward to all five fields.
Speaking draws with `frame_numba` instead: `se4lip speak` says how fast. The oracle runs once,
forward and backward, on the smaller scenes only, for it takes seconds; how many times faster numba
is counts processor time.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # before torch loads; decides under load

import argparse
import json
import platform
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
from raster_scene import camera, head

from se4lip.head.splat.gaussians import Gaussians
from se4lip.head.splat.raster import Backend, rasterize

COUNTS = (5_000, 15_000, 40_000)
SIZES_PX = (256, 512)
ORACLE_UP_TO = 15_000


def time_ms(run: Callable[[], Any], rounds: int) -> dict[str, float]:
    run()
    wall, processor = [], []
    for _ in range(rounds):
        begin, begin_processor = time.perf_counter(), time.process_time()
        run()
        wall.append(1e3 * (time.perf_counter() - begin))
        processor.append(1e3 * (time.process_time() - begin_processor))
    return {
        "least": round(min(wall), 2),
        "median": round(statistics.median(wall), 2),
        "processor": round(min(processor), 2),
    }


def processor_ms(run: Callable[[], Any]) -> float:
    begin = time.process_time()
    run()
    return 1e3 * (time.process_time() - begin)


def forward_and_backward(scene: Gaussians, size_px: int, backend: Backend) -> Callable[[], None]:
    leaves = {name: t.clone().requires_grad_() for name, t in scene.tensors().items()}
    slope = torch.randn(size_px, size_px, scene.channels)

    def run() -> None:
        rgb, _ = rasterize(Gaussians(**leaves), camera(size_px), backend=backend)
        rgb.backward(slope)

    return run


def measure(count: int, size_px: int, rounds: int, with_oracle: bool) -> dict[str, Any]:
    scene, view = head(count), camera(size_px)
    with torch.no_grad():
        _, alpha = rasterize(scene, view)
        row: dict[str, Any] = {
            "gaussians": count,
            "size_px": size_px,
            "covered": round(float(alpha.mean()), 3),
            "forward_ms": time_ms(lambda: rasterize(scene, view), rounds),
        }
    row["both_ms"] = time_ms(forward_and_backward(scene, size_px, "numba"), rounds)
    if with_oracle and count <= ORACLE_UP_TO:
        with torch.no_grad():
            forward_ms = processor_ms(lambda: rasterize(scene, view, backend="oracle"))
        both_ms = processor_ms(forward_and_backward(scene, size_px, "oracle"))
        row["oracle_forward_ms"], row["oracle_both_ms"] = round(forward_ms), round(both_ms)
        row["times_faster_forward"] = round(forward_ms / row["forward_ms"]["processor"], 1)
        row["times_faster_both"] = round(both_ms / row["both_ms"]["processor"], 1)
    return row


def as_line(row: dict[str, Any]) -> str:
    times = "  ".join(
        f"{row[name]['median']:7.1f} / {row[name]['processor']:6.1f}"
        for name in ("forward_ms", "both_ms")
    )
    faster = (
        f"{row['times_faster_forward']:7.0f}x {row['times_faster_both']:6.0f}x"
        if "times_faster_both" in row
        else ""
    )
    return f"{row['size_px']:5d}  {row['gaussians']:6d}  {times}  {faster}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--no-oracle", action="store_true")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    if not arguments.json:
        print(f"{arguments.threads} threads, torch {torch.__version__}, ms: wall / processor")
        print(" size       N     forward           both          oracle: both ways")
    rows = []
    for size_px in SIZES_PX:
        for count in COUNTS:
            row = measure(count, size_px, arguments.rounds, not arguments.no_oracle)
            rows.append(row)
            if not arguments.json:
                print(as_line(row), flush=True)
    if arguments.json:
        machine = {"processor": platform.processor() or platform.machine(), "load": os.getloadavg()}
        print(json.dumps({"threads": arguments.threads, "machine": machine, "rows": rows}))


if __name__ == "__main__":
    main()
