"""Figures for comparing, on inputs whose answer is known."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from se4lip.metrics.closure import SILENCES
from se4lip.metrics.comparison import area_under_roc, explained_variance, fit_ridge
from se4lip.metrics.visemes import VISEME_OF, VISEMES

ARPABET = """aa ae ah ao aw ay b ch d dh eh er ey f g hh ih iy jh k l m n ng ow oy p r s sh t th uh
 uw v w y z zh"""


@settings(max_examples=50, deadline=None)
@given(
    st.lists(st.integers(0, 5), min_size=1, max_size=12),
    st.lists(st.integers(0, 5), min_size=1, max_size=12),
)
def test_area_is_the_share_of_pairs_in_the_right_order(ones, zeros):
    scores = np.array(ones + zeros, float)
    positive = np.arange(len(scores)) < len(ones)
    wins = [(a > b) + (a == b) / 2 for a in ones for b in zeros]
    assert area_under_roc(scores, positive) == pytest.approx(np.mean(wins))


def test_area_of_one_kind_alone_is_unknown():
    assert np.isnan(area_under_roc(np.arange(3.0), np.ones(3, bool)))


def test_explained_variance_of_the_mean_is_nothing_and_of_the_truth_all():
    real = np.random.default_rng(0).normal(loc=(1, 20, -3), size=(50, 3))
    assert explained_variance(real, real) == 1
    assert explained_variance(np.tile(real.mean(0), (50, 1)), real) == pytest.approx(0)
    assert explained_variance(-real, real) < 0


def test_ridge_finds_a_linear_map_and_shrinks_with_its_penalty():
    rng = np.random.default_rng(0)
    x, weights = rng.normal(size=(300, 5)), rng.normal(size=(5, 2))
    y = x @ weights + [3, -1]
    weak, strong = fit_ridge(x, y, (1e-9, 1e3))
    np.testing.assert_allclose(weak(x), y, atol=1e-6)
    np.testing.assert_allclose(strong(x), np.tile(y.mean(0), (300, 1)), atol=0.05)


def test_ridge_equals_the_normal_equations():
    rng = np.random.default_rng(1)
    x, y = rng.normal(size=(40, 6)) * [1, 5, 0.1, 2, 3, 1], rng.normal(size=(40, 2))
    z = (x - x.mean(0)) / x.std(0)
    by_hand = np.linalg.solve(z.T @ z + 0.3 * 40 * np.eye(6), z.T @ (y - y.mean(0)))
    found = fit_ridge(x, y, (0.3,))[0]
    np.testing.assert_allclose(found.weights, by_hand, atol=1e-10)


def test_scale_and_origin_make_no_difference_to_ridge():
    rng = np.random.default_rng(2)
    x, y = rng.normal(size=(60, 4)), rng.normal(size=(60, 1))
    scale, origin = np.array([1e-4, 1.0, 1e4, 7.0]), np.array([3e-4, -2.0, 1e5, 0.0])
    other = x * scale + origin
    np.testing.assert_allclose(
        fit_ridge(other, y, (0.1,))[0](other), fit_ridge(x, y, (0.1,))[0](x), atol=1e-8
    )


def test_every_sound_of_english_has_one_look():
    assert sorted(VISEME_OF) == sorted(ARPABET.split())
    assert sum(map(len, VISEMES.values())) == len(VISEME_OF)
    assert not set(VISEME_OF) & SILENCES
