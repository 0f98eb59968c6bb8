"""The second judge's eyes and ears, measured on faces and sounds whose answer is known."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from faces import mask
from se4lip.metrics.judge import (
    COLUMNS_PER_FRAME,
    Gate,
    Judge,
    JudgeConfig,
    clip_power,
    judge_rows,
    read_judge,
)
from se4lip.metrics.judge_lips import DISTANCES, MOTION_WIDTH, SHAPES, face_motion
from se4lip.metrics.landmarks import WIDEST
from se4lip.types import InputError

FRAMES = 40
WINDOW = JudgeConfig().window_frames


def judge() -> Judge:
    torch.manual_seed(0)
    return Judge(JudgeConfig(width=16, embedding=8, mel_bands=12)).eval()


def face(frames: int = FRAMES) -> np.ndarray:
    """A mask 1 wide whose points all wander a little."""
    points = np.repeat(mask()[None], frames, axis=0)
    points += np.random.default_rng(1).normal(0, 0.01, points.shape)
    points[:, list(WIDEST)] = (0, 0.5, 0.2), (1, 0.5, 0.2)
    return points


def shapes(frames: int = FRAMES) -> np.ndarray:
    return np.random.default_rng(2).uniform(0, 1, (frames, 52)).astype(np.float32)


def turn(degree: float, i: int, j: int) -> np.ndarray:
    angle, found = np.radians(degree), np.eye(3)
    found[i, i] = found[j, j] = np.cos(angle)
    found[i, j], found[j, i] = -np.sin(angle), np.sin(angle)
    return found


@settings(deadline=None, max_examples=20)
@given(st.floats(-40, 40), st.floats(-30, 30), st.floats(20, 400), st.floats(-200, 200))
def test_how_the_head_is_held_and_filmed_changes_nothing(yaw, roll, scale, aside) -> None:
    moved = scale * face() @ (turn(yaw, 0, 2) @ turn(roll, 0, 1)).T + (aside, 7, 1)
    np.testing.assert_allclose(
        face_motion(moved, shapes()), face_motion(face(), shapes()), atol=1e-4
    )


def test_a_lip_that_moves_by_a_fiftieth_of_the_face_moves_one_number_by_one() -> None:
    still = np.repeat(mask()[None], 4, axis=0)
    still[:, list(WIDEST)] = (0, 0.5, 0.2), (1, 0.5, 0.2)
    still[:, 14] = still[:, 13] + (0, 0.1, 0)
    moved = still.copy()
    moved[2:, 14] += (0, 0.02, 0)
    column = DISTANCES.index(((14, 13),))
    view = face_motion(300 * moved, np.zeros((4, 52), np.float32))
    assert view.shape == (4, MOTION_WIDTH)
    assert view[:, column].tolist() == pytest.approx([-0.5, -0.5, 0.5, 0.5], abs=1e-4)
    others = [i for i, pair in enumerate(DISTANCES) if 14 not in pair[0]]
    assert np.abs(view[:, others]).max() < 1e-4


def test_brows_and_eyes_are_not_seen() -> None:
    other = shapes()
    other[:, :23] = 1 - other[:, :23]
    np.testing.assert_array_equal(face_motion(face(), other), face_motion(face(), shapes()))
    other[:, 25] += 1 * (np.arange(FRAMES) % 2)  # jawOpen
    assert not np.allclose(face_motion(face(), other), face_motion(face(), shapes()))


def test_left_and_right_are_one() -> None:
    swapped = shapes()
    for one in SHAPES:
        swapped[:, one] = swapped[:, one[::-1]]
    np.testing.assert_array_equal(face_motion(face(), swapped), face_motion(face(), shapes()))
    both, left, right = face(), face(), face()
    for moved, corners in ((both, (61, 291)), (left, (61,)), (right, (291,))):
        moved[20:, corners] += (0, 0, 0.05)
    column = DISTANCES.index(((2, 61), (2, 291)))
    steps = [
        np.diff(face_motion(moved, shapes())[[0, 30], column])[0]
        - np.diff(face_motion(face(), shapes())[[0, 30], column])[0]
        for moved in (both, left, right)
    ]
    assert steps[0] == pytest.approx(steps[1] + steps[2], rel=1e-3)


def test_a_click_is_heard_in_the_frame_that_shows_it() -> None:
    samples = torch.zeros(10 * 640)
    samples[6 * 640 + 320] = 1.0  # in the middle of frame 6
    power = clip_power(samples)
    assert len(power) == 10 * COLUMNS_PER_FRAME
    heard = power.sum(1).reshape(10, COLUMNS_PER_FRAME).sum(1)
    assert heard.nonzero()[:, 0].tolist() == [6]


def test_a_full_scale_sine_has_power_one_in_its_bin() -> None:
    time = torch.arange(16_000) / 16_000
    power = clip_power(torch.sin(2 * torch.pi * 1000 * time))
    assert power[20:80, 32].tolist() == pytest.approx([1.0] * 60, rel=1e-4)


def test_mel_bands_are_means_of_power() -> None:
    filters = judge().mel_filters
    assert filters.shape == (257, 12)
    assert (filters >= 0).all()
    torch.testing.assert_close(filters.sum(0), torch.ones(12))
    middles = filters.argmax(0)
    assert (middles.diff() > 0).all()


def test_loudness_and_the_microphone_are_not_heard() -> None:
    network = judge()
    power = torch.rand(1, 4 * FRAMES, 257, generator=torch.Generator().manual_seed(0)) + 0.1
    heard = network.heard(power)
    assert heard.shape == (1, FRAMES, 4 * 12)
    torch.testing.assert_close(network.heard(1e-3 * power), heard, atol=1e-4, rtol=0)


@settings(deadline=None, max_examples=15)
@given(st.integers(0, FRAMES - 1))
def test_a_moment_is_judged_by_its_window_and_nothing_else(frame: int) -> None:
    network, generator = judge(), torch.Generator().manual_seed(1)
    half = WINDOW // 2
    for embed, width in ((network.embed_sound, 4 * 12), (network.embed_lips, MOTION_WIDTH)):
        rows = torch.randn(1, FRAMES, width, generator=generator)
        changed = rows.clone()
        changed[0, frame] += 1
        before, after = embed(rows)[0], embed(changed)[0]
        assert len(before) == FRAMES - 2 * half
        touched = (before - after).abs().amax(1).gt(1e-6).nonzero()[:, 0] + half
        inside = [t for t in range(half, FRAMES - half) if abs(t - frame) <= half]
        assert set(touched.tolist()) == set(inside)
        torch.testing.assert_close(before.norm(dim=1), torch.ones(len(before)))


def test_sound_that_ends_early_is_silence_and_a_clip_under_a_window_is_refused() -> None:
    network = judge()
    motion = torch.from_numpy(face_motion(face(), shapes()))
    samples = torch.randn(FRAMES * 640, generator=torch.Generator().manual_seed(0))
    silent = samples.clone()
    silent[30 * 640 :] = 0
    whole, cut = network.embed_clip(silent, motion), network.embed_clip(samples[: 30 * 640], motion)
    torch.testing.assert_close(whole, cut)
    assert (whole[0][: WINDOW // 2] == 0).all()
    assert (whole[0][-(WINDOW // 2) :] == 0).all()
    with pytest.raises(InputError) as wrong:
        network.embed_clip(samples, motion[: WINDOW - 1])
    assert str(wrong.value) == (
        f"the judge looks at {WINDOW} frames at once, but there are {WINDOW - 1}: give a longer "
        "clip"
    )


def test_the_gate_opens_with_enough_speech_and_never_without_an_examination() -> None:
    gate = Gate(least_speech_s=6.0)
    gate.check(6.0)
    with pytest.raises(InputError) as little:
        gate.check(5.9)
    assert str(little.value) == (
        "the second judge may not judge 5.9 s of speech: it finds known offsets of unseen speakers "
        "in 95% of cases from 6 s on"
    )
    long = Gate(least_speech_s=48.0, least_speech_long_s=6.0)
    long.check(6.0, clip_s=3.0)
    for gate, clip_s in ((long, 1.2), (Gate(least_speech_long_s=6.0), 1.9)):
        with pytest.raises(InputError, match="may not judge"):
            gate.check(7.0, clip_s)
    with pytest.raises(InputError) as short:
        Gate(least_speech_long_s=6.0).check(1e9, clip_s=1.9)
    assert str(short.value) == (
        "the second judge may not judge clips of 1.90 s: it finds known offsets of unseen speakers "
        "in clips of 2 s and more"
    )
    with pytest.raises(InputError) as never:
        Gate().check(1e9)
    assert str(never.value) == (
        "the second judge may not judge: it has not shown on unseen speakers that it finds known "
        "offsets (se4lip evaluate judge)"
    )


class Knowing:
    """A judge to whom equal numbers in sound and motion are the same moment."""

    config = dataclasses.replace(JudgeConfig(), dilations=(1, 1))

    def embed_clip(self, samples, motion):
        return samples.reshape(len(motion), -1)[:, :16], motion[:, :16]


@pytest.mark.parametrize("late", [0, 4, -9])
def test_several_clips_are_read_together(late: int) -> None:
    rows = []
    for seed in range(3):
        codes = torch.randn(FRAMES, 16, generator=torch.Generator().manual_seed(seed))
        sound = codes.roll(late, 0).repeat(1, 40).flatten()
        rows.append(judge_rows(Knowing(), sound, codes, torch.ones(FRAMES, dtype=torch.bool)))
    reading = read_judge(Knowing(), Gate(least_speech_s=4.8), rows)
    assert reading.offset_frames == late
    assert reading.distance == pytest.approx(0, abs=1e-3)
    assert reading.confidence > 1
    with pytest.raises(InputError, match=r"may not judge 3\.2 s of speech"):
        read_judge(Knowing(), Gate(least_speech_s=4.8), rows[:2])
    with pytest.raises(InputError) as nothing:
        read_judge(Knowing(), Gate(least_speech_s=0.0), [])
    assert str(nothing.value) == "the second judge has too little speech whose lips are in sight"
