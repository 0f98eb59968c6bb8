"""Takes of an avatar beside the real ones, and every figure of them: serves ``evaluate avatar``.

Takes go in one by one and pictures are not kept. Frames in which the tracker finds no face are left
out of the figures and counted; sync is not read of takes in which they are most. A judge that
cannot judge is named with its reason; sync of the second judge is read of all takes together,
because one of three seconds is too little for it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Float32, UInt8

from se4lip.artifacts.encoder import load_encoder
from se4lip.artifacts.judge import judge_gate, load_judge
from se4lip.audio.voice_activity import speech_in_frames
from se4lip.evaluation.sync import enough_face, syncnet_network
from se4lip.evaluation.video import EvaluateConfig, lpips_network
from se4lip.face.contour import lip_contour
from se4lip.face.follow import follow_every_face, where_seen
from se4lip.face.lips import crop_lips, image_from_lips_transforms
from se4lip.face.tracker import Tracker
from se4lip.metrics import closure, image, landmarks, syncnet
from se4lip.metrics.judge import Judge, judge_rows, read_judge
from se4lip.metrics.judge_lips import face_motion
from se4lip.metrics.report import mean_known
from se4lip.metrics.sync import measure_offset
from se4lip.train.avatar_material import Take
from se4lip.types import FRAME_RATE_HZ, SAMPLES_PER_FRAME, FaceTrack, InputError, Speech

Pictures = UInt8[np.ndarray, "T h w 3"]
Followed = tuple[FaceTrack, Bool[np.ndarray, " T"]]  # of `face.follow.follow_every_face`

_BATCH_FRAMES = 8


@dataclass(frozen=True, eq=False)
class Side:
    """The pictures of a take, drawn or filmed, and the face in them."""

    pictures: Pictures
    track: FaceTrack
    seen: Bool[np.ndarray, " T"]

    @classmethod
    def of(cls, pictures: Pictures, track: FaceTrack, seen: np.ndarray | None) -> Side:
        return cls(pictures, track, np.ones(len(track), bool) if seen is None else seen)

    def points(self) -> Float32[np.ndarray, "T 478 3"]:
        """Landmarks, NaN in frames without a face."""
        return where_seen(self.track.landmarks_px, self.seen)

    def shapes(self) -> Float32[np.ndarray, "T 52"]:
        return where_seen(self.track.blendshapes, self.seen)


@dataclass(frozen=True, eq=False)
class Rendered:
    """One take: what was drawn, what was filmed, what a tracker sees in both, what is heard.

    Tracks are filled in where ``drawn_seen`` and ``real_seen`` are false; None is a face in every
    frame. ``told`` are the landmarks that the head's mouth codes stand for, in centimetres of the
    head, where it is known which they were.
    """

    take: Take
    drawn: Pictures
    real: Pictures
    drawn_track: FaceTrack
    real_track: FaceTrack
    samples: Float32[np.ndarray, " S"]
    drawn_seen: Bool[np.ndarray, " T"] | None = None
    real_seen: Bool[np.ndarray, " T"] | None = None
    told: Float[np.ndarray, "T 478 3"] | None = None

    def __len__(self) -> int:
        return len(self.drawn)

    @property
    def drawn_side(self) -> Side:
        return Side.of(self.drawn, self.drawn_track, self.drawn_seen)

    @property
    def real_side(self) -> Side:
        return Side.of(self.real, self.real_track, self.real_seen)

    @property
    def speaking(self) -> Bool[np.ndarray, " T"]:
        return speech_in_frames(self.samples, len(self))


def beside(
    take: Take,
    drawn: Pictures,
    real: Pictures,
    samples: Float32[np.ndarray, " S"],
    followed: Followed,
    tracker: Tracker,
) -> Rendered:
    """Drawn pictures beside the real ones, in which the face was ``followed`` already.

    A take drawn so badly that there is no face in it is a figure, not an end.
    """
    try:
        track, seen = follow_every_face(drawn, tracker)
    except InputError:
        track, seen = followed[0], np.zeros(len(drawn), bool)
    return Rendered(take, drawn, real, track, followed[0], samples, seen, followed[1])


def sound_of(rendered: Rendered) -> Speech:
    """The take's sound, exactly as long as its pictures."""
    samples = np.zeros(len(rendered) * SAMPLES_PER_FRAME, np.float32)
    samples[: len(rendered.samples)] = rendered.samples[: len(samples)]
    return Speech(samples)


def judged_rows(judge: Judge, one: Rendered, side: Side) -> torch.Tensor | None:
    """Similarities by the second judge (`metrics.judge.judge_rows`) where a face is seen; None of a
    take shorter than what it looks at."""
    if len(one) < judge.config.window_frames:
        return None
    motion = torch.from_numpy(face_motion(side.track.landmarks_px, side.track.blendshapes))
    sound = torch.from_numpy(sound_of(one).samples)
    return judge_rows(judge, sound, motion, torch.from_numpy(one.speaking & side.seen))


