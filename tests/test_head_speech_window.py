import pytest
import torch

from se4lip.head.speech_window import CONTEXT_FRAMES, SpeechWindow, SpeechWindowConfig
from se4lip.types import InputError


def window(width=5, codes=3):
    torch.manual_seed(0)
    made = SpeechWindow(SpeechWindowConfig(width, codes, hidden=16)).double().eval()
    made.normalise_by(torch.randn(200, width, dtype=torch.float64) * 3 + 1)
    return made


@pytest.mark.parametrize("width", [1, 29, 512])
def test_features_of_any_width_become_codes(width):
    assert window(width).forward(torch.randn(7, width, dtype=torch.float64)).shape == (7, 3)


def test_a_row_depends_on_no_row_beyond_the_context():
    net, features = window(), torch.randn(60, 5, dtype=torch.float64)
    changed = features.clone()
    changed[30] += 10
    moved = (net(features) - net(changed)).abs().sum(1) > 0
    assert moved[30]
    assert not moved[: 30 - CONTEXT_FRAMES].any()
    assert not moved[30 + CONTEXT_FRAMES + 1 :].any()


def test_a_row_hears_seven_rows_ahead_and_nine_back():
    features = torch.randn(60, 5, dtype=torch.float64).requires_grad_()
    window()(features)[30].sum().backward()
    heard = torch.nonzero(features.grad.abs().sum(1))[:, 0]
    # by the window and by the attention each 3 ahead and 4 back, by the attention's kernel 1
    assert (heard.min(), heard.max()) == (30 - CONTEXT_FRAMES, 30 + 7)


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
