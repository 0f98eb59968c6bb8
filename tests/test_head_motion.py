import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import puppet
from se4lip.head.base import Motion
from se4lip.head.motion import GLIDE_FRAMES, joined, there_and_back
from se4lip.types import InputError


def motion(frames, seed=0):
    poses = puppet.poses(frames, seed).astype(np.float32)
    eyes = np.random.default_rng(seed).random((frames, 2)).astype(np.float32)
    return Motion(poses, poses, eyes, np.full((frames, 1), seed, np.float32))


@given(st.integers(1, 50), st.integers(0, 500), st.integers(1, 200))
def test_replayed_motion_moves_by_one_frame_at_a_time(recorded, first, count):
    rows = there_and_back(recorded, first, count)
    assert len(rows) == count
    assert rows.min() >= 0 and rows.max() < recorded
    assert (np.abs(np.diff(rows)) == (0 if recorded == 1 else 1)).all()


@given(st.integers(2, 30), st.integers(1, 40), st.integers(1, 40))
def test_replay_goes_on_where_it_stopped(recorded, a, b):
    whole = there_and_back(recorded, 0, a + b)
    parts = [there_and_back(recorded, 0, a), there_and_back(recorded, a, b)]
    np.testing.assert_array_equal(whole, np.concatenate(parts))


def test_pieces_join_without_a_jump():
    whole = joined([motion(60, seed) for seed in range(3)], 500)
    assert len(whole) == 3 * 60 + 2 * GLIDE_FRAMES
    steps = np.abs(np.diff(whole.camera_from_head, axis=0)).max((1, 2))
    inside = np.abs(np.diff(motion(60).camera_from_head, axis=0)).max()
    glide = steps[59 : 59 + GLIDE_FRAMES + 1]
    gap = np.abs(whole.camera_from_head[60 + GLIDE_FRAMES] - whole.camera_from_head[59]).max()
    # a smooth step is at most 1.5 times as fast as a straight one
    assert glide.max() <= 1.6 * gap / (GLIDE_FRAMES + 1) + inside


def test_glides_are_rigid_motion():
    whole = joined([motion(40, seed) for seed in range(3)], 500)
    turns = whole.camera_from_head[:, :, :3]
    np.testing.assert_allclose(
        turns @ turns.transpose(0, 2, 1), np.eye(3)[None].repeat(len(turns), 0), atol=1e-5
    )


def test_the_next_piece_is_the_one_whose_head_is_nearest():
    near, far = motion(40, 1), motion(40, 2)
    start = Motion(*(field[:1] for field in fields_of(near)))
    begun = Motion.end_to_end([start] * 40)
    whole = joined([begun, far, near], 500)
    np.testing.assert_array_equal(whole.look[40 + GLIDE_FRAMES], near.look[0])


def fields_of(one):
    return one.camera_from_head, one.camera_from_torso, one.eyes, one.look


@pytest.mark.parametrize("frames", [1, 30, 60, 100])
def test_no_more_motion_is_kept_than_asked_for(frames):
    assert len(joined([motion(60, seed) for seed in range(3)], frames)) <= frames


def test_tracks_of_unequal_length_are_refused():
    whole = motion(5)
    with pytest.raises(InputError, match=r"motion has \[5, 5, 3, 5\] rows of head, torso, eyes"):
        Motion(whole.camera_from_head, whole.camera_from_torso, whole.eyes[:3], whole.look)
