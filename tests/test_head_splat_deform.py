import pytest
import torch

from se4lip.head.splat.deform import CHANGES, MEAN, Branch, BranchConfig


def branch(curves=3, code_width=2):
    torch.manual_seed(0)
    made = Branch(BranchConfig(start=4, stop=9, code_width=code_width, curves=curves)).double()
    with torch.no_grad():
        made.vectors.normal_()
        made.origin.normal_()
    return made


@pytest.mark.parametrize("curves", [0, 3])
def test_at_its_origin_a_branch_changes_nothing(curves):
    made = branch(curves)
    assert made(made.origin).abs().max() == 0


def test_a_linear_branch_adds_its_vectors():
    made = branch(curves=0)
    code = made.origin + torch.tensor([2.0, -1.0]).double()
    torch.testing.assert_close(made(code), 2 * made.vectors[0] - made.vectors[1])


def test_where_its_share_is_zero_a_branch_changes_nothing():
    made = branch()
    made.share[2] = 0
    change = made(torch.ones(2).double())
    assert change[2].abs().max() == 0
    assert change[3].abs().max() > 0


def test_a_bound_branch_moves_means_alone_and_linearly():
    made = Branch(BranchConfig(0, 5, code_width=2, curves=3))
    basis = torch.randn(2, 5, 3)
    made.bind(basis)
    change = made(torch.tensor([0.5, 2.0]))
    torch.testing.assert_close(change[:, MEAN], 0.5 * basis[0] + 2 * basis[1])
    assert change[:, 3:].abs().max() == 0


def test_a_branch_without_a_code_changes_nothing():
    made = Branch(BranchConfig(0, 5, code_width=0, curves=0))
    torch.testing.assert_close(made(torch.zeros(0)), torch.zeros(5, CHANGES))


def test_gradients_are_those_of_finite_differences():
    made = branch()
    code = torch.randn(2).double().requires_grad_()
    parameters = tuple(made.parameters())
    assert torch.autograd.gradcheck(lambda c, *_: made(c), (code, *parameters))
