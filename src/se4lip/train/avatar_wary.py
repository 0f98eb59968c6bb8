"""What noise is in the features that a head hears: its gate is wary after it (`head.gate`).

A row is of noise or not by one linear rule. Silence is none, neither digital silence nor the pauses
of speech.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from se4lip.head.speech_window import SpeechWindow
from se4lip.train.listener import Features

LEAST_ROWS = 3000  # of speech, two minutes: a rule from less takes what it did not hear for noise
_MOST_ROWS = 20_000  # of either, evenly spread
_PENALTY = 1e-3  # on the squares of the weights, of features of spread one
_ROUNDS = 300


def learn_noise(
    window: SpeechWindow,
    speech: Sequence[Features],
    silence: Sequence[Features],
    noise: Sequence[Features],
) -> None:
    """Teaches ``window`` to tell rows of ``noise`` from those of ``speech`` and digital ``silence``
    by logistic regression: noise counts half, speech and silence a quarter each, however long they
    are. Where there is none of one of them, or fewer than `LEAST_ROWS` of speech, nothing is noise.
    """
    if not (silence and noise) or sum(map(len, speech)) < LEAST_ROWS:
        return
    kinds = [(speech, 0.25, 0.0), (silence, 0.25, 0.0), (noise, 0.5, 1.0)]
    parts = [(_rows(window, takes), weight, is_noise) for takes, weight, is_noise in kinds]
    rows = torch.cat([found for found, _, _ in parts])
    of_noise = torch.cat([found.new_full((len(found),), value) for found, _, value in parts])
    share = torch.cat([found.new_full((len(found),), w / len(found)) for found, w, _ in parts])
    weight = torch.zeros(rows.shape[1], dtype=torch.float64, requires_grad=True)
    bias = torch.zeros((), dtype=torch.float64, requires_grad=True)
    solver = torch.optim.LBFGS([weight, bias], max_iter=_ROUNDS, line_search_fn="strong_wolfe")

    def error() -> Tensor:
        solver.zero_grad()
        wrong = functional.binary_cross_entropy_with_logits(
            rows @ weight + bias, of_noise, share, reduction="sum"
        )
        loss = wrong + _PENALTY * weight.square().sum()
        loss.backward()
        return loss

    solver.step(error)
    window.noise_weight.copy_(weight.detach())
    window.noise_bias.copy_(bias.detach())


def _rows(window: SpeechWindow, takes: Sequence[Features]) -> Tensor:
    rows = np.concatenate(takes)
    some = np.linspace(0, len(rows) - 1, min(_MOST_ROWS, len(rows))).round().astype(int)
    return window.normalised(torch.from_numpy(rows[some])).double().cpu()
