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
from jaxtyping import Float
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
