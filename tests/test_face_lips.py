"""The lip window follows the face as a rigid thing, and shows it without jitter or aliasing."""

import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from faces import head, mask
from se4lip.face.contour import lip_contour
from se4lip.face.lips import (
    LipsConfig,
    crop_lips,
    image_from_lips_transforms,
)
from se4lip.mesh import MOUTH_CORNERS
from se4lip.types import FaceTrack


def track(landmarks) -> FaceTrack:
    landmarks = np.asarray(landmarks, np.float32)
    frames = len(landmarks)
    return FaceTrack(
        landmarks_px=landmarks,
        blendshapes=np.zeros((frames, 52), np.float32),
        camera_from_face=np.tile(np.eye(4, dtype=np.float32), (frames, 1, 1)),
        width_px=400,
        height_px=300,
    )


def still(frames=30, **how):
    return np.tile(head(**how), (frames, 1, 1))


def half_width_px(transforms):
    return np.hypot(transforms[:, 0, 0], transforms[:, 1, 0])


def test_a_still_face_is_framed_by_its_eyes_and_mouth():
    config = LipsConfig()
    transforms = image_from_lips_transforms(track(still(scale=100)))
    eyes_px = 0.7 * 100
    np.testing.assert_allclose(half_width_px(transforms), config.width * eyes_px / 2, rtol=1e-4)
    mouth = head(scale=100)[MOUTH_CORNERS, :2].mean(0)
    below = [0, config.below_mouth_corners * eyes_px]
    # Down the face, which leans a little: the mask's mouth is nearer than its eyes.
    np.testing.assert_allclose(transforms[:, :, 2] - mouth, np.tile(below, (30, 1)), atol=0.1)
    np.testing.assert_allclose(transforms[:, 1, 0], 0, atol=1e-3)


def test_the_window_moves_turns_and_grows_with_the_face():
    base = image_from_lips_transforms(track(still()))
    roll, scale, shift = 0.4, 1.7, np.array([31.0, -12.0])
    turn = scale * np.array([[np.cos(roll), -np.sin(roll)], [np.sin(roll), np.cos(roll)]])
    moved = still().copy()
    moved[..., :2] = moved[..., :2] @ turn.T + shift
    moved[..., 2] *= scale
    found = image_from_lips_transforms(track(moved))
    np.testing.assert_allclose(found[:, :, :2], turn @ base[:, :, :2], atol=0.01)
    np.testing.assert_allclose(found[:, :, 2], base[:, :, 2] @ turn.T + shift, atol=0.05)


def test_lips_and_jaw_do_not_move_the_window():
    closed = still(60)
    speaking = closed.copy()
    opening = 25 * np.abs(np.sin(np.arange(60)))
    for index in (14, 17, 152):  # lower lip and chin
        speaking[:, index, 1] += opening
    np.testing.assert_array_equal(
        image_from_lips_transforms(track(closed)), image_from_lips_transforms(track(speaking))
    )


def test_one_wide_smile_moves_the_window_by_nothing():
    smiling = still(61)
    smiling[30:33, MOUTH_CORNERS, 1] -= 8
    difference = image_from_lips_transforms(track(smiling)) - image_from_lips_transforms(
        track(still(61))
    )
    np.testing.assert_allclose(difference, 0, atol=1e-9)


@pytest.mark.parametrize("yaw", [0.3, -0.6])
def test_a_turned_head_is_not_shrunk(yaw):
    turned = still(yaw=yaw)
    seen = np.linalg.norm(turned[0, 33, :2] - turned[0, 263, :2])
    assert seen < 0.7 * 100 * 0.97  # its eyes do look closer together
    straight = half_width_px(image_from_lips_transforms(track(still())))
    found = half_width_px(image_from_lips_transforms(track(turned)))
    np.testing.assert_allclose(found, straight, rtol=1e-3)


def test_the_mouth_stays_in_the_middle_while_the_head_turns():
    yaws = 0.5 * np.sin(np.arange(100) * 2 * np.pi / 75)
    landmarks = np.stack([head(yaw=yaw) for yaw in yaws])
    config = LipsConfig()
    transforms = image_from_lips_transforms(track(landmarks), config)
    mouth = landmarks[:, MOUTH_CORNERS, :2].mean(1)
    away = mouth[:, 0] - transforms[:, 0, 2]
    assert np.abs(away).max() < 0.06 * half_width_px(transforms).min()


