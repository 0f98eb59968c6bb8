"""Gaussians as containers, their first guess, and how they multiply."""

from __future__ import annotations

import math

import pytest
import torch

from se4lip.head.splat import densify as growing
from se4lip.head.splat.densify import DensifyConfig, Pull, densify
from se4lip.head.splat.gaussians import (
    Gaussians,
    RawGaussians,
    concatenated,
    gaussians_from_points,
    selected,
)
from se4lip.head.splat.raster import rasterize
from se4lip.types import InputError
from splat_scenes import cloud, square_camera


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


def test_a_scene_of_two_parts_is_both_parts() -> None:
    a, b = cloud(3, 0), cloud(5, 1)
    both = concatenated(a, b)
    assert len(both) == 8
    assert torch.equal(both.means, torch.cat([a.means, b.means]))


def test_points_of_a_grid_become_gaussians_as_wide_as_its_mesh() -> None:
    axis = torch.arange(5) * 0.3
    points = torch.cartesian_prod(axis, axis, axis)
    raw = gaussians_from_points(points, torch.rand(125, 3), opacity=0.3)
    inner = ((points > 0.2) & (points < 1.0)).all(-1)
    torch.testing.assert_close(raw.log_scales[inner].exp(), torch.full((27, 3), 0.3))
    torch.testing.assert_close(raw.activate().opacities, torch.full((125,), 0.3))


def test_points_on_top_of_each_other_still_make_finite_gaussians() -> None:
    raw = gaussians_from_points(torch.zeros(6, 3), torch.rand(6, 3))
    assert raw.log_scales.isfinite().all()


def test_a_single_point_has_no_neighbour_to_take_its_size_from() -> None:
    with pytest.raises(InputError) as refused:
        gaussians_from_points(torch.zeros(1, 3), torch.zeros(1, 3))
    assert str(refused.value) == "1 points have no neighbours: at least 2 points are needed"
    with pytest.raises(InputError) as refused:
        gaussians_from_points(torch.zeros(4, 3), torch.zeros(4, 3), opacity=1.0)
    assert str(refused.value) == "opacity 1.0 is not inside (0, 1), which a sigmoid can reach"


CONFIG = DensifyConfig(grow_above=1.0, split_above=0.1, prune_above=10.0, prune_below=0.0)


def pulled(raw: RawGaussians, rows: list[int], strength: float = 2.0) -> Pull:
    pull = Pull.none(raw)
    pull.total[rows] = strength
    pull.pictures[rows] = 1
    return pull


def test_the_pull_is_the_mean_slope_per_half_picture_over_pictures_that_saw_it() -> None:
    raw, camera = raw_cloud(2), square_camera(20)
    pull = Pull.none(raw)
    pull = pull.with_picture(torch.tensor([[0.3, 0.4], [0.0, 0.0]]), camera)
    pull = pull.with_picture(torch.tensor([[0.0, 0.1], [0.0, 0.2]]), camera)
    torch.testing.assert_close(pull.mean(), torch.tensor([(5.0 + 1.0) / 2, 2.0]))


def test_what_nothing_pulls_at_stays_as_it_is() -> None:
    raw = raw_cloud()
    grown = densify(raw, Pull.none(raw), 1.0, CONFIG)
    for name, tensor in raw.tensors().items():
        assert torch.equal(grown.raw.tensors()[name], tensor)
    assert grown.parents.tolist() == list(range(12)) and not grown.fresh.any()


def test_a_small_gaussian_is_cloned_without_changing_its_picture() -> None:
    raw = RawGaussians(
        means=torch.tensor([[0.0, 0.0, 4.0], [0.3, 0.2, 5.0]]),
        log_scales=torch.full((2, 3), math.log(0.05)),
        quats=torch.tensor([[1.0, 0.0, 0.0, 0.0]] * 2),
        opacity_logits=torch.tensor([-1.0, 0.5]),
        colours=torch.rand(2, 3),
    )
    grown = densify(raw, pulled(raw, [0]), extent=1.0, config=CONFIG)
    assert grown.parents.tolist() == [0, 0, 1]
    assert grown.fresh.tolist() == [False, True, False]
    camera = square_camera(33, 60.0)
    before, _ = rasterize(raw.activate(), camera, backend="oracle")
    after, _ = rasterize(grown.raw.activate(), camera, backend="oracle")
    centre = (slice(15, 18), slice(15, 18))
    # exact at the peak; on the flanks two half-opaque layers are a little wider than one
    torch.testing.assert_close(after[16, 16], before[16, 16], atol=1e-5, rtol=0)
    torch.testing.assert_close(after[centre], before[centre], atol=0.01, rtol=0)


