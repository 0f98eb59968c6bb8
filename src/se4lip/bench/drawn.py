"""Heads that are drawn, tracked and judged clip by clip, as in ``evaluate avatar``."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor

from se4lip.artifacts.avatar import Avatar
from se4lip.artifacts.judge import judge_gate, load_judge
from se4lip.bench.lips import Asked
from se4lip.evaluate_avatar import has_look, render_take
from se4lip.face.tracker import Tracker
from se4lip.io.credentials import Origin
from se4lip.io.dataset import Dataset
from se4lip.io.pictures import labelled
from se4lip.io.video import write_video
from se4lip.metrics import image, landmarks
from se4lip.metrics.judge import Judge, judge_rows, read_judge
from se4lip.metrics.judge_lips import face_motion
from se4lip.rendered_takes import Rendered, sound_of
from se4lip.train.avatar_material import takes_of
from se4lip.train.listener import Listener
from se4lip.types import FRAME_RATE_HZ, FaceTrack, InputError, Speech

Picture = UInt8[np.ndarray, "H W 3"]

# name: whether more is better
FIGURES = {
    "psnr_mouth_db": True,
    "lmd_px256": False,
    "aperture_correlation": True,
    "width_correlation": True,
}


def draw_clips(
    avatar: Avatar,
    data: Dataset,
    listener: Listener,
    tracker: Tracker,
    most: int,
    videos: Path | None,
) -> dict[str, Any]:
    """Figures of the first test takes that show the avatar's look, and what the second sync judge
    says of them together, or why it says nothing."""
    clips: dict[str, dict[str, float | None]] = {}
    heard: dict[str, list[Tensor]] = {"drawn": [], "real": []}
    lengths: list[int] = []  # frames
    try:
        network, silent = load_judge(), ""
    except InputError as error:
        network, silent = None, str(error)
    for take in takes_of(data, "test"):
        if len(clips) == most:
            break
        if has_look(avatar, data, take, videos):
            one = render_take(avatar, data, take, listener, "speech", tracker, videos)
            figures = judge_drawn(one)
            lengths.append(len(one.drawn_track))
            clips[take.clip] = {k: None if math.isnan(v) else v for k, v in figures.items()}
            for what, track in (("drawn", one.drawn_track), ("real", one.real_track)):
                if network is not None:
                    heard[what].append(_judge_rows(network, one, track))
    found: dict[str, Any] = {"clips": clips, "judge": {}, "no_judge": silent}
    try:
        for what, rows in heard.items():
            if network is not None:
                clip_s = min(lengths, default=0) / FRAME_RATE_HZ
                reading = read_judge(network, judge_gate(), rows, clip_s)
                found["judge"][what] = [reading.offset_frames, reading.confidence]
    except InputError as error:
        found["judge"], found["no_judge"] = {}, str(error)
    return found


def _judge_rows(network: Judge, one: Rendered, track: FaceTrack) -> Tensor:
    motion = torch.from_numpy(face_motion(track.landmarks_px, track.blendshapes))
    samples = torch.from_numpy(sound_of(one).samples)
    return judge_rows(network, samples, motion, torch.from_numpy(one.speaking))


def judge_drawn(one: Rendered) -> dict[str, float]:
    """Figures of one drawn take beside the real one, both seen by the same tracker."""
    shown, real = one.drawn_track.landmarks_px, one.real_track.landmarks_px
    boxes = torch.from_numpy(landmarks.mouth_boxes_px(real))
    drawn, filmed = image.pictures(one.drawn), image.pictures(one.real)
    mask = image.box_mask(boxes, *filmed.shape[-2:])
    return {
        "psnr_mouth_db": float(image.psnr(drawn, filmed, 1.0, mask).nanmean()),
        "lmd_px256": landmarks.lip_distance_px256(shown, real),
        "aperture_correlation": landmarks.correlation(
            landmarks.lip_aperture(shown), landmarks.lip_aperture(real)
        ),
        "width_correlation": landmarks.correlation(
            landmarks.lip_width(shown), landmarks.lip_width(real)
        ),
    }


def write_grid(
    path: Path, said: Mapping[str, Iterable[Picture]], asked: Asked, parts: Mapping[str, Any]
) -> None:
    """A video of all features saying the same sentence."""
    origin = Origin("one sentence, other features in each picture", parts=parts)
    write_video(path, grid_of(said), Speech(asked.samples), origin=origin)


def grid_of(
    said: Mapping[str, Iterable[Picture]], columns: int = 3
) -> Iterator[UInt8[np.ndarray, "H W 3"]]:
    """Pictures beside each other, each with its name burnt in."""
    named = [labelled(pictures, name) for name, pictures in said.items()]
    for frames in zip(*named, strict=True):
        cells = [*frames, *[np.zeros_like(frames[0])] * (-len(frames) % columns)]
        rows = [np.concatenate(cells[i : i + columns], 1) for i in range(0, len(cells), columns)]
        yield np.concatenate(rows, 0)
