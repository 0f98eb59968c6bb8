"""Head pose from landmarks, on a head whose poses are known."""

import numpy as np
import pytest

import puppet
from se4lip.face.pose import (
    PoseConfig,
    faces_apart,
    fit_head,
    follow_head,
    head_points,
    smooth_poses,
)
from se4lip.mesh import RIGID
from se4lip.types import InputError

STILL = PoseConfig(smooth_frames=0, depth_smooth_frames=0)


def degrees_apart(a, b):
    cosine = (np.einsum("tij,tij->t", a[:, :, :3], b[:, :, :3]) - 1) / 2
    return np.degrees(np.arccos(np.clip(cosine, -1, 1)))


def relative(poses):
    """Poses as seen from the first: free of where head coordinates have their origin and axes."""
    first = poses[0, :, :3]
    return np.concatenate((poses[:, :, :3] @ first.T, poses[:, :, 3:]), axis=-1)


def test_turns_of_a_talking_head_are_found_to_half_a_degree():
    seen = [puppet.track(60, seed, noise_px=0.15).landmarks_px for seed in range(4)]
    fit = fit_head(seen, puppet.WIDTH_PX, puppet.HEIGHT_PX, STILL)
    for seed, found in enumerate(fit.poses):
        apart = degrees_apart(relative(found), relative(puppet.poses(60, seed)))
        assert np.median(apart) < 0.5


def test_the_reprojection_error_is_the_noise_of_the_landmarks():
    noise_px = 0.3
    seen = [puppet.track(80, seed, noise_px).landmarks_px for seed in range(3)]
    fit = fit_head(seen, puppet.WIDTH_PX, puppet.HEIGHT_PX, STILL)
    # two coordinates a landmark; a few degrees of freedom are fitted away
    assert fit.reprojection_px == pytest.approx(noise_px * np.sqrt(2), rel=0.15)


def test_an_opening_mouth_does_not_move_the_head():
    still = np.repeat(puppet.poses(1), 40, axis=0)
    talking = puppet.seen_px(puppet.points_cm(puppet.opening_cm(40)), still)
    moving = puppet.track(40).landmarks_px
    fit = fit_head([moving, talking], puppet.WIDTH_PX, puppet.HEIGHT_PX, STILL)
    assert degrees_apart(fit.poses[1], fit.poses[1][:1].repeat(40, 0)).max() < 0.05


def test_the_head_held_still_shows_the_mouth_alone():
    seen = [puppet.track(60, seed).landmarks_px for seed in range(3)]
    fit = fit_head(seen, puppet.WIDTH_PX, puppet.HEIGHT_PX, STILL)
    points = head_points(seen[0], fit.poses[0], fit.skull)
    gap = points[:, 14, 1] - points[:, 13, 1]
    assert np.corrcoef(gap, puppet.opening_cm(60, 0))[0, 1] > 0.999
    assert points[:, list(RIGID)].std(0).mean() < 0.05


def test_a_known_head_is_followed_as_it_was_fitted():
    seen = [puppet.track(50, seed, 0.1).landmarks_px for seed in range(3)]
    fit = fit_head(seen, puppet.WIDTH_PX, puppet.HEIGHT_PX)
    np.testing.assert_array_equal(follow_head(seen[1:2], fit.skull)[0], fit.poses[1])


def clip_px(seed, wider=1.0):
    points = puppet.points_cm(puppet.opening_cm(50, seed)) * [wider, 1, 1]
    return puppet.seen_px(points, puppet.poses(50, seed), 0.1)


def test_clips_of_several_people_lie_farther_apart_than_one_person_s():
    def apart(widths):
        clips = [clip_px(seed, wider) for seed, wider in enumerate(widths)]
        return faces_apart(fit_head(clips, puppet.WIDTH_PX, puppet.HEIGHT_PX), clips)

    assert apart([1.0, 1.0, 1.0]) < 0.1
    assert apart([0.94, 1.0, 1.06]) > 0.5


def test_smoothing_takes_noise_out_of_poses_and_leaves_rotations():
    rng = np.random.default_rng(0)
    true = puppet.poses(100)
    noisy = true + 0.01 * rng.standard_normal(true.shape)
    calm = smooth_poses(noisy, 2.0)
    assert np.abs(calm - true).mean() < 0.6 * np.abs(noisy - true).mean()
    turned = calm[:, :, :3] @ calm[:, :, :3].transpose(0, 2, 1)
    np.testing.assert_allclose(turned, np.eye(3)[None].repeat(100, 0), atol=1e-12)


def test_no_frames_is_an_error_that_says_what_to_do():
    with pytest.raises(InputError, match="no frames with a face: give at least one clip"):
        fit_head([np.zeros((0, 478, 3), np.float32)], 100, 100)


def test_frames_without_a_face_are_refused():
    broken = puppet.track(10).landmarks_px
    broken[3] = np.nan
    with pytest.raises(InputError, match="landmarks hold NaN: leave out the frames"):
        fit_head([broken], puppet.WIDTH_PX, puppet.HEIGHT_PX)


def test_landmarks_of_another_mesh_are_refused():
    with pytest.raises(InputError, match=r"shape \(5, 68, 3\), needed \[T, 478, 3\]"):
        fit_head([np.zeros((5, 68, 3), np.float32)], 100, 100)
