"""Mouth and eyes in a few numbers, on a face whose motion is known."""

import numpy as np
import pytest

import puppet
from se4lip.face.expression import (
    EYE_CODE,
    eye_codes,
    fit_eyes,
    fit_mouth,
    lower_share,
)
from se4lip.mesh import LIPS as LIP_POINTS
from se4lip.types import InputError

LIPS = list(LIP_POINTS)


def clips(blink=True):
    frames = 60
    lids = (np.arange(frames) % 20 < 4).astype(float) if blink else 0.0
    return [puppet.points_cm(puppet.opening_cm(frames, seed), lids) for seed in range(3)]


def test_one_number_describes_a_mouth_that_only_opens():
    points = clips(blink=False)
    mouth = fit_mouth(points, 1)
    rebuilt = mouth.decode(mouth.encode(points[0]))
    np.testing.assert_allclose(rebuilt[:, LIPS], points[0][:, LIPS], atol=1e-5)


def test_codes_have_mean_zero_and_spread_one():
    points = clips()
    codes = np.concatenate([fit_mouth(points, 2).encode(clip) for clip in points])
    np.testing.assert_allclose(codes.mean(0), 0, atol=1e-4)
    assert codes[:, 0].std() == pytest.approx(1, abs=1e-3)


def test_blinks_do_not_enter_the_mouth_code():
    open_eyes = puppet.points_cm(np.full(5, 0.4), 0.0)
    closed_eyes = puppet.points_cm(np.full(5, 0.4), 1.0)
    mouth = fit_mouth(clips(), 2)
    np.testing.assert_allclose(mouth.encode(open_eyes), mouth.encode(closed_eyes), atol=2e-3)


def test_the_mouth_basis_leaves_the_eyes_at_rest():
    mouth = fit_mouth(clips(), 3)
    above = mouth.shape_cm[:, 1] <= -2.0
    assert np.abs(mouth.basis_cm[:, above]).max() == 0


def test_the_eye_basis_moves_the_lids_by_what_the_blendshape_says_and_no_lips():
    tracks = [puppet.track(60, seed) for seed in range(3)]
    points = clips_of(tracks)
    codes = [eye_codes(track.blendshapes) for track in tracks]
    basis = fit_eyes(points, codes, fit_mouth(points, 2))
    # the puppet blinks with both eyes at once: together they move the lid by 0.8 cm
    assert basis[:2, 159, 1].sum() == pytest.approx(0.8, rel=0.02)
    assert np.abs(basis[:, LIPS]).max() == 0


def clips_of(tracks):
    blinks = [track.blendshapes[:, puppet.BLINK_LEFT] for track in tracks]
    return [puppet.points_cm(puppet.opening_cm(60, i), blinks[i]) for i in range(len(tracks))]


def test_eye_codes_are_signed_means_of_named_blendshapes():
    shapes = np.zeros((1, 52), np.float32)
    shapes[0, [9, 10, 17, 11]] = 0.5, 0.25, 0.8, 0.2  # blinks, one eye up, the same eye down
    code = dict(zip(EYE_CODE, eye_codes(shapes)[0], strict=True))
    assert code["blink_left"] == pytest.approx(0.5)
    assert code["blink_right"] == pytest.approx(0.25)
    assert code["look_up"] == pytest.approx(0.4 - 0.1)


def test_the_lower_face_begins_at_the_eyes_and_is_whole_at_the_nose():
    shape = puppet.face_cm()
    heights = np.zeros((5, 3))
    heights[:, 1] = [-9, -2, -0.25, 1.5, 9]  # forehead, eyes, halfway, nose base, chin
    np.testing.assert_allclose(lower_share(shape, heights), [0, 0, 0.5, 1, 1], atol=1e-12)


def test_more_components_than_frames_is_an_error_that_says_so():
    with pytest.raises(InputError, match="3 frames cannot give 10 mouth components: more frames"):
        fit_mouth([puppet.points_cm(np.zeros(3))], 10)
