"""Feature planes: closed forms, the plain version, gradients."""

from __future__ import annotations

import pytest
import torch

from se4lip.head.nerf.planes import CHANNELS, levels, look_up, look_up_plain, texel_count

LEVELS = levels(9, 7, 4, coarser=3)


def points(count: int, reach: float, seed: int = 0) -> torch.Tensor:
    return (torch.rand(count, 3, generator=torch.Generator().manual_seed(seed)) * 2 - 1) * reach


def table(seed: int = 1) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(texel_count(LEVELS), CHANNELS, generator=generator)


def test_levels_lie_behind_each_other_in_the_table() -> None:
    assert [(v.across, v.down, v.rows, v.columns) for v in LEVELS] == [
        (0, 1, 9, 7),
        (0, 1, 3, 2),
        (0, 2, 4, 2),
        (1, 2, 4, 3),
    ]
    assert [v.first for v in LEVELS] == [0, 63, 69, 77]
    assert texel_count(LEVELS) == 89


def test_a_texel_is_read_where_it_lies_and_halfway_to_the_next_is_the_mean() -> None:
    numbers = table()
    corner, between = torch.tensor([[-1.0, -1.0, -1.0]]), torch.tensor([[-1.0, -1 + 1 / 8, -1.0]])
    read = look_up(numbers, LEVELS, corner)[0].view(4, CHANNELS)
    torch.testing.assert_close(read, numbers[[v.first for v in LEVELS]])
    read = look_up(numbers, LEVELS, between)[0, :CHANNELS]
    torch.testing.assert_close(read, (numbers[0] + numbers[7]) / 2)


def test_what_is_linear_in_place_is_read_exactly() -> None:
    numbers = torch.zeros(texel_count(LEVELS), CHANNELS)
    for level in LEVELS:
        y, x = torch.meshgrid(
            torch.linspace(-1, 1, level.rows), torch.linspace(-1, 1, level.columns), indexing="ij"
        )
        rows = slice(level.first, level.first + level.texels)
        numbers[rows, 0], numbers[rows, 1] = x.flatten(), y.flatten()
    at = points(50, 1.0)
    read = look_up(numbers, LEVELS, at).view(50, 4, CHANNELS)[..., :2]
    expected = torch.stack([at[:, [v.across, v.down]] for v in LEVELS], 1)
    torch.testing.assert_close(read, expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("reach", [1.0, 1.7], ids=["inside", "beyond the border too"])
def test_the_compiled_reading_and_its_gradients_are_the_plain_ones(reach: float) -> None:
    at, numbers = points(3000, reach), table()
    weight = torch.randn(3000, 4 * CHANNELS, generator=torch.Generator().manual_seed(5))
    results = []
    for read, dtype in ((look_up, torch.float32), (look_up_plain, torch.float64)):
        leaves = [t.to(dtype).clone().requires_grad_() for t in (numbers, at)]
        found = read(leaves[0], LEVELS, leaves[1])
        results.append((found, *torch.autograd.grad((found * weight.to(dtype)).sum(), leaves)))
    for compiled, plain in zip(*results, strict=True):
        error = (compiled.double() - plain).norm()
        assert error <= 2e-5 * plain.norm()


def test_the_plain_reading_has_true_gradients() -> None:
    at, numbers = points(6, 0.9).double(), table().double()
    inputs = (numbers.requires_grad_(), at.requires_grad_())
    assert torch.autograd.gradcheck(lambda t, p: look_up_plain(t, LEVELS, p), inputs)


def test_no_points_have_no_features() -> None:
    numbers = table().requires_grad_()
    found = look_up(numbers, LEVELS, torch.zeros(0, 3))
    assert found.shape == (0, 4 * CHANNELS)
    found.sum().backward()
    assert numbers.grad is not None and not numbers.grad.any()
