"""Heads that are drawn, tracked and judged clip by clip, as in ``evaluate avatar``."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import UInt8

from se4lip.artifacts.avatar import Avatar
from se4lip.evaluate_avatar import Rendered, has_look, render_take
from se4lip.face.tracker import Tracker
from se4lip.io.dataset import Dataset
from se4lip.io.pictures import labelled
from se4lip.metrics import image, landmarks
from se4lip.train.avatar_material import takes_of
from se4lip.train.listener import Listener

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
    """Figures of the first test takes that show the avatar's look."""
    clips: dict[str, dict[str, float | None]] = {}
    for take in takes_of(data, "test"):
        if len(clips) == most:
            break
        if has_look(avatar, data, take, videos):
            one = render_take(avatar, data, take, listener, "speech", tracker, videos)
            figures = judge_drawn(one)
            clips[take.clip] = {k: None if math.isnan(v) else v for k, v in figures.items()}
    return {"clips": clips}


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


def grid_of(
    takes: dict[str, Sequence[Picture]], columns: int = 3
) -> Iterator[UInt8[np.ndarray, "H W 3"]]:
    """All heads saying the same sentence at once, each with its name burnt in."""
    named = [list(labelled(pictures, name)) for name, pictures in takes.items()]
    blank = np.zeros_like(named[0][0])
    for frames in zip(*named, strict=True):
        cells = [*frames, *[blank] * (-len(frames) % columns)]
        rows = [np.concatenate(cells[i : i + columns], 1) for i in range(0, len(cells), columns)]
        yield np.concatenate(rows, 0)
