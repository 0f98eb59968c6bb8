"""The lip encoder's two branches."""

import itertools

import pytest
import torch

from se4lip.audio.timebase import Window
from se4lip.encoder.lips import LipEncoder, LipEncoderConfig
from se4lip.encoder.model import SE4LipConfig
from se4lip.types import InputError

KEPT = list(itertools.product([True, False], repeat=3))


@pytest.fixture(scope="module")
def lips():
    torch.manual_seed(0)
    config = LipEncoderConfig(48, channels=(8, 16), contour_hidden=16, embedding=12)
    return LipEncoder(config, Window()).eval()


@pytest.fixture(scope="module")
def given():
    random = torch.Generator().manual_seed(1)
    return torch.randn(3, 9, 48, 48, generator=random), torch.randn(3, 9, 147, generator=random)


@pytest.mark.parametrize("side", [8, 40, 47, 48, 50])
def test_pictures_of_any_size_are_seen(side):
    config = LipEncoderConfig(side, channels=(8, 16, 16, 16), contour=0, embedding=12)
    found = LipEncoder(config, Window())(torch.zeros(1, 5, side, side), torch.zeros(1, 5, 0))
    assert found.shape == (1, 1, 12)


def test_a_lip_window_has_a_middle():
    with pytest.raises(InputError, match="a lip window of 4 frames has no middle: give an odd"):
        SE4LipConfig(lip_window=Window(4))


@pytest.mark.parametrize("kept", KEPT)
def test_a_clip_that_is_kept_is_seen_as_if_it_were_alone(lips, given, kept):
    pictures, contour = given
    found = lips(pictures, contour, torch.tensor(kept), stride=2)
    for row, keep in enumerate(kept):
        alone = [part[row : row + 1] for part in given]
        blank = torch.zeros(1, dtype=torch.bool)
        wanted = lips(*alone, stride=2) if keep else lips(*alone, blank, stride=2)
        torch.testing.assert_close(found[row], wanted[0])


@pytest.mark.parametrize("kept", KEPT)
def test_pictures_that_are_not_kept_change_nothing_and_learn_nothing(lips, given, kept):
    pictures, contour = given
    seen, keep = pictures.clone().requires_grad_(True), torch.tensor(kept)
    found = lips(seen, contour, keep)
    found[..., 0].sum().backward()
    assert [bool(part.abs().sum() > 0) for part in seen.grad] == list(kept)
    other = torch.where(keep[:, None, None, None], pictures, -pictures)
    torch.testing.assert_close(lips(other, contour, keep), found)
    assert all(p.grad is None or p.grad.isfinite().all() for p in lips.parameters())
    lips.zero_grad()


def test_without_pictures_the_contour_alone_is_left(lips, given):
    pictures, contour = given
    none = torch.zeros(3, dtype=torch.bool)
    moved = lips.from_contour(contour.mT).mT
    wanted = torch.nn.functional.normalize(moved, dim=-1)
    torch.testing.assert_close(lips(pictures, contour, none), wanted)
