import numpy as np
import pytest
import torch

import puppet
from se4lip.face.expression import lower_share
from se4lip.head.camera import project_px
from se4lip.head.splat.canonical import FACE_OVAL, canonical_head, distance_to, inside
from se4lip.mesh import INNER_LIPS, OUTER_LIPS

SQUARE = np.array([[1.0, 1.0], [5.0, 1.0], [5.0, 5.0], [1.0, 5.0]])


def test_inside_and_distance_of_a_square():
    points = np.array([[3.0, 3.0], [0.0, 3.0], [6.0, 6.0], [4.5, 3.0]])
    assert inside(points, SQUARE).tolist() == [True, False, False, True]
    np.testing.assert_allclose(distance_to(points, SQUARE), [2, 1, np.sqrt(2), 0.5])


@pytest.fixture(scope="module")
def head():
    shape = puppet.points_cm(np.array([1.2]))[0]
    pose = puppet.poses(1)[0]
    opening = puppet.points_cm(np.array([1.0]))[0] - puppet.face_cm()
    blink = puppet.points_cm(np.zeros(1), 1.0)[0] - puppet.face_cm()
    made = canonical_head(
        shape,
        opening[None],
        blink[None],
        lower_share(shape, shape),
        INNER_LIPS,
        OUTER_LIPS,
        puppet.CAMERA,
        pose,
    )
    seen = torch.from_numpy(made.raw.means.numpy() @ pose[:, :3].T + pose[:, 3])
    mesh = puppet.seen_px(shape[None], pose[None])[0, :, :2]
    return made, seen, project_px(seen, puppet.CAMERA).numpy(), mesh


def test_the_mouth_interior_lies_between_the_lips_and_behind_them(head):
    made, seen, pixels, mesh = head
    interior, lower = made.runs[:2]
    lips = mesh[list(INNER_LIPS)]
    behind = inside(pixels[interior:lower], lips) | (distance_to(pixels[interior:lower], lips) < 2)
    assert lower > 5 and behind.all()
    near = distance_to(pixels[lower : made.runs[4]], lips) < 3
    skin_depth = seen[lower : made.runs[4], 2][torch.from_numpy(near)]
    assert seen[interior:lower, 2].min() > skin_depth.max()


def test_the_face_is_covered_everywhere(head):
    _, _, pixels, mesh = head
    y, x = np.mgrid[0 : puppet.HEIGHT_PX, 0 : puppet.WIDTH_PX] + 0.5
    wanted = np.stack((x, y), -1).reshape(-1, 2)
    wanted = wanted[inside(wanted, mesh[list(FACE_OVAL)])]
    nearest = np.sqrt(((wanted[::7, None] - pixels[None]) ** 2).sum(-1).min(1))
    assert nearest.max() < 2.0


def test_gaussians_on_the_lips_move_with_the_nearest_landmarks(head):
    made, _, pixels, mesh = head
    moved = made.mouth_basis_cm[0, :, 1].numpy()
    on_face = slice(made.runs[1], made.runs[4])
    for landmark, lowest, highest in ((17, 0.7, 1.1), (0, -0.05, 0.2), (10, -0.05, 0.05)):
        near = np.linalg.norm(pixels[on_face] - mesh[landmark], axis=1) < 2
        assert near.any()
        assert lowest <= moved[on_face][near].mean() <= highest


def test_mouth_and_eyes_share_out_the_face(head):
    made = head[0]
    on_face = slice(made.runs[1], made.runs[4])
    total = made.mouth_share[on_face] + made.eye_share[on_face]
    assert total.max() <= 1 + 1e-6
    assert (made.eye_share[made.runs[1] : made.runs[2]] == 0).all()
    assert (made.mouth_share[made.runs[4] :] == 0).all()
    assert (made.eye_share[made.runs[4] :] == 0).all()


def test_the_head_share_falls_from_the_chin_down(head):
    made, _, pixels, mesh = head
    chin = mesh[list(FACE_OVAL), 1].max()
    share = made.head_share.numpy()
    assert (share[pixels[:, 1] < chin - 1] == 1).all()
    order = np.argsort(pixels[:, 1])
    assert (np.diff(share[order]) <= 1e-6).all()
    assert share.min() == 0
