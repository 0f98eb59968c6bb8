import math

import pytest
import torch

from se4lip.audio.timebase import Window
from se4lip.encoder.contrast import Contrast, ContrastConfig, ignored_pairs
from se4lip.encoder.lips import LipEncoder, LipEncoderConfig, standardize


def unit(*shape, seed=0):
    rows = torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return torch.nn.functional.normalize(rows, dim=-1)


def moments(batch, frames):
    return torch.arange(frames).expand(batch, frames)


def flags(batch, frames, value):
    return torch.full((batch, frames), value)


def test_embeddings_that_say_nothing_cost_the_logarithm_of_the_choices():
    same = torch.ones(2, 10, 4) / 2
    args = (same, same, flags(2, 10, True), flags(2, 10, False), moments(2, 10))
    config = ContrastConfig(same_moment_frames=0, across_clips=0.0)
    loss = Contrast(config)(*args)
    assert loss.item() == pytest.approx(math.log(10), abs=1e-5)
    config = ContrastConfig(same_moment_frames=0, across_clips=1.0)
    loss = Contrast(config)(*args)
    assert loss.item() == pytest.approx(math.log(20), abs=1e-5)


def test_perfect_alignment_costs_nothing():
    rows = torch.eye(12).reshape(2, 6, 12)
    loss = Contrast(ContrastConfig(initial_temperature=0.02))(
        rows, rows, flags(2, 6, True), flags(2, 6, False), moments(2, 6)
    )
    assert loss.item() < 1e-6


def test_neighbours_silence_and_padding_are_no_negatives():
    clip = torch.tensor([0, 0, 0, 1, 1])
    moment = torch.tensor([0, 1, 2, 0, 1])
    valid = torch.tensor([True, True, True, True, False])
    silent = torch.tensor([True, False, False, True, False])
    ignored = ignored_pairs(clip, moment, valid, silent, ContrastConfig(same_moment_frames=1))
    expected = torch.tensor(
        [
            [0, 1, 0, 1, 1],  # near: 1; silence against silence: 3; padding: 4
            [1, 0, 1, 0, 1],
            [0, 1, 0, 0, 1],
            [1, 0, 0, 0, 1],
            [1, 1, 1, 1, 0],
        ]
    ).bool()
    assert torch.equal(ignored, expected)


def test_padding_does_not_change_the_loss():
    speech, lips = unit(2, 6, 8), unit(2, 6, 8, seed=1)
    contrast = Contrast(ContrastConfig()).double()
    valid, silent = flags(2, 6, True), flags(2, 6, False)
    valid[1, 4:] = False
    plain = contrast(speech, lips, valid, silent, moments(2, 6))
    speech[1, 4:], lips[1, 4:] = unit(2, 8, seed=5), unit(2, 8, seed=6)
    torch.testing.assert_close(contrast(speech, lips, valid, silent, moments(2, 6)), plain)


def test_gradients_of_the_contrast():
    speech = torch.randn(2, 4, 3, dtype=torch.float64, requires_grad=True)
    lips = torch.randn(2, 4, 3, dtype=torch.float64, requires_grad=True)
    contrast = Contrast(ContrastConfig(initial_temperature=0.5)).double()
    valid, silent = flags(2, 4, True), flags(2, 4, False)
    silent[:, 0] = True
    times = moments(2, 4)
    assert torch.autograd.gradcheck(
        lambda a, b: contrast(a, b, valid, silent, times), (speech, lips)
    )


def test_a_moment_drawn_twice_is_no_negative_of_itself():
    """Of one recording, stretches of a batch overlap: what is the same cannot be told apart."""
    rows, shared = torch.eye(9), torch.tensor([[0, 2, 4, 6], [4, 6, 8, 10]])
    place = (shared // 2).flatten()
    embedded = rows[place].reshape(2, 4, 9)
    args = (embedded, embedded, flags(2, 4, True), flags(2, 4, False), shared)
    contrast = Contrast(ContrastConfig(initial_temperature=0.02, across_clips=0.5))
    assert contrast(*args, torch.tensor([3, 3])).item() < 1e-6
    assert contrast(*args, torch.tensor([3, 5])).item() > 0.1  # of two clips they would be two
    # The other moments of both are negatives within the clip: a choice of eight, or seven.
    one = Contrast(ContrastConfig(same_moment_frames=0, across_clips=0))
    alike = torch.ones(2, 4, 4) / 2
    args = (alike, alike, flags(2, 4, True), flags(2, 4, False), shared)
    assert one(*args, torch.tensor([3, 3])).item() == pytest.approx(
        (4 * math.log(8) + 4 * math.log(7)) / 8, abs=1e-5
    )


def test_a_lip_embedding_sees_its_five_pictures_and_no_other():
    torch.manual_seed(0)
    encoder = LipEncoder(LipEncoderConfig(channels=(8, 8, 8, 8), embedding=8), Window()).eval()
    pictures, contour = torch.randn(1, 12, 48, 48), torch.randn(1, 12, 147)
    before = encoder(pictures, contour)
    assert before.shape == (1, 8, 8)
    torch.testing.assert_close(encoder(pictures, contour, stride=2), before[:, ::2])
    pictures[0, 6] += 1
    contour[0, 6] += 1
    changed = (encoder(pictures, contour) - before).abs().amax(-1)[0] > 1e-6
    assert changed.tolist() == [False, False, True, True, True, True, True, False]


def test_brightness_and_contrast_say_nothing():
    pictures = torch.rand(2, 3, 8, 8)
    torch.testing.assert_close(
        standardize(pictures), standardize(0.5 * pictures + 0.2), rtol=0, atol=2e-2
    )
