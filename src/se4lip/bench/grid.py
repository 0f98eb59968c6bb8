"""A video of all features saying the same sentence, the filmed person beside them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import numpy as np
import torch
from jaxtyping import UInt8

from se4lip.bench.drawn import RealTake, Stage
from se4lip.bench.heads import NamedHead
from se4lip.bench.hearing import Hearing
from se4lip.bench.lips import Asked
from se4lip.bench.memory import Memory, digest_of, memory_name
from se4lip.head.motion import there_and_back
from se4lip.io.credentials import Origin
from se4lip.io.pictures import labelled
from se4lip.io.video_writing import write_video
from se4lip.train.avatar_material import Take
from se4lip.types import Speech

Picture = UInt8[np.ndarray, "H W 3"]

VERSION = 1  # raise it when the video is to look otherwise
REAL = "real"


def write_grid(
    folder: Path,
    head: NamedHead,
    first: Mapping[str, Hearing],
    asked: Asked,
    memory: Memory,
    stage: Stage | None,
    take: Take | None,
) -> Path:
    """``folder/HEAD-KEY.mp4``; the file is there already if its key is. With a ``stage``, where the
    recordings are, the heads move as ``take`` was filmed and it stands beside them."""
    key = [
        *("grid", VERSION, head.avatar.sha256, [hearing.key for hearing in first.values()]),
        *(digest_of(asked), stage is not None),
    ]
    file = folder / f"{memory_name(key, head.label.replace(' ', '-'))}.mp4"
    if file.exists():
        return file
    real = None if stage is None or take is None else RealTake(stage, take)
    said: dict[str, Iterable[Picture]] = {} if real is None else {REAL: real.pictures}
    for name, hearing in first.items():
        rows = memory.rows(hearing.named.kind, [asked.samples])[0]
        with torch.inference_mode():
            codes = hearing.window(torch.from_numpy(rows))
        if real is None:
            replay = head.avatar.replay
            motion = replay[there_and_back(len(replay), 0, len(codes))]
        else:
            motion = real.motion
            at = np.arange(len(motion)).clip(max=len(codes) - 1)
            codes = codes[torch.from_numpy(at)]
        said[name] = head.avatar.head.pictures(codes, motion)
    comment = "one sentence, other features in each picture"
    kind = "trainedAlgorithmicMedia" if real is None else "compositeSynthetic"
    if real is not None:
        comment += ", the real recording in the first"
    origin = Origin(comment, kind, head.avatar.parts)  # type: ignore[arg-type]
    write_video(file, grid_of(said), Speech(asked.samples), origin=origin)
    return file


def grid_of(
    said: Mapping[str, Iterable[Picture]], columns: int = 3
) -> Iterator[UInt8[np.ndarray, "H W 3"]]:
    """Pictures beside each other, each with its name burnt in."""
    named = [labelled(pictures, name) for name, pictures in said.items()]
    for frames in zip(*named, strict=True):
        cells = [*frames, *[np.zeros_like(frames[0])] * (-len(frames) % columns)]
        rows = [np.concatenate(cells[i : i + columns], 1) for i in range(0, len(cells), columns)]
        yield np.concatenate(rows, 0)
