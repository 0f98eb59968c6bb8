import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from se4lip.head.gate import NOISE_CONTEXT, NOISE_MEMORY_ROWS, certain, noisy, opened


def test_a_gate_shuts_and_opens_wholly():
    log_odds = torch.tensor([-9.0, -2.5, 0.0, 2.5, 9.0])
    torch.testing.assert_close(opened(log_odds), torch.tensor([0.0, 0.0, 0.5, 1.0, 1.0]))


def test_weak_evidence_counts_for_a_second_after_strong_evidence_and_not_without():
    weak, strong, certainty = 0.5, 9.0, torch.tensor(3.0)
    heed = torch.full((100,), weak)
    heed[40] = strong
    found = certain(heed, certainty)
    kept = (found == weak).nonzero()[:, 0].tolist()
    assert kept == [*range(37, 40), *range(41, 66)]  # three before it, 25 after
    assert found[40] == strong - certainty
    torch.testing.assert_close(found[70:], heed[70:] - certainty)


def test_each_row_may_ask_for_a_certainty_of_its_own():
    heed = torch.full((2, 50), 4.0)
    asked = torch.linspace(0, 8, 50).expand(2, 50)
    torch.testing.assert_close(certain(heed, asked), 4 - asked)


def test_noise_is_known_within_half_a_second_and_remembered_for_three():
    """Log odds of 4 in n of 25 rows, 0 before them, are a mean of 4 n / 25: a half and one and a
    half lie between the 3rd and 4th, and between the 9th and 10th row."""
    log_odds = torch.full((200,), -4.0)
    log_odds[:40] = 9.0  # no more than 4 counts
    found = noisy(log_odds)
    assert (found[:3] == 0).all() and 0 < found[3] < 1
    assert (found[9 : 40 + NOISE_MEMORY_ROWS] == 1).all()
    assert (found[40 + NOISE_MEMORY_ROWS + 25 :] == 0).all()


@pytest.mark.parametrize("rows", [1, 6])
def test_a_click_is_no_noise(rows):
    log_odds = torch.full((60,), -4.0)
    log_odds[30 : 30 + rows] = 9.0
    assert (noisy(log_odds) == 0).all()


@settings(deadline=None)
@given(st.integers(0, 249))
def test_noise_is_the_same_when_no_more_than_its_context_is_known(row):
    log_odds = 4 * torch.randn(2, 250, generator=torch.Generator().manual_seed(0)) + 1
    known = log_odds[:, max(0, row - NOISE_CONTEXT) : row + 1]
    torch.testing.assert_close(noisy(known)[:, -1], noisy(log_odds)[:, row])
