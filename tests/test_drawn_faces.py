"""Heads that an example draws: where triangles lie, what a mouth is asked for, and what it does."""

import sys
from pathlib import Path

import numpy as np
import pytest

import puppet
from se4lip.mesh import LOWER_INNER, UPPER_INNER

sys.path.append(str(Path(__file__).parents[1] / "examples" / "drawn_faces"))
from pictures import cover, normals, paste, shade, texture_places
from speaking import POINTS, movements, strengths

SQUARE = np.array([(2, 2, 5), (10, 2, 5), (10, 10, 5), (2, 10, 5)], np.float32)
HALVES = np.array([(0, 1, 2), (0, 2, 3)], np.int32)


def test_a_square_covers_its_pixels_and_no_other():
    shown, weights = cover(SQUARE, HALVES, 12, 14)
    inside = np.zeros((12, 14), bool)
    inside[2:10, 2:10] = True
    assert ((shown >= 0) == inside).all()
    assert weights[inside].sum(-1) == pytest.approx(1, abs=1e-5)
    at = np.einsum("hwk,hwkc->hwc", weights, SQUARE[HALVES[shown.clip(0)]])[inside]
    rows, columns = np.nonzero(inside)
    assert at[:, 0] == pytest.approx(columns + 0.5, abs=1e-4)
    assert at[:, 1] == pytest.approx(rows + 0.5, abs=1e-4)


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_what_is_nearer_hides_what_lies_behind_whatever_came_first(order):
    points = np.concatenate((SQUARE, SQUARE + np.float32((4, 4, -1))))
    two = [HALVES, HALVES + 4]
    triangles = np.concatenate([two[i] for i in order])
    shown, _ = cover(points, triangles, 16, 16)
    assert set(triangles[shown[6, 6]]) <= {4, 5, 6, 7}
    assert set(triangles[shown[3, 3]]) <= {0, 1, 2, 3}
    assert shown[0, 0] == -1


def test_points_behind_the_border_are_no_trouble():
    shown, _ = cover(SQUARE * (3, 3, 1) - (9, 9, 0), HALVES, 8, 8)
    assert (shown >= 0).all()


def test_a_wall_that_faces_the_light_has_its_colour_and_the_background_stays():
    shown, weights = cover(SQUARE, HALVES, 12, 12)
    facing = normals((SQUARE * (1, -1, 1)).astype(np.float32), HALVES)
    assert np.abs(facing[:, :2]).max() == 0  # straight ahead, to either side
    picture = np.full((12, 12, 3), 0.5, np.float32)
    texture = np.full((4, 4, 3), (0.8, 0.4, 0.2), np.float32)
    light = np.array([(0, 0, 1, 1, 1, 0.5)], np.float32)
    shade(
        picture, shown, weights, HALVES, np.ones(2, bool), np.zeros((2, 3, 2), np.float32),
        texture, np.zeros((4, 3), np.float32), facing, np.full(4, 0.5, np.float32), light,
        np.array((0.5, 0, 0), np.float32), 0.0,
    )  # fmt: skip
    # (ambient + light) x colour, half of which the cavity keeps.
    assert picture[5, 5] == pytest.approx((0.8 * 1.5 / 2, 0.4 / 2, 0.2 * 0.5 / 2))
    assert (picture[0] == 0.5).all()


def test_a_texture_knows_where_its_points_lie():
    corners = np.array([(0, 0, 1), (1, 0, 1), (1, 1, 1), (0, 1, 1)], float)
    places = texture_places(corners, HALVES, corners[HALVES][..., :2], 8)
    # The first row of a texture is its top, where v is one.
    assert places[0, 0] == pytest.approx((0.5 / 8, 1 - 0.5 / 8, 1), abs=1e-5)
    assert places[7, 2] == pytest.approx((2.5 / 8, 0.5 / 8, 1), abs=1e-5)


def test_what_lies_between_lips_is_bent_into_others_and_seen_where_it_may_be():
    rows, columns = np.mgrid[:20, :20] + 0.5
    other = np.stack((columns, rows, 0 * rows), -1).astype(np.float32)  # each pixel tells its place
    turn = np.linspace(0, 2 * np.pi, 12, endpoint=False)
    around = np.stack((np.cos(turn), np.sin(turn)), 1)
    theirs = (10 + 4 * around).astype(np.float32)
    ring = np.concatenate((20 + 8 * around, np.full((12, 1), 7)), 1).astype(np.float32)
    picture, where = np.full((40, 40, 3), -1, np.float32), np.ones((40, 40), bool)
    where[:20] = False
    paste(picture, where, ring, other, theirs)
    pasted = picture[..., 0] >= 0
    assert pasted[20:28, 18:22].all() and not pasted[:20].any() and not pasted[:, :11].any()
    rows, columns = np.nonzero(pasted)
    # Twice as large about another middle.
    assert picture[pasted][:, 0] == pytest.approx((columns + 0.5 - 20) / 2 + 10, abs=1e-3)
    assert picture[pasted][:, 1] == pytest.approx((rows + 0.5 - 20) / 2 + 10, abs=1e-3)


def test_a_mouth_rests_where_its_lips_are_nearest_and_opens_by_what_was_filmed():
    track = puppet.track(100, noise_px=0.0)
    opening = puppet.opening_cm(100)
    moved = movements(track)
    upper, lower = ([POINTS.index(i) for i in lip] for lip in (UPPER_INNER, LOWER_INNER))
    gap = (moved[:, lower, 1] - moved[:, upper, 1]).mean(1)
    assert np.corrcoef(gap, opening)[0, 1] > 0.999
    assert np.abs(gap[np.argsort(opening)[:12]]).max() < 0.1 * np.ptp(gap)


def test_units_that_made_a_movement_are_found_and_none_is_stronger_than_it_may_be():
    draw = np.random.default_rng(0)
    units = draw.normal(0, 0.1, (4, len(POINTS), 3))
    made = np.array([(0.0, 0.5, 0.0, 1.0), (0.8, 0.0, 0.3, 0.0), (0.0, 0.0, 0.0, 0.0)])
    found = strengths(np.einsum("tu,ukc->tkc", made, units), units)
    assert found == pytest.approx(made, abs=0.03)
    assert strengths(-units[:1], units)[0, 0] == 0  # backwards is not to be had
    assert strengths(9 * units[:1], units)[0, 0] == pytest.approx(1.3)
