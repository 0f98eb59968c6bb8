"""Adds Gaussians where the picture pulls at them, and removes those that do nothing.

Pure functions on tensors. They return new Gaussians and, for each of them, the row of its parent:
rows stay in their parents' order, so a run of rows that belongs to one branch stays one run
(`moved_boundaries`), and an optimiser's moments follow by `inherited`.

The pull is the length of the loss's slope along the picture plane, per half picture, averaged over
the pictures in which the Gaussian was seen: the gradient of `rasterize`'s ``screen_offsets_px``.

Source: Kerbl et al. 2023, section 5.2; the opacity of clones from Rota Bulo et al. 2024.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from se4lip.head.camera import rotation_from_quat
from se4lip.head.splat.gaussians import RawGaussians, selected
from se4lip.types import Camera, InputError

SPLIT_SHRINK = 1.6


@dataclass(frozen=True)
class DensifyConfig:
    """``grow_above``: pull beyond which a Gaussian becomes two. ``split_above`` and
    ``prune_above``: largest scale beyond which it is split, not cloned, and beyond which it is
    removed, as fractions of the scene's extent. ``prune_below``: opacity. ``most``: how many
    Gaussians there may be; the strongest pulls come first."""

    grow_above: float = 2e-4
    split_above: float = 0.01
    prune_above: float = 0.5
    prune_below: float = 0.005
    most: int = 20_000


@dataclass(frozen=True, eq=False)
class Pull:
    """What pulled at each Gaussian so far: the sum of slopes, and in how many pictures."""

    total: Float[Tensor, " N"]
    pictures: Float[Tensor, " N"]

    @classmethod
    def none(cls, raw: RawGaussians) -> Pull:
        return cls(torch.zeros_like(raw.opacity_logits), torch.zeros_like(raw.opacity_logits))

    def with_picture(self, offsets_grad: Float[Tensor, "N 2"], camera: Camera) -> Pull:
        """Adds one picture's gradient of ``screen_offsets_px``. Zero means not seen."""
        half_picture = offsets_grad.new_tensor([camera.width_px / 2, camera.height_px / 2])
        slope = (offsets_grad * half_picture).norm(dim=-1)
        return Pull(self.total + slope, self.pictures + (slope > 0))

    def mean(self) -> Float[Tensor, " N"]:
        return self.total / self.pictures.clamp_min(1)


@dataclass(frozen=True, eq=False)
class Grown:
    """New Gaussians, the row each comes from (never decreasing), and whether it is new there."""

    raw: RawGaussians
    parents: Int[Tensor, " M"]
    fresh: Bool[Tensor, " M"]


def densify(
    raw: RawGaussians,
    pull: Pull,
    extent: float,
    config: DensifyConfig,
    generator: torch.Generator | None = None,
) -> Grown:
    """Removes the invisible and the huge, then makes two of those that are pulled at.

    A small one is cloned in place, each of the two as opaque as makes the old opacity together. A
    large one is replaced by two drawn from itself, 1.6 times smaller. ``extent`` is the size of the
    scene in the unit of the means.

    Raises: InputError when ``pull`` was gathered for another number of Gaussians.
    """
    if len(pull.total) != len(raw):
        raise InputError(
            f"the pull was gathered for {len(pull.total)} Gaussians, but there are {len(raw)}: "
            "start from Pull.none after each change"
        )
    with torch.no_grad():
        largest = raw.log_scales.amax(-1).exp()
        keep = (raw.opacity_logits.sigmoid() >= config.prune_below) & (
            largest <= config.prune_above * extent
        )
        strength = torch.where(keep, pull.mean(), 0)
        room = max(0, config.most - int(keep.sum()))
        strongest = strength.topk(min(room, len(raw))).indices
        grow = torch.zeros_like(keep)
        grow[strongest] = strength[strongest] > config.grow_above
        split = grow & (largest > config.split_above * extent)

        rows = torch.arange(len(raw), device=raw.means.device)
        parents = rows.repeat_interleave(keep * (1 + grow.long()))
        second = torch.zeros_like(parents, dtype=torch.bool)
        second[1:] = parents[1:] == parents[:-1]
        born = split[parents]
        children = dict(selected(raw, parents).tensors())

        noise = torch.randn(
            children["means"].shape,
            generator=generator,
            dtype=raw.means.dtype,
            device=raw.means.device,
        )
        step = rotation_from_quat(children["quats"]) @ (
            children["log_scales"].exp() * noise
        ).unsqueeze(-1)
        children["means"] = torch.where(
            born[:, None], children["means"] + step.squeeze(-1), children["means"]
        )
        children["log_scales"] = children["log_scales"] - torch.where(
            born[:, None], torch.tensor(SPLIT_SHRINK, dtype=raw.means.dtype).log(), 0
        )
        cloned = (grow & ~split)[parents]
        halved = 1 - (1 - children["opacity_logits"].sigmoid()).sqrt()
        children["opacity_logits"] = torch.where(
            cloned, torch.logit(halved, eps=1e-6), children["opacity_logits"]
        )
    return Grown(RawGaussians(**children), parents, second | born)


def inherited(moments: Float[Tensor, "N ..."], grown: Grown) -> Float[Tensor, "M ..."]:
    """An optimiser's moments for the new rows: the parent's, or zero where the row is new."""
    kept = ~grown.fresh.reshape(-1, *[1] * (moments.ndim - 1))
    return torch.where(kept, moments[grown.parents], 0)


def moved_boundaries(boundaries: Int[Tensor, " K"], grown: Grown) -> Int[Tensor, " K"]:
    """Where runs of rows begin after growing, given where they began before."""
    return torch.searchsorted(grown.parents, boundaries)