def syncnet_score_of(network: syncnet.SyncNet, one: Rendered, side: Side) -> syncnet.SyncNetScore:
    """By the published SyncNet, of the faces in a take's pictures with its sound."""
    boxes = syncnet.syncnet_boxes_px(side.track.landmarks_px)
    faces = map(syncnet.crop_face, side.pictures, boxes)
    return syncnet.score_syncnet(network, faces, sound_of(one).samples)


class Tally:
    """Takes go in one by one, figures of all their frames come out."""

    def __init__(self, config: EvaluateConfig) -> None:
        self.takes = 0
        self.config = config
        self.encoder = load_encoder(config.encoder)
        self.why: dict[str, str] = {}
        self.lpips = self._judge("lpips", lambda: lpips_network(config))
        self.syncnet = self._judge("lse_d", lambda: syncnet_network(config.syncnet, config.fetch))
        self.judge = self._judge("judge_offset_frames", lambda: load_judge(config.judge))
        self.per_frame: dict[str, list[float]] = {}
        self.points: dict[str, list[np.ndarray]] = {"": [], "real_": []}
        self.shapes: dict[str, list[np.ndarray]] = {"": [], "real_": []}
        self.speaking: list[np.ndarray] = []
        self.moves_told: list[np.ndarray] = []  # of every silent frame, by the codes
        self.phones: list[list[closure.Phone]] = []
        self.per_take: dict[str, list[float]] = {}
        self.rows: dict[str, list[torch.Tensor]] = {"": [], "real_": []}
        self.judged_frames: dict[str, list[int]] = {"": [], "real_": []}  # of takes that gave rows
        self.unread: dict[str, list[str]] = {"": [], "real_": []}  # why, of each take without sync
        self.unscored: dict[str, list[str]] = {"": [], "real_": []}  # the same of SyncNet alone

    def _judge(self, key: str, load: Callable[[], Any]) -> Any:
        try:
            return load()
        except InputError as error:
            self.why[key] = str(error)
            return None

    def add(self, one: Rendered, phones: list[closure.Phone]) -> None:
        self.takes += 1
        self.speaking.append(one.speaking)
        self.phones.append(phones)
        if one.told is not None:
            self.moves_told.append(landmarks.moves_in_silence(one.told, one.speaking))
        self._compare(one)
        for key, side in (("", one.drawn_side), ("real_", one.real_side)):
            self.points[key].append(side.points())
            self.shapes[key].append(side.shapes())
            try:
                enough_face(side.seen, f"take {one.take.clip}")
            except InputError as error:
                self.unread[key].append(str(error))
            else:
                self._hear(key, one, side)

    @torch.inference_mode()
    def _compare(self, one: Rendered) -> None:
        boxes = torch.from_numpy(landmarks.mouth_boxes_px(one.real_side.points()))
        for start in range(0, len(one), _BATCH_FRAMES):
            rows = slice(start, start + _BATCH_FRAMES)
            drawn, real = image.pictures(one.drawn[rows]), image.pictures(one.real[rows])
            mask = image.box_mask(boxes[rows], *real.shape[-2:])
            found = {
                "psnr_db": image.psnr(drawn, real, 1.0),
                "psnr_mouth_db": image.psnr(drawn, real, 1.0, mask),
                "ssim": image.ssim(drawn, real, 1.0),
                "ssim_mouth": image.ssim(drawn, real, 1.0, mask),
            }
            if self.lpips is not None:
                found["lpips"] = self.lpips(drawn, real)
            for key, values in found.items():
                self.per_frame.setdefault(key, []).extend(values.tolist())

    def _hear(self, key: str, one: Rendered, side: Side) -> None:
        track, sound = side.track, torch.from_numpy(sound_of(one).samples)
        speaking = torch.from_numpy(one.speaking & side.seen)
        crops = torch.from_numpy(crop_lips(side.pictures, image_from_lips_transforms(track)))
        contour = torch.from_numpy(lip_contour(track))
        speech, lips, _ = self.encoder.embed_clip(sound, crops, contour)
        reading = measure_offset(speech, lips, speaking)
        if reading is not None:
            self._take(f"{key}sync_offset_frames", reading.offset_frames)
            self._take(f"{key}sync_confidence", reading.confidence)
            self._take(f"{key}sync_distance", reading.distance)
            self._take(f"{key}sync_within_one_frame", abs(reading.offset_frames) <= 1)
        rows = None if self.judge is None else judged_rows(self.judge, one, side)
        if rows is not None:
            self.rows[key].append(rows)
            self.judged_frames[key].append(len(one))
        if self.syncnet is not None:
            try:
                score = syncnet_score_of(self.syncnet, one, side)
            except InputError as error:  # a take that is too short for it spoils no other
                self.unscored[key].append(str(error))
                return
            self._take(f"{key}syncnet_offset_frames", score.offset_frames)
            self._take(f"{key}lse_c", score.lse_c)
            self._take(f"{key}lse_d", score.lse_d)

    def _take(self, key: str, value: float) -> None:
        self.per_take.setdefault(key, []).append(float(value))

    def figures(self) -> dict[str, Any]:
        figures: dict[str, Any] = {
            key: mean_known(self.per_frame.get(key, ()), infinite=True)
            for key in ("psnr_db", "psnr_mouth_db", "ssim", "ssim_mouth", "lpips")
        }
        drawn, real = (np.concatenate(self.points[key]) for key in ("", "real_"))
        shapes = (np.concatenate(self.shapes[key]) for key in ("", "real_"))
        figures |= {
            "frames": len(real),
            "lmd_px256": landmarks.lip_distance_px256(drawn, real),
            "lmd_head_aligned_px256": landmarks.lip_distance_head_aligned_px256(drawn, real),
            "blendshape_error": landmarks.blendshape_error(*shapes),
            "silent_moving_share_told": mean_known(
                np.concatenate([*self.moves_told, np.zeros(0)]).astype(float)
            ),
        }
        for name, shape in (("aperture", landmarks.lip_aperture), ("width", landmarks.lip_width)):
            figures[f"{name}_correlation"] = landmarks.correlation(shape(drawn), shape(real))
        threshold, why = closure.closed_below(landmarks.lip_aperture(real)), dict(self.why)
        for key, takes in self.points.items():
            figures |= self._alone(key, takes, threshold) | self._sync(key, why)
        return figures | {"not_computed": why}

    def _alone(self, key: str, takes: list[np.ndarray], closed_below: float) -> dict[str, float]:
        """What the lips of one side do, whatever those of the other."""
        silent = map(landmarks.silent_motion_px256, takes, self.speaking)
        moving = np.concatenate([*map(landmarks.moves_in_silence, takes, self.speaking)])
        counts = closure.ClosureCounts()
        for points, phones in zip(takes, self.phones, strict=True):
            counts += closure.count_closures(landmarks.lip_aperture(points), phones, closed_below)
        return {
            f"{key}face_seen": float(np.isfinite(np.concatenate(takes)[:, 0, 0]).mean()),
            f"{key}jitter_px256": mean_known(map(landmarks.jitter_px256, takes)),
            f"{key}silent_motion_px256": mean_known(silent),
            f"{key}silent_moving_share": mean_known(moving.astype(float)),
            f"{key}silent_frames": len(moving),
            f"{key}closure_f1": counts.f1,
            f"{key}closure_recall": counts.recall,
            f"{key}closure_precision": counts.precision,
        }

    def _sync(self, key: str, why: dict[str, str]) -> dict[str, float]:
        names = ("confidence", "distance", "within_one_frame")
        figures = {f"{key}sync_{name}": self._mean_take(f"{key}sync_{name}") for name in names}
        figures |= {f"{key}{name}": self._mean_take(f"{key}{name}") for name in ("lse_c", "lse_d")}
        for name in (f"{key}sync_offset_frames", f"{key}syncnet_offset_frames"):
            found = self.per_take.get(name)
            figures[name] = float(np.median(found)) if found else math.nan
        named = ("judge_offset_frames", "judge_confidence", "judge_distance")
        figures |= {f"{key}{name}": math.nan for name in named}
        if self.judge is not None:
            try:
                clip_s = min(self.judged_frames[key], default=0) / FRAME_RATE_HZ
                gate = judge_gate(self.config.judge)
                reading = read_judge(self.judge, gate, self.rows[key], clip_s)
            except InputError as error:
                why[f"{key}judge_offset_frames"] = str(error)
            else:
                figures[f"{key}judge_offset_frames"] = float(reading.offset_frames)
                figures[f"{key}judge_confidence"] = reading.confidence
                figures[f"{key}judge_distance"] = reading.distance
        if self.unscored[key]:
            told = f"{len(self.unscored[key])} of {self.takes} takes are left out"
            why[f"{key}lse_d"] = f"{told}: {self.unscored[key][0]}"
        if self.unread[key]:
            told = f"{len(self.unread[key])} of {self.takes} takes are left out of sync"
            why[f"{key}sync"] = f"{told}: {self.unread[key][0]}"
        elif math.isnan(figures[f"{key}sync_offset_frames"]):
            why[f"{key}sync"] = "too little speech in every take"
        return figures

    def _mean_take(self, key: str) -> float:
        return mean_known(self.per_take.get(key, ()))
