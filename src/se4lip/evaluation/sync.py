"""Three judges of how well sound and lips of a video agree in time: its part of ``evaluate video``.

The encoder's own opinion flatters a head that this encoder drives, so two others stand beside it:
a second network that shares nothing with it and says so when it may not judge, and the published
SyncNet. No confidence without its offset and its distance, and the real video under the same judge.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Bool
from torch import Tensor

from se4lip.artifacts.encoder import load_encoder
from se4lip.artifacts.judge import judge_gate, load_judge
from se4lip.evaluation.sync_video import SyncVerdictConfig, embed_video
from se4lip.evaluation.watch import Watched
from se4lip.io import judges
from se4lip.metrics import syncnet
from se4lip.metrics.judge import judge_rows, read_judge
from se4lip.metrics.judge_lips import face_motion
from se4lip.metrics.report import Figure, judged
from se4lip.metrics.sync import SyncReading, measure_offset
from se4lip.types import FRAME_RATE_HZ, InputError


def sync_figures(
    ours: Watched,
    real: Watched | None,
    encoder: Path | None,
    judge: Path | None,
    syncnet_weights: Path | None,
    fetch: bool,
) -> Iterator[Figure]:
    own = functools.cache(functools.partial(encoder_reading, encoder))
    second = functools.cache(functools.partial(judge_reading, judge))
    score = functools.cache(functools.partial(syncnet_score, syncnet_weights, fetch))
    yield from judged(
        ours,
        real,
        (
            ("sync_offset_frames", lambda v: own(v).offset_frames),
            ("sync_confidence", lambda v: own(v).confidence),
            ("sync_distance", lambda v: own(v).distance),
            ("sync_lead", lambda v: own(v).lead),
            ("judge_offset_frames", lambda v: second(v).offset_frames),
            ("judge_confidence", lambda v: second(v).confidence),
            ("judge_distance", lambda v: second(v).distance),
            ("syncnet_offset_frames", lambda v: score(v).offset_frames),
            ("lse_c", lambda v: score(v).lse_c),
            ("lse_d", lambda v: score(v).lse_d),
        ),
    )


def enough_face(seen: Bool[np.ndarray, " T"], what: str) -> None:
    """Sync is read where the lips are seen, and only of what shows them most of the time, as in
    ``se4lip sync``.

    Raises: InputError when a face is seen in too few frames of ``what``.
    """
    share, least = float(seen.mean()) if len(seen) else 0.0, SyncVerdictConfig.least_face
    if share < least:
        raise InputError(
            f"a face is seen in {share:.0%} of the frames of {what}, and sync needs one in "
            f"{least:.0%}"
        )


def encoder_reading(weights: Path | None, video: Watched) -> SyncReading:
    """Raises: InputError without a face, without sound, or with too little speech."""
    model = load_encoder(weights)
    speaking, track = _speaking_in_sight(video), video.face()
    reading = measure_offset(*embed_video(model, video, track), speaking)
    if reading is None:
        raise InputError(f"too little speech in the sound of {video.path} in sight of a face")
    return reading


def _speaking_in_sight(video: Watched) -> Bool[Tensor, " T"]:
    video.face()  # no face at all has its own sentence
    enough_face(video.seen, str(video.path))
    return torch.from_numpy(video.speaking() & video.seen)


def judge_reading(weights: Path | None, video: Watched) -> SyncReading:
    """Raises: InputError as ``encoder_reading``, and where the judge may not judge."""
    speaking, track = _speaking_in_sight(video), video.face()
    motion = torch.from_numpy(face_motion(track.landmarks_px, track.blendshapes))
    network = load_judge(weights)
    rows = judge_rows(network, torch.from_numpy(video.sound()), motion, speaking)
    return read_judge(network, judge_gate(weights), [rows], len(video) / FRAME_RATE_HZ)


def syncnet_score(weights: Path | None, fetch: bool, video: Watched) -> syncnet.SyncNetScore:
    """Raises: InputError as ``encoder_reading``, and where the weights are not here."""
    network = syncnet_network(weights, fetch)
    faces: Iterable[np.ndarray] = video.pictures()
    if (video.width_px, video.height_px) != (syncnet.FACE_PX, syncnet.FACE_PX):
        boxes = syncnet.syncnet_boxes_px(video.face().landmarks_px)
        enough_face(video.seen, str(video.path))
        faces = map(syncnet.crop_face, faces, boxes)
    return syncnet.score_syncnet(network, faces, video.sound())


def syncnet_network(weights: Path | None, fetch: bool) -> syncnet.SyncNet:
    """Raises: InputError where the weights are not here, or are none."""
    file = judges.find_published(judges.SYNCNET, weights, fetch)
    return syncnet.SyncNet.from_published(judges.read_tensors(file))