def test_a_large_gaussian_is_replaced_by_two_smaller_ones_drawn_from_it() -> None:
    count = 4000
    raw = RawGaussians(
        means=torch.tensor([[1.0, 2.0, 3.0]]).repeat(count, 1),
        log_scales=torch.tensor([[0.5, 0.2, 0.1]]).log().repeat(count, 1),
        quats=torch.tensor([[1.0, 0.0, 0.0, 1.0]]).repeat(count, 1),  # x goes to y
        opacity_logits=torch.zeros(count),
        colours=torch.zeros(count, 3),
    )
    config = DensifyConfig(grow_above=1.0, split_above=0.1, prune_above=1.0, most=10**6)
    generator = torch.Generator().manual_seed(0)
    grown = densify(raw, pulled(raw, list(range(count))), 1.0, config, generator)
    assert len(grown.raw) == 2 * count and grown.fresh.all()
    torch.testing.assert_close(grown.raw.log_scales.exp() * 1.6, raw.log_scales.exp().repeat(2, 1))
    spread = grown.raw.means - torch.tensor([1.0, 2.0, 3.0])
    torch.testing.assert_close(spread.std(0), torch.tensor([0.2, 0.5, 0.1]), rtol=0.05, atol=0)


def test_the_invisible_and_the_huge_are_removed() -> None:
    raw = raw_cloud(5)
    raw.opacity_logits[1] = -9.0
    raw.log_scales[3, 2] = math.log(2.0)
    config = DensifyConfig(prune_below=0.005, prune_above=1.0)
    grown = densify(raw, Pull.none(raw), 1.0, config)
    assert grown.parents.tolist() == [0, 2, 4]
    assert torch.equal(grown.raw.means, raw.means[[0, 2, 4]])


def test_growth_stops_at_the_limit_and_the_strongest_pull_goes_first() -> None:
    raw = raw_cloud(5)
    pull = Pull(torch.tensor([3.0, 9.0, 5.0, 0.5, 7.0]), torch.ones(5))
    config = DensifyConfig(grow_above=1.0, prune_above=10.0, prune_below=0.0, most=7)
    assert densify(raw, pull, 1.0, config).parents.tolist() == [0, 1, 1, 2, 3, 4, 4]


def test_optimiser_moments_and_runs_follow_their_gaussians() -> None:
    raw = raw_cloud(4)
    raw.opacity_logits[0] = -20.0
    config = DensifyConfig(grow_above=1.0, split_above=100.0, prune_above=200.0)
    grown = densify(raw, pulled(raw, [2]), 1.0, config)
    assert grown.parents.tolist() == [1, 2, 2, 3]
    moments = torch.arange(12.0).reshape(4, 3) + 1
    expected = torch.stack([moments[1], moments[2], torch.zeros(3), moments[3]])
    assert torch.equal(growing.inherited(moments, grown), expected)
    # rows [0, 2) and [2, 4) were two runs; now they are [0, 1) and [1, 4)
    assert growing.moved_boundaries(torch.tensor([0, 2, 4]), grown).tolist() == [0, 1, 4]


def test_a_pull_from_before_the_last_growth_is_refused() -> None:
    raw = raw_cloud(4)
    with pytest.raises(InputError) as refused:
        densify(raw, Pull.none(selected(raw, torch.arange(3))), 1.0, CONFIG)
    assert str(refused.value) == (
        "the pull was gathered for 3 Gaussians, but there are 4: start from Pull.none after "
        "each change"
    )
