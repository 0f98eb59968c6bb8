"""Takes of an avatar beside the real ones, and every figure of them: serves ``evaluate avatar``.

Takes go in one by one and pictures are not kept. A judge that cannot judge is named with its
reason; sync of the second judge is read of all takes together, because one of three seconds is too
little for it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float32, UInt8

from se4lip.artifacts.encoder import load_encoder
from se4lip.artifacts.judge import judge_gate, load_judge
from se4lip.audio.voice_activity import speech_frames
from se4lip.evaluate import EvaluateConfig, lpips_network
from se4lip.evaluate_sync import syncnet_network
from se4lip.face.contour import lip_contour
from se4lip.face.lips import crop_lips, image_from_lips_transforms
from se4lip.metrics import closure, image, landmarks, syncnet
from se4lip.metrics.judge import judge_rows, read_judge
from se4lip.metrics.judge_lips import face_motion
from se4lip.metrics.sync import measure_offset
from se4lip.train.avatar_material import Take
from se4lip.types import FRAME_RATE_HZ, SAMPLES_PER_FRAME, FaceTrack, InputError, Speech

Pictures = UInt8[np.ndarray, "T h w 3"]

_BATCH_FRAMES = 8


@dataclass(frozen=True, eq=False)
class Rendered:
    """One take: what was drawn, what was filmed, what a tracker sees in both, what is heard."""

    take: Take
    drawn: Pictures
    real: Pictures
    drawn_track: FaceTrack
    real_track: FaceTrack
    samples: Float32[np.ndarray, " S"]

    def __len__(self) -> int:
        return len(self.drawn)

    @property
    def speaking(self) -> Bool[np.ndarray, " T"]:
        mask = np.zeros(len(self), bool)
        active = speech_frames(self.samples)[: len(self)]
        mask[: len(active)] = active
        return mask


def sound_of(rendered: Rendered) -> Speech:
    """The take's sound, exactly as long as its pictures."""
    samples = np.zeros(len(rendered) * SAMPLES_PER_FRAME, np.float32)
    samples[: len(rendered.samples)] = rendered.samples[: len(samples)]
    return Speech(samples)


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
        self.tracks: dict[str, list[FaceTrack]] = {"": [], "real_": []}
        self.speaking: list[np.ndarray] = []
        self.phones: list[list[closure.Phone]] = []
        self.per_take: dict[str, list[float]] = {}
        self.rows: dict[str, list[torch.Tensor]] = {"": [], "real_": []}

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
        self._compare(one)
        sides = (("", one.drawn, one.drawn_track), ("real_", one.real, one.real_track))
        for key, pictures, track in sides:
            self.tracks[key].append(track)
            self._hear(key, one, pictures, track)

    @torch.inference_mode()
    def _compare(self, one: Rendered) -> None:
        boxes = torch.from_numpy(landmarks.mouth_boxes_px(one.real_track.landmarks_px))
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

    def _hear(self, key: str, one: Rendered, pictures: Pictures, track: FaceTrack) -> None:
        sound = torch.from_numpy(sound_of(one).samples)
        speaking = torch.from_numpy(one.speaking)
        crops = torch.from_numpy(crop_lips(pictures, image_from_lips_transforms(track)))
        contour = torch.from_numpy(lip_contour(track))
        speech, lips, _ = self.encoder.embed_clip(sound, crops, contour)
        reading = measure_offset(speech, lips, speaking)
        if reading is not None:
            self._take(f"{key}sync_offset_frames", reading.offset_frames)
            self._take(f"{key}sync_confidence", reading.confidence)
            self._take(f"{key}sync_distance", reading.distance)
            self._take(f"{key}sync_within_one_frame", abs(reading.offset_frames) <= 1)
        if self.judge is not None and len(one) >= self.judge.config.window_frames:
            motion = torch.from_numpy(face_motion(track.landmarks_px, track.blendshapes))
            self.rows[key].append(judge_rows(self.judge, sound, motion, speaking))
        if self.syncnet is not None:
            boxes = syncnet.syncnet_boxes_px(track.landmarks_px)
            faces = map(syncnet.crop_face, pictures, boxes)
            score = syncnet.score_syncnet(self.syncnet, faces, sound.numpy())
            self._take(f"{key}syncnet_offset_frames", score.offset_frames)
            self._take(f"{key}lse_c", score.lse_c)
            self._take(f"{key}lse_d", score.lse_d)

    def _take(self, key: str, value: float) -> None:
        self.per_take.setdefault(key, []).append(float(value))

    def figures(self) -> dict[str, Any]:
        figures: dict[str, Any] = {
            key: _mean(self.per_frame.get(key, ()))
            for key in ("psnr_db", "psnr_mouth_db", "ssim", "ssim_mouth", "lpips")
        }
        points = {
            key: [track.landmarks_px for track in tracks] for key, tracks in self.tracks.items()
        }
        drawn, real = np.concatenate(points[""]), np.concatenate(points["real_"])
        shapes = [
            np.concatenate([track.blendshapes for track in self.tracks[key]])
            for key in ("", "real_")
        ]
        figures |= {
            "frames": len(real),
            "lmd_px256": landmarks.lip_distance_px256(drawn, real),
            "lmd_head_aligned_px256": landmarks.lip_distance_head_aligned_px256(drawn, real),
            "blendshape_error": landmarks.blendshape_error(*shapes),
        }
        for name, shape in (("aperture", landmarks.lip_aperture), ("width", landmarks.lip_width)):
            figures[f"{name}_correlation"] = landmarks.correlation(shape(drawn), shape(real))
        threshold, why = closure.closed_below(landmarks.lip_aperture(real)), dict(self.why)
        for key, tracks in points.items():
            silent = map(landmarks.silent_motion_px256, tracks, self.speaking)
            figures[f"{key}jitter_px256"] = _mean(map(landmarks.jitter_px256, tracks))
            figures[f"{key}silent_motion_px256"] = _mean(silent)
            moving = np.concatenate([*map(landmarks.moves_in_silence, tracks, self.speaking)])
            figures[f"{key}silent_moving_share"] = _mean(moving.astype(float))
            figures["silent_frames"] = len(moving)
            figures |= self._sync(key, why)
            counts = closure.ClosureCounts()
            for track, phones in zip(tracks, self.phones, strict=True):
                gap = landmarks.lip_aperture(track)
                counts += closure.count_closures(gap, phones, threshold)
            figures[f"{key}closure_f1"] = counts.f1
            figures[f"{key}closure_recall"] = counts.recall
            figures[f"{key}closure_precision"] = counts.precision
        return figures | {"not_computed": why}

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
                clip_s = min(map(len, self.speaking)) / FRAME_RATE_HZ
                gate = judge_gate(self.config.judge)
                reading = read_judge(self.judge, gate, self.rows[key], clip_s)
            except InputError as error:
                why[f"{key}judge_offset_frames"] = str(error)
            else:
                figures[f"{key}judge_offset_frames"] = float(reading.offset_frames)
                figures[f"{key}judge_confidence"] = reading.confidence
                figures[f"{key}judge_distance"] = reading.distance
        return figures

    def _mean_take(self, key: str) -> float:
        return _mean(self.per_take.get(key, ()))


def _mean(values: Iterable[float]) -> float:
    """Of the known ones. A take drawn without an error would have an infinite PSNR."""
    known = [value for value in values if math.isfinite(value)]
    return float(np.mean(known)) if known else math.nan
