"""A frame that is only shown against the frame that is learned from, which is its oracle."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional

from poses import pose_from_vector
from se4lip.head.base import Motion
from se4lip.head.splat.frame_numba import tinted_numba
from se4lip.head.splat.head import SplatHead, SplatHeadConfig
from se4lip.types import Camera
from splat_scenes import round_ones

# More Gaussians than a lane takes at a time, in runs that begin and end anywhere.
RUNS = (0, 40, 700, 1000, 1250, 1300)
CAMERA = Camera(60.0, 20.0, 16.0, 40, 32)


def scene(sways: bool, look: int = 1) -> SplatHead:
    torch.manual_seed(0)
    points = torch.randn(1300, 3) * torch.tensor([1.0, 1.0, 0.2]) + torch.tensor([0.0, 0.0, 6.0])
    raw = round_ones(points, torch.rand(1300, 3), opacity=0.8)
    head = SplatHead(SplatHeadConfig(CAMERA, RUNS, 5, 2, 3, look, curves=2, sways=sways), raw)
    with torch.no_grad():
        for name, parameter in head.named_parameters():
            if not name.startswith("raw.means"):
                parameter.add_(0.1 * torch.randn_like(parameter))
        head.head_share.uniform_(-0.2, 1.2)  # beyond 0 and 1 it is held there
        for branch in (head.interior, head.face, head.eyes, head.look):
            branch.share.uniform_(0, 1)
            branch.origin.normal_()
        if sways:
            head.sway.fit(pose(0) + 0.1 * torch.randn(20, 3, 4))
    return head


def pose(seed: int) -> torch.Tensor:
    draw = torch.Generator().manual_seed(seed)
    turn, place = torch.randn(2, 3, generator=draw)
    return pose_from_vector(0.3 * turn, 0.2 * place)


def driven(seed: int, look: int = 1) -> tuple[torch.Tensor, ...]:
    draw = torch.Generator().manual_seed(seed)
    codes = (torch.randn(width, generator=draw) for width in (2, 3, look))
    return *codes, pose(seed), pose(seed + 100)


@pytest.mark.parametrize("look", [0, 1])
@pytest.mark.parametrize("sways", [False, True])
@pytest.mark.parametrize("seed", [1, 2])
def test_gaussians_that_are_shown_are_those_that_learn(sways: bool, seed: int, look: int) -> None:
    head = scene(sways, look)
    learning = head.placed(*driven(seed, look))
    with torch.no_grad():
        assert head._only_shown
        shown = head.placed(*driven(seed, look))
    assert learning.means.requires_grad
    for name, tensor in learning.tensors().items():
        torch.testing.assert_close(shown.tensors()[name], tensor.detach(), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("sways", [False, True])
@pytest.mark.parametrize("width", [None, 20, 80, 77])
def test_pictures_that_are_shown_are_those_that_learn(sways: bool, width: int | None) -> None:
    head, given = scene(sways), driven(3)
    learning = head.draw(*given, width)
    with torch.no_grad():
        shown = head.draw(*given, width)
    assert learning.requires_grad
    torch.testing.assert_close(shown, learning.detach(), rtol=0, atol=1e-4)


@given(*(st.integers(1, 40) for _ in range(4)))
def test_a_tint_is_enlarged_as_torch_does_it(height: int, width: int, few: int, many: int) -> None:
    draw = torch.Generator().manual_seed(0)
    plate = torch.rand(height, width, 3, generator=draw)
    tint = torch.randn(3, few, many, generator=draw)
    large = functional.interpolate(
        tint[None], (height, width), mode="bilinear", align_corners=False
    )
    wanted = plate + large[0].permute(1, 2, 0)
    # Where a pixel lies among rows and columns is known to float32's rounding of that place, and a
    # tint changes from one to the next by at most twice its largest number.
    known = torch.finfo(torch.float32).eps * max(few, many) * 2 * tint.abs().max().item()
    torch.testing.assert_close(tinted_numba(plate, tint), wanted, rtol=0, atol=1e-6 + known)


def test_a_frame_is_the_same_to_the_bit_for_any_number_of_threads(threads: None) -> None:
    head, pictures = scene(sways=True), []
    for count in (1, 2, 5):
        torch.set_num_threads(count)
        with torch.no_grad():
            pictures.append(head.draw(*driven(4)))
    assert all(torch.equal(pictures[0], other) for other in pictures[1:])


def test_pictures_drawn_at_once_are_those_drawn_one_by_one(threads: None) -> None:
    head, rows = scene(sways=True), [driven(seed) for seed in range(7)]
    codes, eyes, look, pose, torso = map(torch.stack, zip(*rows, strict=True))
    motion = Motion(pose.numpy(), torso.numpy(), eyes.numpy(), look.numpy())
    with torch.inference_mode():
        wanted = [(head.draw(*row).clamp(0, 1) * 255).round().byte().numpy() for row in rows]
    for count in (1, 3):
        torch.set_num_threads(count)
        drawn = list(head.pictures(codes, motion))
        assert all(np.array_equal(a, b) for a, b in zip(drawn, wanted, strict=True))


def test_in_float64_the_oracle_draws_what_is_shown_too() -> None:
    head, given = scene(sways=True).double(), [part.double() for part in driven(5)]
    learning = head.draw(*given)
    with torch.no_grad():
        torch.testing.assert_close(head.draw(*given), learning.detach())
