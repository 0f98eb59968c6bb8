"""What a pose says of hair and light: six numbers, held where training never went."""

import torch

from poses import pose_from_vector
from se4lip.head.sway import FARTHEST, Sway, turn_and_place


def test_turns_are_sines_about_the_axes():
    for axis in range(3):
        vector = torch.zeros(3, dtype=torch.float64)
        vector[axis] = 0.4
        place = torch.tensor([1.0, -2.0, 90.0], dtype=torch.float64)
        numbers = turn_and_place(pose_from_vector(vector, place))
        wanted = torch.cat((torch.sin(vector), place))
        torch.testing.assert_close(numbers, wanted)


def test_codes_of_training_have_mean_0_and_spread_1():
    random = torch.Generator().manual_seed(0)
    poses = torch.randn(500, 3, 4, generator=random)
    poses[..., 3] = 0.1 * poses[..., 3] + 100
    sway = Sway()
    sway.fit(poses)
    codes = (turn_and_place(poses) - sway.mean) / sway.spread
    torch.testing.assert_close(codes.mean(0), torch.zeros(6), atol=1e-3, rtol=0)
    torch.testing.assert_close(codes.std(0, correction=0), torch.ones(6), atol=1e-3, rtol=0)
    torch.testing.assert_close(sway(poses), codes.clamp(-FARTHEST, FARTHEST))


def test_poses_beyond_training_are_held():
    sway = Sway()
    sway.fit(torch.eye(3, 4) + 0.01 * torch.randn(50, 3, 4))
    far = torch.eye(3, 4)
    far[:, 3] = torch.tensor([50.0, -50.0, 0.0])
    assert sway(far)[3:5].tolist() == [FARTHEST, -FARTHEST]


def test_a_head_that_never_moved_has_codes_all_the_same():
    sway = Sway()
    sway.fit(torch.eye(3, 4).expand(5, 3, 4))
    assert torch.isfinite(sway(torch.eye(3, 4))).all()
