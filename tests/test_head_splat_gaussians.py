"""Gaussians as containers."""

from __future__ import annotations

import math

import pytest
import torch

from se4lip.head.splat.gaussians import Gaussians, RawGaussians
from se4lip.types import InputError
from splat_scenes import cloud


def raw_cloud(count: int = 12, seed: int = 0) -> RawGaussians:
    drawn = cloud(count, seed)
    return RawGaussians(
        means=drawn.means,
        log_scales=drawn.scales.log(),
        quats=drawn.quats,
        opacity_logits=torch.logit(drawn.opacities.clamp(0.05, 0.95)),
        colours=drawn.colours,
    )


def test_activation_gives_positive_scales_and_opacities_between_zero_and_one() -> None:
    drawn = raw_cloud().activate()
    torch.testing.assert_close(drawn.scales, cloud(12, 0).scales)
    torch.testing.assert_close(drawn.opacities, cloud(12, 0).opacities.clamp(0.05, 0.95))


def test_gaussians_survive_the_way_through_a_dict_of_tensors() -> None:
    raw = raw_cloud()
    back = RawGaussians.from_tensors({**raw.tensors(), "something_else": torch.zeros(1)})
    for name, tensor in raw.tensors().items():
        assert torch.equal(back.tensors()[name], tensor)


def test_a_damaged_dict_is_refused() -> None:
    tensors = raw_cloud().tensors()
    with pytest.raises(InputError) as refused:
        RawGaussians.from_tensors({"means": tensors["means"], "quats": tensors["quats"]})
    assert str(refused.value) == (
        "Gaussians lack log_scales, opacity_logits, colours (have means, quats): "
        "the file is not a set of Gaussians, or is damaged"
    )
    with pytest.raises(InputError) as refused:
        RawGaussians.from_tensors({**tensors, "quats": tensors["quats"] * math.nan})
    assert str(refused.value) == "quats holds NaN or infinite values: the file is damaged"


def test_fields_that_do_not_go_together_are_refused() -> None:
    fields = cloud(4, 0).tensors()
    with pytest.raises(InputError) as refused:
        Gaussians(**{**fields, "opacities": torch.ones(5)})
    assert str(refused.value) == (
        "opacities has shape [5], but [4] is needed to go with means of shape [4, 3]"
    )
    with pytest.raises(InputError) as refused:
        Gaussians(**{**fields, "scales": fields["scales"].double()})
    assert str(refused.value) == (
        "scales is torch.float64 on cpu, but means are torch.float32 on cpu: "
        "convert them to one dtype and device"
    )
    with pytest.raises(InputError) as refused:
        Gaussians(**{**fields, "colours": torch.ones(4, 9)})
    assert str(refused.value) == (
        "colours have shape [4, 9], but [N, C] with C from 1 to 8 is needed"
    )
