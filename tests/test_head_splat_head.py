import numpy as np
import pytest
import torch

from poses import pose_from_vector
from se4lip.head.base import Motion
from se4lip.head.splat.gaussians import RawGaussians
from se4lip.head.splat.head import SplatHead, SplatHeadConfig, quat_from_rotation, quat_product
from se4lip.head.splat.raster_oracle import rotation_from_quat
from se4lip.types import Camera
from splat_scenes import round_ones

RUNS = (0, 4, 12, 18, 26, 40)
CAMERA = Camera(60.0, 16.0, 16.0, 32, 32)
STILL = torch.eye(3, 4)


@pytest.fixture(params=[False, True], ids=["rigid", "sways"])
def head(request):
    torch.manual_seed(0)
    points = torch.randn(40, 3) * torch.tensor([1.0, 1.0, 0.2]) + torch.tensor([0.0, 0.0, 6.0])
    raw = round_ones(points, torch.rand(40, 3), opacity=0.8)
    made = SplatHead(SplatHeadConfig(CAMERA, RUNS, 5, 2, 3, 1, curves=2, sways=request.param), raw)
    with torch.no_grad():
        for branch in (made.interior, made.face, made.eyes, made.look):
            branch.vectors.normal_().mul_(0.1)
        if made.config.sways:
            made.swaying.vectors.normal_().mul_(0.1)
            made.sway.fit(STILL + 0.5 * torch.randn(20, 3, 4))
        made.plate.fill_(0.4)
    return made


def changed_rows(head, **codes):
    """Which Gaussians differ from those at rest."""
    rest = {"mouth": torch.zeros(2), "eyes": torch.zeros(3), "look": torch.zeros(1)}
    rest["camera_from_head"] = STILL
    a, b = head.gaussians(**rest).tensors(), head.gaussians(**(rest | codes)).tensors()
    moved = sum(
        (a[k] - b[k]).abs().flatten(1).sum(1) if a[k].ndim > 1 else (a[k] - b[k]).abs() for k in a
    )
    return set(torch.nonzero(moved)[:, 0].tolist())


def test_a_blink_moves_nothing_of_the_mouth(head):
    assert changed_rows(head, eyes=torch.ones(3)) == set(range(RUNS[2], RUNS[4]))


def test_speech_moves_nothing_of_eyes_and_hair(head):
    assert changed_rows(head, mouth=torch.ones(2)) == set(range(RUNS[0], RUNS[3]))


def test_the_look_may_change_all(head):
    assert changed_rows(head, look=torch.ones(1)) == set(range(RUNS[0], RUNS[5]))


def test_a_pose_changes_what_is_around_the_face_and_nothing_of_it(head):
    nodding = pose_from_vector(torch.tensor([0.3, 0.0, 0.0]), torch.zeros(3))
    swaying = set(range(RUNS[4], RUNS[5])) if head.config.sways else set()
    assert changed_rows(head, camera_from_head=nodding) == swaying


def test_gaussians_follow_head_and_torso_by_their_share(head):
    with torch.no_grad():
        head.head_share[:] = torch.linspace(0, 1, 40)
    gaussians = head.gaussians(torch.zeros(2), torch.zeros(3), torch.zeros(1), STILL)
    moved = STILL.clone()
    moved[0, 3] = 1.0
    placed = head.posed(gaussians, moved, STILL)
    torch.testing.assert_close(
        placed.means[:, 0] - gaussians.means[:, 0], torch.linspace(0, 1, 40), atol=1e-5, rtol=0
    )


def test_a_turned_head_turns_each_gaussian(head):
    gaussians = head.gaussians(torch.zeros(2), torch.zeros(3), torch.zeros(1), STILL)
    pose = pose_from_vector(torch.tensor([0.1, -0.3, 0.2]), torch.zeros(3))
    placed = head.posed(gaussians, pose, pose)
    want = pose[:, :3] @ rotation_from_quat(gaussians.quats)
    torch.testing.assert_close(rotation_from_quat(placed.quats), want, atol=1e-5, rtol=0)
    torch.testing.assert_close(placed.means, gaussians.means @ pose[:, :3].T, atol=1e-5, rtol=0)


def test_quaternions_agree_with_the_matrices_they_stand_for():
    a, b = (pose_from_vector(torch.randn(3) * 0.5, torch.zeros(3))[:, :3] for _ in range(2))
    product = quat_product(quat_from_rotation(a), quat_from_rotation(b))
    torch.testing.assert_close(rotation_from_quat(product[None])[0], a @ b, atol=1e-5, rtol=0)


def test_twice_the_size_is_the_same_picture(head):
    driven = (torch.zeros(2), torch.zeros(3), torch.zeros(1), STILL, STILL)
    with torch.no_grad():
        small, large = head.draw(*driven), head.draw(*driven, 64)
    averaged = large.view(32, 2, 32, 2, 3).mean((1, 3))
    assert large.shape == (64, 64, 3)
    assert (averaged - small).abs().mean() < 0.01


def test_what_no_gaussian_covers_is_the_plate(head):
    with torch.no_grad():
        head.raw["opacity_logits"][:] = -20
        picture = head.draw(torch.zeros(2), torch.zeros(3), torch.zeros(1), STILL, STILL)
    torch.testing.assert_close(picture, torch.full((32, 32, 3), 0.4))


def test_an_enlarged_plate_is_kept_and_yet_follows_the_plate(head):
    driven = (torch.zeros(2), torch.zeros(3), torch.zeros(1), STILL, STILL)
    with torch.no_grad():
        head.raw["opacity_logits"][:] = -20
        for brightness in (0.2, 0.7):
            head.plate.fill_(brightness)
            for size in (64, 48):  # each is the other's predecessor once
                want = torch.full((size, size, 3), brightness)
                torch.testing.assert_close(head.draw(*driven, size), want)
                assert head._plate((size, size)) is head._plate((size, size))
    head.draw(*driven, 64).sum().backward()
    assert head.plate.grad is not None and (head.plate.grad > 0).all()


def test_a_head_made_in_inference_mode_is_drawn_in_any_size(head):
    with torch.inference_mode():
        twin = SplatHead(head.config, RawGaussians(**head.raw))
        twin.load_state_dict(head.state_dict())
        codes = torch.zeros(2), torch.zeros(3), torch.zeros(1), STILL, STILL
        torch.testing.assert_close(twin.draw(*codes, 64), head.draw(*codes, 64))


def test_one_picture_comes_of_each_row(head):
    frames = 3
    poses = np.repeat(STILL.numpy()[None], frames, axis=0)
    motion = Motion(poses, poses, np.zeros((frames, 3), "f4"), np.zeros((frames, 1), "f4"))
    pictures = list(head.eval().pictures(torch.zeros(frames, 2), motion))
    assert [p.shape for p in pictures] == [(32, 32, 3)] * 3
    assert pictures[0].dtype == np.uint8
    with torch.no_grad():
        drawn = head.draw(torch.zeros(2), torch.zeros(3), torch.zeros(1), STILL, STILL)
    assert np.abs(pictures[0] / 255 - drawn.numpy().clip(0, 1)).max() <= 0.5 / 255 + 1e-6


def test_every_parameter_learns_from_the_picture(head):
    codes = [torch.randn(n) for n in (2, 3, 1)]
    head.draw(*codes, STILL, STILL).square().sum().backward()
    untouched = {name for name, p in head.named_parameters() if p.grad is None}
    assert untouched == {name for name, _ in head.named_parameters() if name.startswith("speech.")}
