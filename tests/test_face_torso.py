"""The torso is followed through shifts, turns and scalings that the test makes."""

import numpy as np
import pytest
import torch
from torch.nn import functional

from se4lip.face.torso import fit_torso, follow_torso

SIZE = 128


def shirt(seed: int = 0) -> np.ndarray:
    """Smooth random cloth, larger than a picture."""
    rough = torch.randn(1, 3, 24, 40, generator=torch.Generator().manual_seed(seed))
    smooth = functional.interpolate(rough, (128, 256), mode="bicubic", align_corners=False)[0]
    return (128 + 40 * smooth.permute(1, 2, 0).numpy()).clip(0, 255)


def picture(x=0.0, y=0.0, turn=0.0, scale=0.0, top=64) -> np.ndarray:
    """Cloth below row ``top``, moved as `face.torso` defines a pose, on a flat wall."""
    cloth = torch.from_numpy(shirt()).permute(2, 0, 1)[None].float()
    rows, columns = np.mgrid[top:SIZE, :SIZE] + 0.5
    centre = np.array([SIZE / 2, top + (SIZE - top) / 2])
    u, v = columns - centre[0] - x, rows - centre[1] - y
    c, s = np.cos(turn) / np.exp(scale), np.sin(turn) / np.exp(scale)
    grid = np.stack((c * u + s * v, -s * u + c * v), -1) / [128, 64]
    grid = torch.from_numpy(grid[None].astype(np.float32))
    moved = functional.grid_sample(cloth, grid, align_corners=False)[0].permute(1, 2, 0).numpy()
    made = np.full((SIZE, SIZE, 3), 90.0)
    made[top:] = moved
    return made.round().astype(np.uint8)


@pytest.fixture(scope="module")
def template():
    return fit_torso([picture()[None], picture(1)[None], picture(-1)[None]], 64)


def from_rest(poses, template):
    """Relative to the pose of the unmoved picture: the template may have settled anywhere."""
    return poses - follow_torso(picture()[None], template)


@pytest.mark.parametrize("x, y", [(0.0, 0.0), (3.0, -2.0), (-9.5, 4.25), (14.0, 0.0)])
def test_a_shift_is_found_to_a_fifth_of_a_pixel(template, x, y):
    found = from_rest(follow_torso(picture(x, y)[None], template), template)
    np.testing.assert_allclose(found[0, :2], [x, y], atol=0.2)


def test_turn_and_scale_are_found_mostly(template):
    found = from_rest(follow_torso(picture(2, 1, 0.04, 0.03)[None], template), template)
    # held back a little, because clothes seldom turn
    apart = np.abs(found[0] - [2, 1, 0.04, 0.03])
    assert (apart < [0.4, 0.4, 0.015, 0.015]).all(), apart


def test_light_does_not_move_the_torso(template):
    dimmed = (picture(3, 1) * 0.7 + 20).astype(np.uint8)
    found = follow_torso(np.stack((picture(3, 1), dimmed)), template)
    np.testing.assert_allclose(found[1], found[0], atol=0.05)


def test_frames_do_not_influence_each_other(template):
    several = np.stack([picture(x) for x in (-4, 0, 6)])
    apart = np.concatenate([follow_torso(one[None], template) for one in several])
    np.testing.assert_allclose(follow_torso(several, template), apart, atol=1e-6)


def test_a_close_up_has_no_torso_to_follow():
    assert fit_torso([picture()[None]], 120) is None