def test_noise_of_the_tracker_is_smoothed_away():
    noise = np.random.default_rng(0).normal(0, 0.5, (200, 478, 3))
    transforms = image_from_lips_transforms(track(still(200) + noise))
    jumps = np.diff(transforms[:, :, 2], axis=0)
    assert jumps.std() < 0.05
    assert np.diff(half_width_px(transforms)).std() < 0.005


def test_steady_motion_is_followed_without_lag():
    landmarks = np.stack([head(at=(100 + 3 * t, 150 - t)) for t in range(40)])
    transforms = image_from_lips_transforms(track(landmarks))
    np.testing.assert_allclose(
        np.diff(transforms[:, :, 2], axis=0), np.tile([3, -1], (39, 1)), atol=1e-3
    )


@pytest.mark.parametrize("frames", [1, 2, 3])
def test_few_frames_are_enough(frames):
    transforms = image_from_lips_transforms(track(still(frames)))
    assert transforms.shape == (frames, 2, 3)
    assert np.isfinite(transforms).all()


def ramp(height=200, width=300):
    y, x = np.mgrid[:height, :width] + 0.5
    return np.stack([x / 2, y, 255 - x / 2], -1).round().astype(np.uint8)


@settings(deadline=None)
@given(
    half_px=st.floats(10, 60),
    roll=st.floats(-np.pi, np.pi),
    size_px=st.sampled_from([16, 33, 96]),
)
def test_a_crop_of_a_ramp_is_that_ramp(half_px, roll, size_px):
    # Bilinear samples and their means are exact on a plane, but for its rounding to 8 bits.
    a, b = half_px * np.cos(roll), half_px * np.sin(roll)
    transform = np.array([[a, -b, 150.0], [b, a, 100.0]])
    crop = crop_lips([ramp()], transform[None], size_px)[0].astype(float)
    steps = (np.arange(size_px) + 0.5) * 2 / size_px - 1
    x, y = np.meshgrid(steps, steps)
    points = np.stack([x, y, np.ones_like(x)], -1) @ transform.T
    np.testing.assert_allclose(crop[..., 0], points[..., 0] / 2, atol=1.01)
    np.testing.assert_allclose(crop[..., 1], points[..., 1], atol=1.01)


def test_a_crop_at_its_own_size_is_the_picture():
    picture = np.random.default_rng(0).integers(0, 256, (60, 80, 3), np.uint8)
    transform = np.array([[16.0, 0, 40], [0, 16.0, 30]])
    crop = crop_lips([picture], transform[None], 32)[0]
    np.testing.assert_array_equal(crop, picture[14:46, 24:56])


@pytest.mark.parametrize("finer", [2, 3, 5])
def test_fine_patterns_turn_grey_and_do_not_alias(finer):
    board = np.indices((400, 400)).sum(0) % 2 * 255
    picture = np.repeat(board[..., None], 3, -1).astype(np.uint8)
    half = 16 * finer
    transform = np.array([[half, 0, 200.3], [0, half, 200.3]])
    crop = crop_lips([picture], transform[None], 32)[0].astype(float)
    assert abs(crop.mean() - 127.5) < 1
    assert crop.std() < 40 / finer


def test_outside_the_picture_its_border_is_repeated():
    picture = np.full((20, 20, 3), 77, np.uint8)
    for place in ((0.0, 0.0), (20.0, 10.0), (500.0, -500.0)):
        transform = np.array([[30.0, 0, place[0]], [0, 30.0, place[1]]])
        np.testing.assert_array_equal(crop_lips([picture], transform[None], 8), 77)


def test_frames_are_taken_one_by_one_and_must_be_as_many_as_transforms():
    transform = np.array([[[5.0, 0, 10], [0, 5.0, 10]]] * 3)
    with pytest.raises(ValueError, match="zip"):
        crop_lips(iter([np.zeros((20, 20, 3), np.uint8)] * 2), transform)


def test_the_mask_has_its_eyes_on_one_line():
    assert mask()[33, 1] == mask()[263, 1]  # what the closed forms above rest on
    assert mask()[33, 2] == mask()[263, 2]


def test_hours_of_landmarks_are_not_copied_whole():
    # A track holds 6 kB a frame; float64 copies of all its landmarks would be 11 kB each.
    face = track(np.random.default_rng(0).uniform(0, 100, (2000, 478, 3)))
    for work in (lip_contour, image_from_lips_transforms):
        tracemalloc.start()
        work(face)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert peak / 2000 < 10_000, work
