"""The radiance-field head: compiled against plain, codes, backdrop, empty cells."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from nerf_scenes import CAMERA, EYES, LOOK, MOUTH, driven, small_head, still
from se4lip.head.base import Motion
from se4lip.head.nerf.field import Field, FieldConfig
from se4lip.head.nerf.head import Driven, NerfHead, pixel_centres
from se4lip.head.nerf.sampling import cells_of
from se4lip.head.speech_window import SpeechWindow, SpeechWindowConfig
from se4lip.types import InputError


def plain(head: NerfHead, parts: Driven) -> torch.Tensor:
    pixels = pixel_centres(CAMERA).view(1, -1, 2)
    with torch.no_grad():
        return head.colours(pixels, parts)[0][0].view(CAMERA.height_px, CAMERA.width_px, 3)


def first(parts: Driven) -> list[torch.Tensor]:
    return [part[0] for part in parts]


@pytest.mark.parametrize(("look_width", "sway_width"), [(LOOK, 0), (0, 0), (LOOK, 6)])
@pytest.mark.parametrize("holes", [False, True], ids=["full", "empty cells"])
def test_the_compiled_picture_is_the_plain_one(
    look_width: int, sway_width: int, holes: bool
) -> None:
    head, parts = small_head(0, look_width, sway_width), driven(look_width=look_width)
    if holes:
        head.occupied.copy_(torch.rand(head.config.cells) < 0.6)
    found, want = head.draw(*first(parts)), plain(head, parts)
    assert want.std() > 0.3  # it shows something
    difference = (found - want).abs().amax(-1)
    # a sample on the border of a cell may fall on either side; what is seen through less than
    # a thousandth is left out
    assert (difference > 0.01).float().mean() <= 0.005
    assert difference.median() < 1e-3


def test_a_head_made_where_nothing_is_learned_draws() -> None:
    with torch.inference_mode():
        inside = small_head()
        found = inside.draw(*first(driven()))
    torch.testing.assert_close(found, small_head().draw(*first(driven())))


@pytest.mark.parametrize("wrong", [{"rows": 3}, {"columns": 2}, {"hidden": 0}])
def test_a_field_too_small_for_its_kernels_is_refused(wrong: dict[str, int]) -> None:
    codes = {"mouth_width": 3, "eye_width": 2, "look_width": 1}
    with pytest.raises(InputError, match=rf"{next(iter(wrong))} is .*, but (4|16) to"):
        FieldConfig(**{"rows": 24, "columns": 20, **codes, **wrong})


def test_the_compiled_picture_follows_its_weights() -> None:
    head, parts = small_head(), driven()
    before = head.draw(*first(parts))
    with torch.no_grad():
        head.field.out.bias[:3] += 0.5
    after = head.draw(*first(parts))
    assert (after - before).mean() > 0.05
    assert ((after - plain(head, parts)).abs().amax(-1) > 0.01).float().mean() <= 0.005


def test_every_code_is_seen() -> None:
    head, parts = small_head(), driven()
    shown = head.draw(*first(parts))
    for number in range(5):
        changed = list(first(parts))
        changed[number] = changed[number] + 0.1
        assert (head.draw(*changed) - shown).abs().max() > 1e-3, number


@pytest.mark.parametrize("sway_width", [0, 6])
def test_every_parameter_learns_from_the_picture(sway_width: int) -> None:
    head, parts = small_head(sway_width=sway_width), driven(2)
    pixels = pixel_centres(CAMERA).view(1, -1, 2).expand(2, -1, -1)
    drawn, present = head.colours(pixels, parts)
    assert present.min() >= 0 and present.max() <= 1
    drawn.square().sum().backward()
    untouched = {name for name, p in head.named_parameters() if p.grad is None or not p.grad.any()}
    assert untouched == {name for name, _ in head.named_parameters() if name.startswith("speech.")}


@pytest.mark.parametrize("sway_width", [0, 6])
def test_gradients_through_the_whole_head(sway_width: int) -> None:
    """In float64, against finite differences, in a random direction of all parameters."""
    head = small_head(sway_width=sway_width).double()
    parts = Driven(*(part.double() for part in driven()))
    pixels = pixel_centres(CAMERA).view(1, -1, 2).double()[:, 300:700:7]
    parameters = [p for n, p in head.named_parameters() if not n.startswith("speech.")]
    loss = head.colours(pixels, parts)[0].square().sum()
    gradients = torch.autograd.grad(loss, parameters)
    torch.manual_seed(4)
    # bends move samples in and out of cells, and are held still: they have a test of their own
    ways = [
        torch.randn_like(p) * (n[:5] != "shell")
        for n, p in head.named_parameters()
        if not n.startswith("speech.")
    ]
    slope = sum((g * w).sum() for g, w in zip(gradients, ways, strict=True))
    values = []
    for size in (1e-6, -2e-6):
        with torch.no_grad():
            for p, w in zip(parameters, ways, strict=True):
                p += size * w
            values.append(head.colours(pixels, parts)[0].square().sum())
    measured = (values[0] - values[1]) / 2e-6
    assert measured.item() == pytest.approx(slope.item(), rel=1e-4)


def test_attention_says_where_a_code_matters() -> None:
    field = small_head().field
    with torch.no_grad():
        field.attention_out.weight.zero_()
        field.attention_out.bias.zero_()
    features = torch.randn(5, field.attention_in.in_features)
    weight = field.attention(features)
    speech = field.config.speech_channels
    assert not weight[:, :speech].any()  # of speech: any number, here none
    torch.testing.assert_close(weight[:, speech:], torch.full_like(weight[:, speech:], 0.5))
    codes = field.codes(torch.ones(1, MOUTH), 2 * torch.ones(1, EYES), 3 * torch.ones(1, LOOK))
    assert codes.shape == (1, 32)
    assert codes[0, :4].tolist() == [1, 1, 1, 0]
    assert codes[0, 16:20].tolist() == [2, 2, 3, 0]


def test_speech_that_no_place_attends_to_changes_no_density_and_colour() -> None:
    head = small_head()
    field: Field = head.field
    with torch.no_grad():
        field.attention_out.weight[: field.config.speech_channels] = 0
        field.attention_out.bias[: field.config.speech_channels] = 0
    places, frame = torch.rand(50, 3) * 2 - 1, torch.zeros(50, dtype=torch.long)
    mouth, eyes, look, _, _ = driven()
    one = field(head.shell, places, frame, field.codes(mouth, eyes, look))
    other = field(head.shell, places, frame, field.codes(mouth + 5, eyes, look))
    torch.testing.assert_close(one, other)


def test_before_anything_is_learned_the_surface_is_half_a_millimetre_of_the_relief() -> None:
    head = small_head()
    with torch.no_grad():
        head.field.table.zero_()
        for layer in (head.field.out, head.field.between, head.field.place_in):
            layer.weight.zero_()
            layer.bias.zero_()
    w = torch.linspace(-1, 1, 400)
    places = torch.stack((w * 0, w * 0, w), -1)
    density, _ = head.field(head.shell, places, torch.zeros(400).long(), torch.zeros(1, 32))
    depth = head.shell.depth_cm(places)
    passed = torch.exp(-(density * 2.4 / 400).cumsum(0))
    assert passed[depth < -0.5].min() > 0.95
    assert passed[depth > 0.3].max() < 0.15


def test_without_a_head_the_backdrop_is_seen() -> None:
    head, parts = small_head(), driven()
    with torch.no_grad():
        head.field.table.zero_()
        head.field.out.weight.zero_()
        head.field.table[:, 3] = -40
        head.backdrop.torso_alpha.fill_(-40)
        head.backdrop.torso_look.zero_()
        head.backdrop.plate_look.zero_()
    torch.testing.assert_close(head.draw(*first(parts)), head.backdrop.plate.detach())


def test_the_torso_moves_with_its_pose_and_the_neck_with_the_head() -> None:
    head = small_head()
    rest = still(1)
    moved = rest.clone()
    moved[0, 0, 3] += 2.0  # centimetres to the right: 6 pixels
    pixels = torch.tensor([[[18.0, 17.0]]])
    for share, with_head in ((-30.0, False), (30.0, True)):
        with torch.no_grad():
            head.backdrop.head_share.fill_(share)
        poses = (moved, rest) if with_head else (rest, moved)
        found = head.backdrop.at_rest(pixels, *poses)
        torch.testing.assert_close(found, pixels - torch.tensor([6.0, 0.0]), atol=1e-3, rtol=0)


def test_surveys_find_empty_cells_and_hidden_ones() -> None:
    head = small_head()
    with torch.no_grad():
        for layer in (head.field.out, head.field.between, head.field.place_in):
            layer.weight.zero_()
            layer.bias.zero_()
        head.field.table.zero_()
        fine = head.field.table[: 24 * 20].view(24, 20, 16)
        fine[:, :10, 3] = -40  # the left half is empty
        fine[:, 10:, 3] = 2
    mouth, eyes, look, _, _ = driven()
    head.cell_weight.zero_()
    head.survey(mouth[0], eyes[0], look[0])
    layers, rows, columns = head.config.cells
    assert not head.occupied[:, :, : columns // 2 - 1].any()
    behind = torch.tensor([[0.5, 0.0, 0.9]])  # 1.4 cm behind the surface
    at = torch.tensor([[0.5, 0.0, -1 / 3]])
    for place, wanted in ((behind, False), (at, True)):
        cell, _ = cells_of(place, (layers, rows, columns))
        assert bool(head.occupied.flatten()[cell]) is wanted


def test_twice_the_size_is_the_same_picture() -> None:
    head, parts = small_head(), driven()
    with torch.no_grad():
        head.field.table.mul_(0.2)  # smooth enough for its pixels
        for plane in (head.backdrop.plate, head.backdrop.torso_colour, head.backdrop.torso_alpha):
            plane.fill_(0.3)
    small, large = head.draw(*first(parts)), head.draw(*first(parts), 72)
    averaged = large.view(34, 2, 36, 2, 3).mean((1, 3))
    assert large.shape == (68, 72, 3)
    assert (averaged - small).abs().mean() < 0.02


def test_one_picture_comes_of_each_row() -> None:
    head, frames = small_head(), 3
    parts = driven(frames)
    motion = Motion(*(parts[i].numpy() for i in (3, 4, 1, 2)))
    pictures = list(head.pictures(parts[0], motion))
    assert [p.shape for p in pictures] == [(34, 36, 3)] * 3
    assert pictures[0].dtype == np.uint8
    drawn = head.draw(*first(parts)).clamp(0, 1).numpy()
    assert np.abs(pictures[0] / 255 - drawn).max() <= 0.5 / 255 + 1e-6


def test_it_can_hear_with_another_window_and_looks_the_same() -> None:
    head, parts = small_head(), driven()
    twin = head.hearing_with(SpeechWindow(SpeechWindowConfig(9, MOUTH, 8)))
    assert twin.feature_width == 9
    assert twin.speech(torch.zeros(4, 9)).shape == (4, MOUTH)
    torch.testing.assert_close(twin.draw(*first(parts)), head.draw(*first(parts)))


def test_half_the_resolution_blurs_the_head_and_not_what_is_behind() -> None:
    head, parts = small_head(), driven()
    whole = head.draw(*first(parts))
    head.shortcut = "half-resolution"
    half = head.draw(*first(parts))
    assert 0 < (half - whole).abs().mean() < 0.5 * whole.std()
    with torch.no_grad():
        head.field.table[:, 3] = -60
        head.field.out.weight[3] = 0
    sharp = head.draw(*first(parts))
    head.shortcut = "none"
    torch.testing.assert_close(sharp, head.draw(*first(parts)), atol=1e-5, rtol=0)


def test_a_cache_of_the_density_of_the_face_at_rest_draws_that_face_right() -> None:
    head, parts = small_head(), list(first(driven()))
    parts[:3] = [torch.zeros_like(code) for code in parts[:3]]
    with torch.no_grad():
        head.field.table.mul_(0.1)  # smooth enough for the cache's cells
    whole = head.draw(*parts)
    head.shortcut = "cached-density"
    found = head.draw(*parts)
    assert (found - whole).abs().mean() < 0.03 * whole.std()
    assert (found - whole).abs().max() > 0  # something was left out


@pytest.mark.parametrize("shortcut", ["half-resolution", "cached-density"])
def test_a_shortcut_that_would_not_be_taken_is_refused(shortcut: str) -> None:
    head = small_head().to("meta")  # no CPU, wherever the test runs
    head.shortcut = shortcut  # type: ignore[assignment]
    with pytest.raises(
        InputError, match=f"the shortcut '{shortcut}' is one of the CPU's, and this"
    ):
        head.draw(*(part.to("meta") for part in first(driven())))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_gpu_draws_what_the_cpu_draws_and_takes_no_shortcut() -> None:
    head, frames = small_head(), 2
    parts = driven(frames)
    motion = Motion(*(parts[i].numpy() for i in (3, 4, 1, 2)))
    features = torch.randn(frames, head.feature_width)
    drawn = []
    for device in ("cpu", "cuda"):
        head.to(device)
        with torch.no_grad():
            codes = head.speech(features)  # features come from the CPU
        drawn.append(np.stack(list(head.pictures(codes, motion))).astype(int))
    apart = np.abs(drawn[0] - drawn[1]).max(-1)
    assert np.median(apart) <= 1 and (apart > 3).mean() <= 0.005
    head.shortcut = "half-resolution"
    with pytest.raises(InputError, match="on cuda:0: leave --shortcut out"):
        next(head.pictures(codes, motion))
