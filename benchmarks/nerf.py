"""What each shortcut of a radiance field saves, and what it costs the picture.

    python benchmarks/nerf.py field/avatar.safetensors grid_s1 [--frames 25] [--rounds 5] [--json]

Frames of test takes that show the avatar's look are drawn as they were filmed, the real mouth
driving, with each shortcut in turn, frame by frame, so that all of them meet the same machine.
``processor ms`` is of all threads together, a frame's least of the rounds, then the mean over
frames; ``of the time`` is its ratio to drawing everything, which holds on a busy machine too.
PSNR is against the film, at the size trained at; ``cost`` is what the shortcut loses.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # before torch loads; decides under load

import argparse
import json
import platform
import time
from pathlib import Path
from typing import Any, get_args

import numpy as np
import torch

from se4lip.artifacts.avatar import Avatar, load_avatar
from se4lip.evaluation.avatar import has_look
from se4lip.head.base import Motion
from se4lip.head.nerf.head import NerfHead, Shortcut
from se4lip.io.dataset import Dataset, open_dataset
from se4lip.metrics.image import pictures, psnr
from se4lip.train.avatar_material import framed_pictures, motion_of, sliced, takes_of

SHORTCUTS: tuple[Shortcut, ...] = get_args(Shortcut)
SIZES_PX = (256, 512)


def filmed(
    avatar: Avatar, data: Dataset, frames: int, videos: Path | None
) -> tuple[np.ndarray, torch.Tensor, Motion]:
    """Pictures, mouth codes and motion of the first test take that shows the avatar's look."""
    for take in takes_of(data, "test"):
        if has_look(avatar, data, take, videos):
            track = sliced(data.clip(take.clip).track, take)
            poses = avatar.person.head_poses(track)
            real = framed_pictures(data, take, avatar.person.framing, None, videos)
            motion = motion_of(avatar.person, track, poses, real)
            rows = np.linspace(0, len(real) - 1, min(frames, len(real))).round().astype(int)
            codes = torch.from_numpy(avatar.person.mouth_codes(track, poses))
            return real[rows], codes[rows], motion[rows]
    raise SystemExit("no test take shows what this avatar looks like: give its own data set")


def time_frames(
    head: NerfHead, codes: torch.Tensor, motion: Motion, size_px: int, rounds: int
) -> dict[Shortcut, float]:
    """Processor milliseconds a frame with each shortcut."""
    least = {shortcut: np.full(len(codes), np.inf) for shortcut in SHORTCUTS}
    for frame in range(len(codes)):
        one = codes[frame : frame + 1], motion[frame : frame + 1], size_px
        for shortcut in SHORTCUTS * (rounds + (frame == 0)):  # the first one compiles and caches
            head.shortcut = shortcut
            began = time.process_time()
            next(head.pictures(*one))
            took = 1e3 * (time.process_time() - began)
            least[shortcut][frame] = min(least[shortcut][frame], took)
    return {shortcut: float(taken.mean()) for shortcut, taken in least.items()}


def fidelity(
    head: NerfHead, codes: torch.Tensor, motion: Motion, real: np.ndarray
) -> dict[Shortcut, float]:
    """PSNR against the film with each shortcut, dB."""
    found = {}
    for shortcut in SHORTCUTS:
        head.shortcut = shortcut
        drawn = np.stack(list(head.pictures(codes, motion)))
        found[shortcut] = float(psnr(pictures(drawn), pictures(real), 1.0).mean())
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("avatar", type=Path)
    parser.add_argument("dataset", type=Path)
    parser.add_argument("--videos", type=Path)
    parser.add_argument("--frames", type=int, default=25)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    avatar = load_avatar(given.avatar)
    head = avatar.head
    if not isinstance(head, NerfHead):
        raise SystemExit(f"{given.avatar} is made of 3D Gaussians: give a radiance field")
    real, codes, motion = filmed(avatar, open_dataset(given.dataset), given.frames, given.videos)
    psnr_db = fidelity(head, codes, motion, real)
    rows: list[dict[str, Any]] = []
    for size_px in SIZES_PX:
        took = time_frames(head, codes, motion, size_px, given.rounds)
        rows += [
            {
                "size_px": size_px,
                "shortcut": shortcut,
                "processor_ms": round(took[shortcut], 2),
                "of_the_time": round(took[shortcut] / took["none"], 3),
                "psnr_db": round(psnr_db[shortcut], 2),
                "cost_db": round(psnr_db["none"] - psnr_db[shortcut], 2),
            }
            for shortcut in SHORTCUTS
        ]
    if given.json:
        machine = {"processor": platform.processor() or platform.machine(), "load": os.getloadavg()}
        print(json.dumps({"threads": given.threads, "machine": machine, "rows": rows}))
        return
    print(f"{given.threads} threads, torch {torch.__version__}, {len(real)} frames")
    print("size  shortcut          processor ms  of the time  PSNR, dB  cost, dB")
    for row in rows:
        print(
            f"{row['size_px']:4}  {row['shortcut']:16}  {row['processor_ms']:12.1f}  "
            f"{row['of_the_time']:11.0%}  {row['psnr_db']:8.2f}  {row['cost_db']:8.2f}"
        )


if __name__ == "__main__":
    main()
