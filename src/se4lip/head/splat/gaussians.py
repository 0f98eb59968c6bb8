"""The scene: N anisotropic 3D Gaussians, as drawn and as learned.

`Gaussians` is what the rasteriser takes: every field in its own natural range. `RawGaussians`
is what an optimiser holds: every field free to be any real number. ``raw.activate()`` goes from
the one to the other.

    means      [N, 3]  centres in head coordinates
    scales     [N, 3]  standard deviations along the Gaussian's own axes, same unit as means
    quats      [N, 4]  head_from_gaussian rotation, (w, x, y, z), any length but zero
    opacities  [N]     peak opacity in [0, 1]
    colours    [N, C]  linear colour channels, unbounded; C = 3 for RGB, up to 8 with masks or depth
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields

import torch
from jaxtyping import Float, Int
from torch import Tensor

from se4lip.types import InputError

MAX_CHANNELS = 8


def _check_shapes(holder: object, widths: Mapping[str, tuple[int, ...]]) -> None:
    count = len(holder.means)  # type: ignore[attr-defined]
    dtype, device = holder.means.dtype, holder.means.device  # type: ignore[attr-defined]
    for name, tail in widths.items():
        tensor = getattr(holder, name)
        if tuple(tensor.shape) != (count, *tail):
            raise InputError(
                f"{name} has shape {list(tensor.shape)}, but {[count, *tail]} is needed "
                f"to go with means of shape {list(holder.means.shape)}"  # type: ignore[attr-defined]
            )
        if tensor.dtype != dtype or tensor.device != device:
            raise InputError(
                f"{name} is {tensor.dtype} on {tensor.device}, but means are {dtype} on {device}: "
                "convert them to one dtype and device"
            )


def _check_channels(colours: Tensor) -> int:
    if colours.ndim != 2 or not 1 <= colours.shape[1] <= MAX_CHANNELS:
        raise InputError(
            f"colours have shape {list(colours.shape)}, but [N, C] with C from 1 to {MAX_CHANNELS} "
            "is needed"
        )
    return int(colours.shape[1])


@dataclass(frozen=True, eq=False)
class Gaussians:
    """Gaussians ready to be drawn (ranges at the top of this file). Shapes are checked here, values
    where they are drawn."""

    means: Float[Tensor, "N 3"]
    scales: Float[Tensor, "N 3"]
    quats: Float[Tensor, "N 4"]
    opacities: Float[Tensor, " N"]
    colours: Float[Tensor, "N C"]

    def __post_init__(self) -> None:
        channels = _check_channels(self.colours)
        _check_shapes(
            self,
            {"means": (3,), "scales": (3,), "quats": (4,), "opacities": (), "colours": (channels,)},
        )

    def __len__(self) -> int:
        return len(self.means)

    @property
    def channels(self) -> int:
        return int(self.colours.shape[1])

    def tensors(self) -> dict[str, Tensor]:
        """The fields by name, not copied."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    def to(self, target: torch.dtype | torch.device | str) -> Gaussians:
        """Every field in another dtype or on another device."""
        return Gaussians(**{name: t.to(target) for name, t in self.tensors().items()})

    def detach(self) -> Gaussians:
        return Gaussians(**{k: v.detach() for k, v in self.tensors().items()})


@dataclass(frozen=True, eq=False)
class RawGaussians:
    """Gaussians as an optimiser holds them: unbounded numbers.

    ``scales = exp(log_scales)``, ``opacities = sigmoid(opacity_logits)``; the rest is as drawn.
    The field names are the tensor names in a weights file.
    """

    means: Float[Tensor, "N 3"]
    log_scales: Float[Tensor, "N 3"]
    quats: Float[Tensor, "N 4"]
    opacity_logits: Float[Tensor, " N"]
    colours: Float[Tensor, "N C"]

    def __post_init__(self) -> None:
        channels = _check_channels(self.colours)
        _check_shapes(
            self,
            {
                "means": (3,),
                "log_scales": (3,),
                "quats": (4,),
                "opacity_logits": (),
                "colours": (channels,),
            },
        )

    def __len__(self) -> int:
        return len(self.means)

    def activate(self) -> Gaussians:
        """The Gaussians as drawn; differentiable."""
        return Gaussians(
            means=self.means,
            scales=self.log_scales.exp(),
            quats=self.quats,
            opacities=self.opacity_logits.sigmoid(),
            colours=self.colours,
        )

    def tensors(self) -> dict[str, Tensor]:
        """The fields by name, not copied: what a weights file or a `ParameterDict` holds."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Tensor]) -> RawGaussians:
        """Undoes `tensors`; further names in the mapping are left alone.

        Raises: InputError when a field is missing, misshapen, or not finite.
        """
        missing = [field.name for field in fields(cls) if field.name not in tensors]
        if missing:
            raise InputError(
                f"Gaussians lack {', '.join(missing)} (have {', '.join(sorted(tensors))}): "
                "the file is not a set of Gaussians, or is damaged"
            )
        raw = cls(**{field.name: tensors[field.name] for field in fields(cls)})
        for name, tensor in raw.tensors().items():
            if not tensor.isfinite().all():
                raise InputError(f"{name} holds NaN or infinite values: the file is damaged")
        return raw


def concatenated(*parts: Gaussians) -> Gaussians:
    """One scene of several, e.g. face and mouth interior; they occlude each other by depth."""
    return Gaussians(
        **{
            field.name: torch.cat([getattr(part, field.name) for part in parts])
            for field in fields(Gaussians)
        }
    )


def neighbour_distances(points: Float[Tensor, "N 3"], neighbours: int = 3) -> Float[Tensor, " N"]:
    """Root mean square distance from each point to its ``neighbours`` nearest others.

    Exact, in blocks of rows, O(N^2): 0.5 s for 15k points on one core.
    """
    near = min(neighbours, len(points) - 1)
    if near < 1:
        raise InputError(f"{len(points)} points have no neighbours: at least 2 points are needed")
    found = [
        torch.cdist(block, points).topk(near + 1, largest=False).values[:, 1:]
        for block in points.split(1024)
    ]
    return torch.cat(found).square().mean(-1).sqrt()


def gaussians_from_points(
    points: Float[Tensor, "N 3"],
    colours: Float[Tensor, "N C"],
    opacity: float = 0.1,
    relative_scale: float = 1.0,
) -> RawGaussians:
    """Round Gaussians on a point set, each as wide as the distance to its neighbours.

    Source: Kerbl et al. 2023, section 5.1 (initial covariance from the three nearest neighbours).
    Raises: InputError when there are fewer than two points or ``opacity`` is not inside (0, 1).
    """
    if not 0 < opacity < 1:
        raise InputError(f"opacity {opacity} is not inside (0, 1), which a sigmoid can reach")
    distance = neighbour_distances(points) * relative_scale
    # coincident points would have zero scale, whose logarithm is -inf
    floor = distance.mean().clamp_min(1e-6) * 1e-3
    count = len(points)
    quats = points.new_zeros(count, 4)
    quats[:, 0] = 1
    logit = torch.logit(torch.tensor(opacity, dtype=torch.float64)).item()
    return RawGaussians(
        means=points.clone(),
        log_scales=distance.clamp_min(floor).log()[:, None].repeat(1, 3),
        quats=quats,
        opacity_logits=points.new_full((count,), logit),
        colours=colours.clone(),
    )


def selected(raw: RawGaussians, index: Int[Tensor, " M"]) -> RawGaussians:
    """The Gaussians at the given rows, in that order, repeats allowed."""
    return RawGaussians(**{name: tensor[index] for name, tensor in raw.tensors().items()})
