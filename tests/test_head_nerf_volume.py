"""Volume rendering against closed forms."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from se4lip.head.nerf.volume import composite, weights

FLOAT64 = torch.float64


def uniform(density: float, steps: int, length: float) -> tuple[torch.Tensor, torch.Tensor]:
    return (
        torch.full((1, steps), density, dtype=FLOAT64),
        torch.full((1, steps), length / steps, dtype=FLOAT64),
    )


@pytest.mark.parametrize("steps", [1, 7, 64])
def test_fog_of_constant_density_dims_exponentially_however_it_is_cut(steps: int) -> None:
    density, length = uniform(0.7, steps, 3.0)
    share, through = weights(density, length)
    assert through.item() == pytest.approx(math.exp(-0.7 * 3.0), rel=1e-12)
    first = 1 - math.exp(-0.7 * 3.0 / steps)
    expected = [first * math.exp(-0.7 * 3.0 * i / steps) for i in range(steps)]
    torch.testing.assert_close(share[0], torch.tensor(expected, dtype=FLOAT64))


def test_a_linear_ramp_of_density_dims_by_its_integral() -> None:
    steps = 4000
    middle = (torch.arange(steps, dtype=FLOAT64) + 0.5) * 2 / steps
    _, through = weights(middle[None], torch.full((1, steps), 2 / steps, dtype=FLOAT64))
    assert through.item() == pytest.approx(math.exp(-2.0), rel=1e-9)  # integral of x from 0 to 2


def test_an_opaque_wall_hides_all_that_is_behind_it() -> None:
    density = torch.tensor([[0.0, 1e4, 5.0]])
    colour = torch.tensor([[[0.1], [0.6], [0.9]]])
    rgb, through = composite(density, torch.ones(1, 3), colour, torch.tensor([[0.3]]))
    assert rgb.item() == pytest.approx(0.6)
    assert through.item() == 0.0


def test_what_is_in_front_counts_first() -> None:
    half = math.log(2)  # a step of length 1 lets half of the light through
    density = torch.tensor([[half, half]])
    colour = torch.tensor([[[1.0], [0.0]]])
    behind = torch.zeros(1, 1)
    one, through = composite(density, torch.ones(1, 2), colour, behind)
    other, _ = composite(density, torch.ones(1, 2), colour.flip(1), behind)
    assert (one.item(), other.item(), through.item()) == pytest.approx((0.5, 0.25, 0.25))


def test_nothing_shows_what_is_behind() -> None:
    behind = torch.tensor([[0.2, 0.4, 0.6]])
    rgb, through = composite(torch.zeros(1, 5), torch.ones(1, 5), torch.rand(1, 5, 3), behind)
    torch.testing.assert_close(rgb, behind)
    assert through.item() == 1.0


@settings(deadline=None, max_examples=60)
@given(
    st.lists(st.floats(0, 1e4), min_size=1, max_size=8),
    st.floats(1e-3, 10),
)
def test_shares_and_what_passes_are_one_whole(densities: list[float], length: float) -> None:
    density = torch.tensor([densities], dtype=FLOAT64)
    share, through = weights(density, torch.full_like(density, length))
    assert (share >= 0).all() and 0 <= through.item() <= 1
    assert (share.sum() + through).item() == pytest.approx(1, abs=1e-12)
    # what is seen through the first steps never grows with more of them
    passed = 1 - share.cumsum(-1)
    assert (passed.diff(dim=-1) <= 1e-12).all() and (passed <= 1).all()


def test_gradients_also_of_opaque_samples() -> None:
    torch.manual_seed(0)
    density = torch.tensor([[0.3, 40.0, 0.0, 2.0], [0.1, 0.2, 0.3, 0.4]], dtype=FLOAT64)
    length = torch.rand(2, 4, dtype=FLOAT64) + 0.1
    colour, behind = torch.randn(2, 4, 3, dtype=FLOAT64), torch.randn(2, 3, dtype=FLOAT64)
    inputs = [t.requires_grad_() for t in (density, length, colour, behind)]
    assert torch.autograd.gradcheck(composite, inputs)
