"""One face becomes a track; everything else becomes a reason with its time."""

from dataclasses import replace

import numpy as np
import pytest

from faces import BLUE, DrawnFaceTracker, draw, face_at
from se4lip.face.follow import EVERY_FACE, FollowConfig, Sighting, follow, sight, thumbnail
from se4lip.types import InputError

PLACE = (40.0, 20.0, 60.0, 80.0)


def seen(*faces, change=0.0) -> Sighting:
    return Sighting(tuple(faces), change, 120, 160)


def moving(frames, step=(0.5, 0.2)):
    return [
        seen(face_at(PLACE[0] + step[0] * t, PLACE[1] + step[1] * t, *PLACE[2:]))
        for t in range(frames)
    ]


def reason(sightings, **how) -> str:
    with pytest.raises(InputError) as caught:
        follow(sightings, **how)
    return str(caught.value)


def test_a_face_in_every_frame_is_its_own_track():
    sightings = moving(20)
    track, filled = follow(sightings)
    assert (len(track), filled, track.width_px, track.height_px) == (20, 0, 160, 120)
    for t, sighting in enumerate(sightings):
        np.testing.assert_array_equal(track.landmarks_px[t], sighting.faces[0].landmarks_px)


@pytest.mark.parametrize(("turns", "degrees"), [(1, 90), (2, 180), (3, 90)])
def test_a_face_on_its_side_is_told_before_what_it_makes_of_the_tracker(turns, degrees):
    angle = np.pi / 2 * turns
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])

    def turned(sighting: Sighting) -> Sighting:
        (face,) = sighting.faces
        points = face.landmarks_px.copy()
        points[:, :2] = points[:, :2] @ turn.T + 200
        return seen(replace(face, landmarks_px=points.astype(np.float32)))

    sightings = [turned(one) for one in moving(20)]
    for t in range(5, 12):
        sightings[t] = seen()
    assert reason(sightings) == f"a picture turned by {degrees} degrees at 0.00 s"
    assert len(follow(sightings, EVERY_FACE)[0]) == 20


@pytest.mark.parametrize("gone", [[7], [7, 8, 9], [3, 10, 11]])
def test_short_dropouts_are_interpolated_and_counted(gone):
    sightings = moving(20)
    whole, _ = follow(sightings)
    for t in gone:
        sightings[t] = seen()
    track, filled = follow(sightings)
    assert filled == len(gone)
    np.testing.assert_allclose(track.landmarks_px, whole.landmarks_px, atol=1e-4)


def test_a_missing_end_is_held():
    sightings = moving(20)
    sightings[0], sightings[1], sightings[19] = seen(), seen(), seen()
    track, filled = follow(sightings)
    assert filled == 3
    np.testing.assert_array_equal(track.landmarks_px[0], track.landmarks_px[2])
    np.testing.assert_array_equal(track.landmarks_px[19], track.landmarks_px[18])


def test_a_single_visible_frame_fills_its_neighbours():
    track, filled = follow([seen(), *moving(1), seen(), seen()])
    assert filled == 3
    np.testing.assert_array_equal(track.landmarks_px[3], track.landmarks_px[1])


