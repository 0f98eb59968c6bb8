import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from se4lip.head.speech_window import (
    FUTURE_CONTEXT,
    PAST_CONTEXT,
    SpeechWindow,
    SpeechWindowConfig,
)
from se4lip.types import InputError


def window(width=5, codes=3):
    torch.manual_seed(0)
    made = SpeechWindow(SpeechWindowConfig(width, codes, hidden=16)).double().eval()
    made.normalise_by(torch.randn(200, width, dtype=torch.float64) * 3 + 1)
    return made


def gated(certainty=0.3, wariness=0.0):
    """One whose gate is neither shut nor open, whatever it hears."""
    made = window()
    with torch.no_grad():
        made.heed.weight.mul_(3)
        made.rest.fill_(2)
        made.certainty.fill_(certainty)
        made.wariness.fill_(wariness)
        made.noise_weight.normal_().mul_(2)
        made.noise_bias.fill_(1.0)
    return made


@pytest.mark.parametrize("width", [1, 29, 512])
def test_features_of_any_width_become_codes(width):
    assert window(width).forward(torch.randn(7, width, dtype=torch.float64)).shape == (7, 3)


def test_a_row_depends_on_no_row_beyond_the_context():
    net, features = gated(wariness=0.5), torch.randn(190, 5, dtype=torch.float64)
    changed = features.clone()
    changed[45] += 10
    moved = (net(features) - net(changed)).abs().sum(1) > 0
    assert moved[45]
    assert not moved[: 45 - FUTURE_CONTEXT].any()
    assert not moved[45 + PAST_CONTEXT + 1 :].any()


@settings(deadline=None)
@given(st.integers(0, 180))
def test_a_row_is_the_same_when_no_more_than_its_context_is_known(row):
    net, features = gated(wariness=0.5), torch.randn(190, 5, dtype=torch.float64)
    start = max(0, row - PAST_CONTEXT)
    known = net(features[start : row + FUTURE_CONTEXT + 1])
    torch.testing.assert_close(known[row - start], net(features)[row])


def test_a_row_hears_seven_rows_ahead_and_nine_back_but_for_who_speaks():
    features = torch.randn(60, 5, dtype=torch.float64).requires_grad_()
    window()(features)[30].sum().backward()
    heard = torch.nonzero(features.grad.abs().sum(1))[:, 0]
    # by the window and by the attention each 3 ahead and 4 back, by the attention's kernel 1
    assert (heard.min(), heard.max()) == (30 - 9, 30 + 7)


def test_a_row_hears_who_spoke_within_a_second():
    net, features = gated(), torch.randn(90, 5, dtype=torch.float64)
    reach = []
    for row in range(90):
        changed = features.clone()
        changed[row] += 30
        reach += ((net(features) - net(changed)).abs().sum(1) > 0).nonzero()[:, 0].sub(row).tolist()
    assert 25 < max(reach) <= 33 and -FUTURE_CONTEXT <= min(reach) <= -7


def test_after_noise_somebody_must_be_more_certain():
    net, features = gated(certainty=0.0), torch.randn(200, 5, dtype=torch.float64)
    with torch.no_grad():
        net.noise_weight[0], net.noise_bias[...] = 10, -1.0
    heard = features * net.feature_scale.reciprocal() + net.feature_mean
    heard[:, 0] = net.feature_mean[0]  # no noise ...
    heard[40:70, 0] += 1 / net.feature_scale[0]  # ... but for these rows
    before = net.codes_and_heed(heard)[1]
    net.wariness.fill_(50.0)
    after = net.codes_and_heed(heard)[1]
    torch.testing.assert_close(after[:40], before[:40])
    assert (after[55 : 70 + 75] < -20).all()
    torch.testing.assert_close(after[70 + 75 + 25 :], before[70 + 75 + 25 :])


def test_constant_features_give_a_constant_code():
    codes = window()(torch.ones(20, 5, dtype=torch.float64))
    torch.testing.assert_close(codes, codes[:1].expand(20, -1))


def test_normalisation_makes_the_scale_of_features_irrelevant():
    features = torch.randn(50, 5, dtype=torch.float64)
    a, b = window(), window()
    a.normalise_by(features)
    b.normalise_by(features * 7 - 3)
    torch.testing.assert_close(a(features), b(features * 7 - 3))


def test_a_column_that_never_changes_is_harmless():
    features = torch.randn(50, 5)
    features[:, 2] = 4
    net = SpeechWindow(SpeechWindowConfig(5, 3)).eval()
    net.normalise_by(features)
    assert net(features).isfinite().all()


def test_features_of_another_width_are_refused():
    with pytest.raises(InputError, match="features are 4 wide, but this head was trained on feat"):
        window()(torch.zeros(10, 4, dtype=torch.float64))
