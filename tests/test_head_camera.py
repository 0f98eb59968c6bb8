"""Poses and the pinhole."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from poses import pose_from_vector
from se4lip.head import camera as cameras
from se4lip.types import Camera, InputError

CAMERA = Camera(focal_px=100.0, cx_px=32.0, cy_px=24.0, width_px=64, height_px=48)
vectors = st.lists(st.floats(-3, 3), min_size=3, max_size=3).map(
    lambda v: torch.tensor(v, dtype=torch.float64)
)


def test_a_quarter_turn_about_y_carries_x_to_minus_z() -> None:
    pose = pose_from_vector(torch.tensor([0.0, math.pi / 2, 0.0]), torch.zeros(3))
    moved = cameras.transform(pose, torch.tensor([[1.0, 0.0, 0.0]]))
    torch.testing.assert_close(moved, torch.tensor([[0.0, 0.0, -1.0]]), atol=1e-6, rtol=0)


@settings(deadline=None, max_examples=50)
@given(vectors, vectors, st.sampled_from([1.0, 1e-3, 1e-9, 0.0]))
def test_poses_of_vectors_are_rigid_and_invert(
    rotation: torch.Tensor, translation: torch.Tensor, size: float
) -> None:
    pose = pose_from_vector(rotation * size, translation)
    eye = torch.eye(3, dtype=torch.float64)
    torch.testing.assert_close(pose[:, :3] @ pose[:, :3].mT, eye, atol=1e-11, rtol=0)
    there_and_back = cameras.compose(cameras.invert(pose), pose)
    expected = torch.eye(3, 4, dtype=torch.float64)
    torch.testing.assert_close(there_and_back, expected, atol=1e-11, rtol=0)


@settings(deadline=None, max_examples=50)
@given(vectors)
def test_a_quaternion_and_a_rotation_vector_of_one_turn_agree(rotation: torch.Tensor) -> None:
    angle = rotation.norm()
    axis = rotation / angle if angle > 0 else rotation
    quat = torch.cat([torch.cos(angle / 2)[None], axis * torch.sin(angle / 2)])
    pose = pose_from_vector(rotation, torch.zeros(3, dtype=torch.float64))
    matrix = cameras.rotation_from_quat(-3 * quat[None])[0]  # neither length nor sign matters
    torch.testing.assert_close(matrix, pose[:, :3], atol=1e-9, rtol=0)


def test_a_point_on_the_axis_lands_on_the_principal_point() -> None:
    landed = cameras.project_px(torch.tensor([[0.0, 0.0, 5.0], [1.0, -2.0, 10.0]]), CAMERA)
    torch.testing.assert_close(landed, torch.tensor([[32.0, 24.0], [42.0, 4.0]]))


def test_unprojecting_undoes_projecting() -> None:
    points = torch.randn(20, 3, dtype=torch.float64)
    points[:, 2] = points[:, 2].abs() + 0.5
    back = cameras.unproject(cameras.project_px(points, CAMERA), points[:, 2], CAMERA)
    torch.testing.assert_close(back, points)


def test_resizing_moves_pixels_with_the_picture() -> None:
    point = torch.tensor([[0.3, -0.2, 4.0]])
    before = cameras.project_px(point, CAMERA)
    double = cameras.resized(CAMERA, 128, 96)
    torch.testing.assert_close(cameras.project_px(point, double), before * 2)


def test_resizing_to_another_aspect_ratio_is_refused() -> None:
    with pytest.raises(InputError) as refused:
        cameras.resized(CAMERA, 128, 128)
    assert str(refused.value) == (
        "a 64x48 camera cannot be resized to 128x128: keep the aspect ratio"
    )