def test_a_pose_between_two_rotations_is_a_rotation():
    sightings = moving(3)
    angle = 1.0
    turned = np.eye(4, dtype=np.float32)
    turned[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    turned[:3, 3] = [2, 4, -40]
    object.__setattr__(sightings[2].faces[0], "camera_from_face", turned)
    sightings[1] = seen()
    pose = follow(sightings)[0].camera_from_face[1]
    np.testing.assert_allclose(pose[:3, :3] @ pose[:3, :3].T, np.eye(3), atol=1e-5)
    np.testing.assert_allclose(pose[:2, 0], [np.cos(0.5), np.sin(0.5)], atol=1e-5)
    np.testing.assert_allclose(pose[:, 3], [1, 2, -20, 1], atol=1e-5)


def test_longer_dropouts_are_a_reason():
    sightings = moving(30)
    sightings[10:14] = [seen()] * 4
    assert reason(sightings) == "no face at 0.40 s for 4 frames"
    assert reason(sightings, start_frame=500) == "no face at 20.40 s for 4 frames"
    assert follow(sightings, FollowConfig(longest_dropout_frames=4))[1] == 4


def test_no_face_at_all_is_a_reason():
    assert reason([seen()] * 10) == "no face at 0.00 s or at any other time"


def test_a_second_face_that_stays_is_a_reason_and_a_flicker_is_not():
    other = face_at(100, 20, 50, 70)
    sightings = moving(30)
    for t in (5, 6, 7, 20):
        sightings[t] = seen(other, *sightings[t].faces)
    track, filled = follow(sightings)
    assert filled == 0
    np.testing.assert_array_equal(track.landmarks_px, follow(moving(30))[0].landmarks_px)
    sightings[8] = seen(other, *sightings[8].faces)
    assert reason(sightings) == "two faces at 0.20 s"


def test_one_head_found_twice_is_one_face():
    sightings = [seen(s.faces[0], face_at(41 + t / 2, 21, 60, 80)) for t, s in enumerate(moving(9))]
    assert follow(sightings)[1] == 0


def test_the_larger_of_two_faces_is_taken_to_begin_with():
    small, large = face_at(0, 0, 20, 30), face_at(*PLACE)
    track, _ = follow([seen(small, large), *[seen(large)] * 9])
    np.testing.assert_array_equal(track.landmarks_px[0], large.landmarks_px)


def test_a_leap_of_the_face_is_a_cut():
    assert reason([*moving(10), *[seen(face_at(90, 20, 60, 80))] * 10]) == "a cut at 0.40 s"


def test_another_picture_around_a_face_in_the_same_place_is_a_cut():
    before = [seen(face_at(*PLACE))] * 8
    after = [seen(face_at(*PLACE), change=40), *[seen(face_at(*PLACE))] * 7]
    assert reason(before + after) == "a cut at 0.32 s"
    assert reason(before + [seen()] * 2 + after) == "a cut at 0.40 s"


def test_a_flickering_picture_is_no_cut():
    flicker = [seen(face_at(*PLACE), change=30)] * 20
    assert len(follow(flicker)[0]) == 20


def test_sight_tracks_a_held_frame_once():
    asked = []

    class Counting(DrawnFaceTracker):
        def track(self, rgb):
            asked.append(rgb)
            return super().track(rgb)

    one, two = draw(), draw(red=None, blue=(20, 20, 50, 60))
    sightings = list(sight([one, one, two, two, two, one], Counting()))
    assert len(asked) == 3
    assert [len(s.faces) for s in sightings] == [1] * 6
    assert sightings[0] is sightings[1]
    np.testing.assert_array_equal(
        sightings[2].faces[0].landmarks_px, face_at(20, 20, 50, 60).landmarks_px
    )


@pytest.mark.parametrize("size", [(160, 120), (1920, 1080), (5, 3), (1, 1), (129, 257)])
def test_thumbnails_are_means(size):
    flat = np.full((size[1], size[0], 3), [10, 20, 30], np.uint8)
    small = thumbnail(flat)
    assert small.shape == (16, 16, 3)
    np.testing.assert_allclose(small, np.broadcast_to([10, 20, 30], (16, 16, 3)))


def test_a_thumbnail_shows_where_things_are():
    picture = draw(size=(160, 160), red=None, blue=None, ground=0)
    picture[:80, 80:, BLUE] = 200
    small = thumbnail(picture)
    np.testing.assert_array_equal(small[:8, 8:, BLUE], 200)
    assert small.sum() == 64 * 200


def test_sight_measures_how_each_picture_differs_from_the_one_before():
    pictures = [np.full((32, 32, 3), value, np.uint8) for value in (50, 90, 80)]
    held = [pictures[index] for index in (0, 0, 1, 1, 1, 2)]
    assert [s.change for s in sight(held, DrawnFaceTracker())] == [0, 0, 40, 0, 0, 10]
