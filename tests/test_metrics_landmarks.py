"""What the lips do, measured on faces whose lips were put where we want them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from se4lip import mesh
from se4lip.metrics import landmarks as measure
from se4lip.metrics.landmarks import (
    blendshape_error,
    correlation,
    face_width_px,
    jitter_px256,
    lip_aperture,
    lip_distance_head_aligned_px256,
    lip_distance_px256,
    lip_width,
    mouth_boxes_px,
    moves_in_silence,
    silent_motion_px256,
)
from se4lip.types import InputError

_FACE_PX = 128.0  # half of 256: lengths double when they are given in px256


def _face(aperture: np.ndarray, width: float = 0.3) -> np.ndarray:
    """A face 128 px wide whose lips are ``aperture`` and ``width`` face widths apart."""
    rng = np.random.default_rng(7)
    base = rng.uniform(-0.4, 0.4, (478, 3)) * _FACE_PX
    base[list(measure.WIDEST)] = [(-_FACE_PX / 2, 0, 9), (_FACE_PX / 2, 0, 9)]
    face = np.repeat(base[None], len(aperture), axis=0)
    for ring, thick in ((mesh.OUTER_LIPS, 6.0), (mesh.INNER_LIPS, 0.0)):
        along = np.abs(np.arange(20) - 10) / 10  # 1 at the first corner, 0 at the other
        x = (0.5 - along) * width * _FACE_PX
        side = np.where(np.arange(20) <= 10, 1.0, -1.0)  # lower lip first
        inner = np.isin(ring, measure.UPPER_INNER + measure.LOWER_INNER)
        gap = np.asarray(aperture)[:, None] * _FACE_PX / 2 * np.where(inner, 1.0, 0.5)
        face[:, ring, 0] = x
        face[:, ring, 1] = 40 + side * (gap + thick)
        face[:, ring, 2] = 0
    return face + 300.0


def _moved(face: np.ndarray, degree: float, scale: float, x_px: float) -> np.ndarray:
    """The head turned in the picture plane, nearer or farther, elsewhere in the picture."""
    return scale * face @ _turn(degree, (0, 1)).T + (x_px, 5.0, 0.0)


def _turn(degree: float, axes: tuple[int, int]) -> np.ndarray:
    angle, (i, j) = np.radians(degree), axes
    turn = np.eye(3)
    turn[i, i] = turn[j, j] = np.cos(angle)
    turn[i, j], turn[j, i] = -np.sin(angle), np.sin(angle)
    return turn


_ASIDE_PX = np.array([3.0, 4.0, 0.0])  # 5 px of a face of 128: 10 px of one of 256
_TALK = 0.1 + 0.08 * np.sin(np.arange(50) * 0.7)


def test_aperture_and_width_are_what_the_face_was_given() -> None:
    face = _face(_TALK, width=0.34)
    assert lip_aperture(face) == pytest.approx(_TALK)
    assert lip_width(face) == pytest.approx(0.34)
    assert face_width_px(face) == pytest.approx(_FACE_PX)


@settings(deadline=None, max_examples=25)
@given(st.floats(-40, 40), st.floats(0.3, 3), st.floats(-200, 200))
def test_head_motion_in_the_picture_changes_no_shape(degree: float, scale: float, x: float) -> None:
    face = _face(_TALK)
    moved = _moved(face, degree, scale, x)
    assert lip_aperture(moved) == pytest.approx(lip_aperture(face))
    assert lip_width(moved) == pytest.approx(lip_width(face))
    assert lip_distance_head_aligned_px256(moved, face) == pytest.approx(0, abs=1e-6)
    assert jitter_px256(moved) == pytest.approx(jitter_px256(face), rel=1e-6)


def test_turning_the_head_in_space_changes_no_aperture() -> None:
    face = _face(_TALK)
    assert lip_aperture(face @ _turn(30, (0, 2)).T) == pytest.approx(lip_aperture(face))


def test_lip_distance_is_in_pixels_of_a_face_256_wide() -> None:
    real = _face(_TALK)
    shifted = real + _ASIDE_PX
    assert lip_distance_px256(shifted, real) == pytest.approx(10)
    assert lip_distance_head_aligned_px256(shifted, real) == pytest.approx(0, abs=1e-9)
    lips = real.copy()
    lips[:, measure.LIPS] += _ASIDE_PX  # the lips alone
    assert lip_distance_px256(lips, real) == pytest.approx(10)
    assert lip_distance_head_aligned_px256(lips, real) == pytest.approx(10)


def test_lip_distance_does_not_depend_on_the_camera() -> None:
    rng = np.random.default_rng(0)
    real = _face(_TALK)
    predicted = real + rng.normal(0, 1, real.shape)
    near = lip_distance_px256(3 * predicted, 3 * real)
    assert near == pytest.approx(lip_distance_px256(predicted, real))


def test_frames_without_a_face_are_left_out() -> None:
    real = _face(_TALK)
    predicted = real + _ASIDE_PX
    predicted[7], real[9] = np.nan, np.nan
    assert lip_distance_px256(predicted, real) == pytest.approx(10)
    assert correlation(lip_aperture(predicted), lip_aperture(real)) == pytest.approx(1)
    nobody = np.full_like(real, np.nan)
    for figure in (lip_distance_px256, lip_distance_head_aligned_px256):
        assert np.isnan(figure(nobody, real))
    assert np.isnan(jitter_px256(nobody))
    assert np.isnan(correlation(lip_aperture(nobody), lip_aperture(real)))


def test_correlation_knows_opposites_and_refuses_a_still_mouth() -> None:
    assert correlation(_TALK, 2 * _TALK + 1) == pytest.approx(1)
    assert correlation(_TALK, -_TALK) == pytest.approx(-1)
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=200), rng.normal(size=200)
    assert correlation(a, b) == pytest.approx(np.corrcoef(a, b)[0, 1])
    assert np.isnan(correlation(_TALK, np.full(50, 0.1)))


def test_blendshape_error_sees_the_mouth_and_nothing_else() -> None:
    real = np.full((4, 52), 0.25, np.float32)
    other = real.copy()
    other[:, :23] = 1  # brows, cheeks, eyes
    other[:, 50:] = 1  # nose
    assert blendshape_error(other, real) == 0
    other[:, 23:50] += 0.5
    assert blendshape_error(other, real) == pytest.approx(0.5)


def test_jitter_of_a_vibrating_mouth_is_known_and_steady_motion_has_none() -> None:
    face = _face(np.full(40, 0.1))
    assert jitter_px256(face) == pytest.approx(0, abs=1e-9)
    gliding = face.copy()
    gliding[:, measure.LIPS, 0] += 0.5 * np.arange(40)[:, None]
    assert jitter_px256(gliding) == pytest.approx(0, abs=1e-9)
    vibrating = face.copy()
    vibrating[::2, measure.LIPS, 1] += 1.0  # px, every other frame: acceleration 2 px
    assert jitter_px256(vibrating) == pytest.approx(4)


def test_motion_in_silence_counts_only_frames_far_from_speech() -> None:
    face = _face(np.full(60, 0.1))
    face[:, measure.LIPS, 0] += 0.25 * np.arange(60)[:, None]  # 0.5 px of 256 a frame
    face[20:40, measure.LIPS, 1] += 5 * np.sin(np.arange(20))[:, None]
    speaking = np.zeros(60, bool)
    speaking[22:38] = True
    assert silent_motion_px256(face, speaking) == pytest.approx(0.5)
    assert silent_motion_px256(face, speaking, margin_frames=0) > 0.6
    assert np.isnan(silent_motion_px256(face, np.ones(60, bool)))


def _resting(frames: int, seed: int = 0) -> np.ndarray:
    """A shut mouth whose points tremble by 0.4 px of a 256-px face, each by itself."""
    tremble = np.random.default_rng(seed).normal(0, 0.2, (frames, 478, 3))
    return _face(np.full(frames, 0.1)) + tremble


def test_a_trembling_track_is_still_and_a_mouth_that_opens_is_not() -> None:
    silence = np.zeros(100, bool)
    assert not moves_in_silence(_resting(100), silence).any()
    opening = _resting(100)
    opening[50:, measure.LIPS, 1] += 2.0  # 4 px of 256, at once
    moving = moves_in_silence(opening, silence)
    assert len(moving) == 100 - 5
    # Means of three frames are 4/3, 8/3, 4, 8/3 and 4/3 px apart around the jump.
    assert np.flatnonzero(moving).tolist() == [46, 47, 48]
    assert moves_in_silence(opening, silence, threshold_px256=1.0).sum() == 5
    assert not moves_in_silence(opening, silence, threshold_px256=4.5).any()


def test_lips_that_a_blink_moves_do_not_move_and_those_of_narrowed_eyes_do() -> None:
    face = _resting(60)
    for (upper, lower), (inner, outer) in zip(
        mesh.LIDS, (mesh.EYE_LINE[:2], mesh.EYE_LINE[2:]), strict=True
    ):
        face[:, outer] = face[:, inner] + (20, 0, 0)
        face[:, upper] = face[:, inner] + (10, -4, 0)
        face[:, lower] = face[:, inner] + (10, 4, 0)
    assert measure.lids_apart(face) == pytest.approx(0.4)
    face[30:33, measure.LIPS, 1] += 5  # 10 px of 256
    silence = np.zeros(60, bool)
    assert moves_in_silence(face, silence).any()
    for upper, lower in mesh.LIDS:
        face[30:33, upper, 1] = face[30:33, lower, 1] - 4.8  # six tenths of what they were
    assert not measure.blinks(face).any()
    assert moves_in_silence(face, silence).any()
    for upper, lower in mesh.LIDS:
        face[30:33, upper, 1] = face[30:33, lower, 1] - 3
    assert np.flatnonzero(measure.blinks(face)).tolist() == [30, 31, 32]
    assert not moves_in_silence(face, silence).any()
    assert len(moves_in_silence(face, silence)) == 60 - 5 - 8  # six frames with none of the three


def test_a_nodding_head_is_a_still_mouth() -> None:
    face = _resting(60)
    nodding = np.stack(
        [
            _moved(f, 3 * np.sin(t), 1 + 0.02 * np.sin(t / 2), 4 * np.cos(t))
            for t, f in enumerate(face)
        ]
    )
    assert not moves_in_silence(nodding, np.zeros(60, bool)).any()


def test_moves_near_speech_or_without_a_face_are_nobodys() -> None:
    face = _resting(60)
    face[30:, measure.LIPS, 1] += 5
    speaking = np.zeros(60, bool)
    speaking[30:32] = True
    moving = moves_in_silence(face, speaking)
    assert len(moving) == (25 - 5) + (60 - 37 - 5)
    assert not moving.any()
    assert moves_in_silence(face, speaking, margin_frames=0).sum() == 0
    assert moves_in_silence(face, np.zeros(60, bool)).any()
    face[27:33] = np.nan
    assert not moves_in_silence(face, np.zeros(60, bool)).any()
    assert len(moves_in_silence(face, np.ones(60, bool))) == 0
    assert len(moves_in_silence(face[:5], np.zeros(5, bool))) == 0


def test_the_mouth_box_holds_the_lips_with_room_around_them() -> None:
    face = _face(_TALK)
    left, top, right, bottom = mouth_boxes_px(face, margin=0.35)[0]
    lips = face[0, measure.LIPS, :2]
    assert right - left == pytest.approx(np.ptp(lips[:, 0]) * 1.7)
    assert (lips > (left, top)).all() and (lips < (right, bottom)).all()


def test_tracks_of_different_length_are_refused_in_one_sentence() -> None:
    with pytest.raises(InputError) as wrong:
        lip_distance_px256(_face(_TALK), _face(_TALK[:49]))
    assert str(wrong.value) == (
        "50 and 49 frames cannot be compared one by one: cut both to the same part"
    )
