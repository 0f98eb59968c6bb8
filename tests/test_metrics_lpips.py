"""LPIPS as published: its layers, and a network small enough to be worked out by hand."""

from __future__ import annotations

import pytest
import torch

from se4lip.metrics.lpips import Backbone, Lpips
from se4lip.types import InputError


def _published(backbone: Backbone, seed: int = 0) -> tuple[dict, dict]:
    """States with the names of torchvision's and the authors' files, of random numbers."""
    generator = torch.Generator().manual_seed(seed)
    model = Lpips(backbone)
    network, heads = {"classifier.1.weight": torch.zeros(1)}, {}
    for name, value in model.state_dict().items():
        made = 0.05 * torch.randn(value.shape, generator=generator)
        if name.startswith("features."):
            network[name] = made
        elif name.startswith("heads."):
            heads[f"lin{name.split('.')[1]}.model.1.weight"] = made.abs()
    return network, heads


@pytest.mark.parametrize(("backbone", "parameters"), [("alex", 2_469_696), ("vgg", 14_714_688)])
def test_the_backbones_are_those_of_torchvision(backbone: Backbone, parameters: int) -> None:
    features = Lpips(backbone).features
    assert sum(p.numel() for p in features.parameters()) == parameters
    last = "10" if backbone == "alex" else "28"
    assert features.get_submodule(last).out_channels == (256 if backbone == "alex" else 512)


@pytest.mark.parametrize("backbone", ["alex", "vgg"])
def test_five_stages_are_compared_each_after_its_relu(backbone: Backbone) -> None:
    model = Lpips.from_published(backbone, *_published(backbone))
    stages = model._stages(torch.rand(1, 3, 64, 64))
    channels = [64, 192, 384, 256, 256] if backbone == "alex" else [64, 128, 256, 512, 512]
    assert [stage.shape[1] for stage in stages] == channels
    sizes = [15, 7, 3, 3, 3] if backbone == "alex" else [64, 32, 16, 8, 4]
    assert [stage.shape[2] for stage in stages] == sizes
    assert all((stage >= 0).all() for stage in stages)


def test_equal_pictures_have_no_distance_and_the_distance_is_symmetric() -> None:
    model = Lpips.from_published("alex", *_published("alex"))
    generator = torch.Generator().manual_seed(1)
    a, b = (torch.rand(2, 3, 40, 48, generator=generator) for _ in range(2))
    assert model(a, a).tolist() == [0, 0]
    assert (model(a, b) > 0).all()
    torch.testing.assert_close(model(a, b), model(b, a))
    torch.testing.assert_close(model(a, b)[1:], model(a[1:], b[1:]))


def test_the_distance_of_flat_pictures_is_the_one_worked_out_by_hand() -> None:
    """One channel of each stage passes red on, one green; every stage then sees unit vectors."""
    network, heads = _published("vgg")
    for name in network:
        network[name] = torch.zeros_like(network[name])
    for layer in (0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28):
        network[f"features.{layer}.weight"][0, 0, 1, 1] = 1.0
        network[f"features.{layer}.weight"][1, 1, 1, 1] = 1.0
    for index in range(5):
        heads[f"lin{index}.model.1.weight"] = torch.zeros_like(heads[f"lin{index}.model.1.weight"])
        heads[f"lin{index}.model.1.weight"][0, :2] = index + 1.0
    model = Lpips.from_published("vgg", network, heads)
    flat = torch.ones(1, 3, 32, 32)
    red = torch.tensor([1.0, 0.2, 0.5])[:, None, None] * flat  # green is below its mean: cut off
    green = torch.tensor([0.2, 1.0, 0.5])[:, None, None] * flat
    # Unit vectors (1, 0) and (0, 1) at every stage: |difference|^2 = 1 + 1, heads 1 ... 5.
    assert model(red, green).item() == pytest.approx(2 * (1 + 2 + 3 + 4 + 5), rel=1e-5)


@pytest.mark.parametrize("spoil", ["network", "heads", "swapped"])
def test_other_weights_are_refused_in_one_sentence(spoil: str) -> None:
    network, heads = _published("alex")
    if spoil == "network":
        del network["features.8.bias"]
    elif spoil == "heads":
        heads["lin4.model.1.weight"] = torch.zeros(1, 512, 1, 1)
    else:
        network, heads = heads, network
    with pytest.raises(InputError) as wrong:
        Lpips.from_published("alex", network, heads)
    assert str(wrong.value) == (
        "the weights given are not those of LPIPS (alex): give torchvision's alexnet and the "
        "authors' alex.pth"
    )


def test_pictures_too_small_for_the_network_are_refused() -> None:
    with pytest.raises(InputError) as wrong:
        Lpips("alex")(torch.rand(1, 3, 31, 64), torch.rand(1, 3, 31, 64))
    assert str(wrong.value) == (
        "pictures have the shapes [1, 3, 31, 64] and [1, 3, 31, 64], but LPIPS needs one size of "
        "at least 32 px: bring them to the same framing"
    )
