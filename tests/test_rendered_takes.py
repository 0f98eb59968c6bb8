"""Figures of drawn takes whose answer is known: what was drawn is the real take, or is late."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from faces import mask
from se4lip.artifacts.encoder import save_encoder
from se4lip.artifacts.judge import save_judge, store_gate
from se4lip.encoder.model import SE4Lip, SE4LipConfig
from se4lip.evaluation.rendered_takes import Rendered, Tally
from se4lip.evaluation.video import EvaluateConfig
from se4lip.metrics import landmarks
from se4lip.metrics.closure import Phone
from se4lip.metrics.judge import Gate, Judge, JudgeConfig
from se4lip.metrics.syncnet import SyncNet
from se4lip.train.avatar_material import Take
from se4lip.types import FaceTrack

FRAMES = 50
TALK = 0.5 + 0.5 * np.sin(np.arange(FRAMES) * 0.9)


def track(opening: np.ndarray) -> FaceTrack:
    points = np.repeat(mask()[None], len(opening), 0)
    points[:, list(landmarks.LIPS), :2] = points[:, list(landmarks.LIPS), :2] * 0.25 + (0.38, 0.7)
    points[:, list(landmarks.WIDEST)] = (0, 0.5, 0.2), (1, 0.5, 0.2)
    lower, upper = list(landmarks.LOWER_INNER), list(landmarks.UPPER_INNER)
    points[:, lower] = points[:, upper]
    points[:, lower, 1] += 0.15 * opening[:, None]
    shapes = np.zeros((len(opening), 52), np.float32)
    shapes[:, 25] = opening
    eye = np.tile(np.eye(4, dtype=np.float32), (len(opening), 1, 1))
    return FaceTrack((100 * points + [14, 14, 0]).astype(np.float32), shapes, eye, 128, 128)


def pictures(opening: np.ndarray) -> np.ndarray:
    ground = np.random.default_rng(0).integers(60, 120, (16, 16, 3), np.uint8)
    made = np.repeat(ground.repeat(8, 0).repeat(8, 1)[None], len(opening), 0)
    made[:, 88:104, 50:78] = (255 * opening).round().astype(np.uint8)[:, None, None, None]
    return made


def take(drawn: np.ndarray, silent: bool = False, seen: np.ndarray | None = None) -> Rendered:
    random = np.random.default_rng(1)
    loud = np.repeat(np.where(np.arange(FRAMES) % 25 > 6, 0.3, 0.0003), 640)
    samples = (loud * random.normal(size=len(loud))).clip(-1, 1).astype(np.float32)
    return Rendered(
        Take("clip", 0, FRAMES),
        pictures(drawn),
        pictures(TALK),
        track(drawn),
        track(TALK),
        0 * samples if silent else samples,
        seen,
    )


@pytest.fixture
def config(tmp_path, monkeypatch) -> EvaluateConfig:
    monkeypatch.setenv("SE4LIP_CACHE", str(tmp_path))
    torch.manual_seed(0)
    save_encoder(tmp_path / "encoder.safetensors", SE4Lip(SE4LipConfig()).eval(), {})
    save_judge(tmp_path / "judge.safetensors", Judge(JudgeConfig(width=8)), {"name": "drawn"})
    return EvaluateConfig(
        encoder=tmp_path / "encoder.safetensors", judge=tmp_path / "judge.safetensors"
    )


def test_the_real_take_drawn_again_has_no_error(config) -> None:
    tally = Tally(config)
    tally.add(take(TALK), [])
    figures = tally.figures()
    for key, value in (
        *(("ssim", 1), ("ssim_mouth", 1), ("aperture_correlation", 1)),
        *(("lmd_px256", 0), ("lmd_head_aligned_px256", 0), ("blendshape_error", 0)),
    ):
        assert figures[key] == pytest.approx(value, abs=1e-5), key
    assert math.isinf(figures["psnr_db"])
    for key in ("jitter_px256", "sync_offset_frames", "sync_distance", "sync_confidence"):
        assert figures[key] == pytest.approx(figures[f"real_{key}"]), key


def test_a_take_drawn_two_frames_late_is_measured(config) -> None:
    tally = Tally(config)
    closed = int(np.argmin(TALK[10:20])) + 10
    phones = [Phone("M", (closed - 1) / 25, (closed + 1) / 25)]
    for _ in range(2):
        tally.add(take(np.roll(TALK, 2)), phones)
    figures = tally.figures()
    assert figures["frames"] == 2 * FRAMES
    apart = np.abs(np.roll(TALK, 2) - TALK).mean()
    assert figures["blendshape_error"] == pytest.approx(apart / 27, rel=1e-3)
    assert figures["lmd_px256"] == pytest.approx(apart * 0.15 * 256 * 3 / 40, rel=0.02)
    expected = np.corrcoef(np.roll(TALK, 2), TALK)[0, 1]
    assert figures["aperture_correlation"] == pytest.approx(expected, abs=1e-3)
    assert (figures["closure_f1"], figures["real_closure_f1"]) == (0, 1)
    assert figures["ssim_mouth"] < figures["ssim"] < 1


def test_judges_that_may_not_judge_or_are_not_here_are_named(config) -> None:
    tally = Tally(config)
    tally.add(take(TALK), [])
    figures = tally.figures()
    for key in ("lpips", "lse_d", "real_lse_c", "judge_distance", "real_judge_offset_frames"):
        assert math.isnan(figures[key]), key
    why = figures["not_computed"]
    assert why["lpips"].startswith("alexnet-owt-7be5be79.pth is not here")
    assert why["lse_d"].startswith("syncnet_v2.model is not here")
    assert why["judge_offset_frames"].startswith("the second judge may not judge: it has not shown")


def test_takes_that_are_too_short_alone_are_judged_together(config) -> None:
    store_gate(config.judge, Gate(least_speech_s=2.0), {})
    tally = Tally(config)
    tally.add(take(TALK), [])
    why = tally.figures()["not_computed"]["judge_offset_frames"]
    assert why.startswith("the second judge may not judge 1.")
    tally.add(take(TALK), [])
    figures = tally.figures()
    assert "judge_offset_frames" not in figures["not_computed"]
    assert abs(figures["judge_offset_frames"]) <= 15
    assert figures["judge_distance"] == pytest.approx(figures["real_judge_distance"])


def cut(one: Rendered, frames: int) -> Rendered:
    def sliced(track: FaceTrack) -> FaceTrack:
        return FaceTrack(
            *(track.landmarks_px[:frames], track.blendshapes[:frames]),
            *(track.camera_from_face[:frames], track.width_px, track.height_px),
        )

    return Rendered(
        Take("sliver", 0, frames),
        *(one.drawn[:frames], one.real[:frames]),
        *(sliced(one.drawn_track), sliced(one.real_track)),
        one.samples[: 640 * frames],
        None,
    )


def test_a_sliver_of_a_take_spoils_no_other(config) -> None:
    store_gate(config.judge, Gate(least_speech_s=60.0, least_speech_long_s=2.0), {})
    alone, beside, network = Tally(config), Tally(config), SyncNet().eval()
    for tally in (alone, beside):
        tally.syncnet = network
        for _ in range(2):
            tally.add(take(TALK), [])
    beside.add(cut(take(TALK), 4), [])
    first, second = alone.figures(), beside.figures()
    for key in ("judge_confidence", "lse_c", "lse_d", "sync_confidence"):
        assert math.isfinite(first[key])
        assert second[key] == first[key]
    assert second["not_computed"]["lse_d"].startswith("1 of 3 takes are left out: SyncNet needs")


def test_a_silent_take_says_nothing_of_sync_but_whether_the_mouth_rests(config) -> None:
    tally = Tally(config)
    tally.add(take(np.zeros(FRAMES), silent=True), [])
    figures = tally.figures()
    assert math.isnan(figures["sync_confidence"])
    assert figures["silent_moving_share"] == 0
    assert figures["real_silent_moving_share"] > 0.3
    assert figures["silent_frames"] == FRAMES - 5


def test_what_the_codes_say_in_silence_is_told_apart_from_what_a_tracker_sees(config) -> None:
    silent = take(TALK, silent=True)
    still = np.repeat(silent.real_track.landmarks_px[:1].astype(float), FRAMES, axis=0)
    for told, moves in ((still, False), (silent.drawn_track.landmarks_px.astype(float), True)):
        tally = Tally(config)
        tally.add(replace(silent, told=told), [])
        figures = tally.figures()
        assert figures["silent_moving_share"] > 0.3
        assert (figures["silent_moving_share_told"] > 0.3) is moves
        assert moves or figures["silent_moving_share_told"] == 0
    tally = Tally(config)
    tally.add(silent, [])
    assert math.isnan(tally.figures()["silent_moving_share_told"])


def test_frames_in_which_no_face_was_drawn_are_left_out_and_counted(config) -> None:
    drawn, seen = np.array(TALK), np.ones(FRAMES, bool)
    seen[20:30] = False
    drawn[20:30] = 0.5  # what a tracker's track is filled in with is not to be judged
    tally = Tally(config)
    tally.add(take(drawn, seen=seen), [Phone("M", 22 / 25, 28 / 25)])
    figures = tally.figures()
    assert (figures["face_seen"], figures["real_face_seen"]) == (0.8, 1)
    assert figures["lmd_px256"] == pytest.approx(0, abs=1e-5)
    assert figures["aperture_correlation"] == pytest.approx(1)
    assert math.isnan(figures["closure_recall"])  # the only one was not seen
    assert figures["real_closure_recall"] in (0, 1)


def test_a_mouth_that_nobody_saw_moves_in_no_silence(config) -> None:
    tally, seen = Tally(config), np.zeros(FRAMES, bool)
    seen[:20] = True
    still = np.where(seen, 0, TALK)
    tally.add(take(still, silent=True, seen=seen), [])
    figures = tally.figures()
    assert figures["silent_moving_share"] == 0
    assert (figures["silent_frames"], figures["real_silent_frames"]) == (15, FRAMES - 5)


def test_sync_is_not_read_of_takes_that_mostly_show_no_face(config) -> None:
    store_gate(config.judge, Gate(least_speech_s=0.5), {})
    tally, seen = Tally(config), np.ones(FRAMES, bool)
    seen[20:] = False
    tally.add(take(TALK, seen=seen), [])
    figures = tally.figures()
    why = figures["not_computed"]["sync"]
    told = "1 of 1 takes are left out of sync: a face is seen in 40% of the frames of take clip"
    assert why.startswith(told)
    for key in ("sync_confidence", "judge_distance"):
        assert math.isnan(figures[key]), key
        assert math.isfinite(figures[f"real_{key}"]), key


def test_a_take_without_a_face_costs_its_lips_and_not_the_report(config) -> None:
    tally = Tally(config)
    tally.add(take(TALK, seen=np.zeros(FRAMES, bool)), [])
    figures = tally.figures()
    assert figures["face_seen"] == 0
    assert figures["ssim"] == pytest.approx(1)
    for key in ("lmd_px256", "aperture_correlation", "jitter_px256", "silent_moving_share"):
        assert math.isnan(figures[key]), key
