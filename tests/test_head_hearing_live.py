"""Codes while speech comes in: the same for any chunking, and those of offline with all the rows
that a code depends on."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from se4lip.head.hearing import hear, start_hearing
from se4lip.head.speech_window import (
    FUTURE_CONTEXT,
    PAST_CONTEXT,
    SpeechWindow,
    SpeechWindowConfig,
)

WIDTH = 6


class Ears:
    """As much of a head as can hear."""

    feature_width = WIDTH

    def __init__(self):
        torch.manual_seed(2)
        self.speech = SpeechWindow(SpeechWindowConfig(WIDTH, 4, hidden=16)).eval()


@pytest.fixture(scope="module")
def ears():
    return Ears()


def in_pieces(head, features, lengths, lookahead):
    state, codes, at = start_hearing(head), [], 0
    for length in lengths:
        state, more = hear(head, state, features[at : at + length], lookahead)
        codes += more
        at += length
    return state, codes


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(0, 9), max_size=8), st.integers(0, FUTURE_CONTEXT))
def test_a_code_is_what_the_head_makes_of_the_rows_so_far(ears, lengths, lookahead):
    features = torch.randn(sum(lengths), WIDTH)
    _, codes = in_pieces(ears, features, lengths, lookahead)
    assert len(codes) == max(0, len(features) - lookahead)
    for row, code in enumerate(codes):
        wanted = ears.speech(features[: row + 1 + lookahead])[row]
        torch.testing.assert_close(code, wanted, atol=1e-5, rtol=1e-5)


@settings(max_examples=20, deadline=None)
@given(st.lists(st.integers(0, 30), min_size=2, max_size=5))
def test_with_the_whole_context_it_is_the_offline_code(ears, lengths):
    features = torch.randn(sum(lengths), WIDTH)
    _, codes = in_pieces(ears, features, lengths, FUTURE_CONTEXT)
    if codes:
        offline = ears.speech(features)[: len(codes)]
        torch.testing.assert_close(torch.stack(codes), offline, atol=1e-5, rtol=1e-5)


def test_less_than_the_whole_context_is_not(ears):
    features = torch.randn(40, WIDTH)
    _, codes = in_pieces(ears, features, [40], 1)
    assert (torch.stack(codes) - ears.speech(features)[:39]).abs().max() > 1e-3


def test_the_state_never_grows(ears):
    state, codes = in_pieces(ears, torch.randn(300, WIDTH), [1] * 300, 2)
    assert len(codes) == 298
    assert len(state.features) == PAST_CONTEXT + 2
