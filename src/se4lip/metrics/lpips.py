"""LPIPS as published: deep features of two pictures, weighed by learned heads.

No weights come with se4lip and nothing else is ever reported under this name: `io.judges` reads
the ImageNet backbone of torchvision and the heads (version 0.1) of the authors.

Source: Zhang, Isola, Efros, Shechtman, Wang, "The unreasonable effectiveness of deep features as a
perceptual metric", CVPR 2018, eq. 1; layers and scaling as in their package `lpips` (BSD-2).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from se4lip.types import InputError

Backbone = Literal["alex", "vgg"]
# Smaller pictures leave AlexNet's or VGG's last layers without a pixel.
SMALLEST_PX = 32

_MEAN, _SCALE = (-0.030, -0.088, -0.188), (0.458, 0.448, 0.450)  # of RGB in [-1, 1]
# Layers of torchvision's `features`, each stage ending in the ReLU whose output is compared.
# An integer is a 3x3 convolution to so many channels, "pool" halves.
_VGG16: tuple[tuple[int | str, ...], ...] = (
    (64, 64),
    ("pool", 128, 128),
    ("pool", 256, 256, 256),
    ("pool", 512, 512, 512),
    ("pool", 512, 512, 512),
)


class Lpips(nn.Module):
    """Distance of pictures, 0 for equal ones."""

    mean: Tensor
    scale: Tensor

    def __init__(self, backbone: Backbone = "alex") -> None:
        super().__init__()
        self.backbone = backbone
        layers, self.taps = _alexnet() if backbone == "alex" else _vgg16()
        self.features = nn.Sequential(*layers)
        channels = (64, 192, 384, 256, 256) if backbone == "alex" else (64, 128, 256, 512, 512)
        self.heads = nn.ModuleList(nn.Conv2d(c, 1, 1, bias=False) for c in channels)
        self.register_buffer("mean", torch.tensor(_MEAN)[:, None, None])
        self.register_buffer("scale", torch.tensor(_SCALE)[:, None, None])

    @staticmethod
    def from_published(
        backbone: Backbone, network: Mapping[str, Tensor], heads: Mapping[str, Tensor]
    ) -> Lpips:
        """Of torchvision's `alexnet` or `vgg16` state and of the authors' `alex.pth` or `vgg.pth`.

        Raises:
            InputError: tensors are missing or have other shapes.
        """
        model = Lpips(backbone)
        state = {name: network[name] for name in network if name.startswith("features.")}
        for index in range(len(model.heads)):
            name = f"lin{index}.model.1.weight"
            if name in heads:
                state[f"heads.{index}.weight"] = heads[name]
        wanted = {name: value.shape for name, value in model.state_dict().items()}
        del wanted["mean"], wanted["scale"]
        if wanted != {name: value.shape for name, value in state.items()}:
            raise InputError(
                f"the weights given are not those of LPIPS ({backbone}): give torchvision's "
                f"{'alexnet' if backbone == 'alex' else 'vgg16'} and the authors' {backbone}.pth"
            )
        model.load_state_dict({**model.state_dict(), **state})
        return model.eval().requires_grad_(False)

    def forward(
        self, predicted: Float[Tensor, "B 3 H W"], real: Float[Tensor, "B 3 H W"]
    ) -> Float[Tensor, " B"]:
        """Distance of RGB pictures of data range 1, averaged over the picture."""
        if predicted.shape != real.shape or min(predicted.shape[-2:]) < SMALLEST_PX:
            raise InputError(
                f"pictures have the shapes {list(predicted.shape)} and {list(real.shape)}, but "
                f"LPIPS needs one size of at least {SMALLEST_PX} px: bring them to the same framing"
            )
        total = predicted.new_zeros(len(predicted))
        stages = zip(self._stages(predicted), self._stages(real), self.heads, strict=True)
        for ours, theirs, head in stages:
            apart = (_unit(ours) - _unit(theirs)).square()
            total = total + head(apart).mean((1, 2, 3))
        return total

    def _stages(self, pictures: Float[Tensor, "B 3 H W"]) -> list[Tensor]:
        values = (2 * pictures - 1 - self.mean) / self.scale
        stages = []
        for index, layer in enumerate(self.features):
            values = layer(values)
            if index in self.taps:
                stages.append(values)
        return stages


def _unit(values: Float[Tensor, "B C H W"]) -> Float[Tensor, "B C H W"]:
    return values / (values.square().sum(1, keepdim=True).sqrt() + 1e-10)


def _alexnet() -> tuple[list[nn.Module], tuple[int, ...]]:
    layers: list[nn.Module] = [
        *(nn.Conv2d(3, 64, 11, stride=4, padding=2), nn.ReLU(), nn.MaxPool2d(3, 2)),
        *(nn.Conv2d(64, 192, 5, padding=2), nn.ReLU(), nn.MaxPool2d(3, 2)),
        *(nn.Conv2d(192, 384, 3, padding=1), nn.ReLU()),
        *(nn.Conv2d(384, 256, 3, padding=1), nn.ReLU()),
        *(nn.Conv2d(256, 256, 3, padding=1), nn.ReLU()),
    ]
    return layers, tuple(i for i, layer in enumerate(layers) if isinstance(layer, nn.ReLU))


def _vgg16() -> tuple[list[nn.Module], tuple[int, ...]]:
    layers: list[nn.Module] = []
    taps, before = [], 3
    for stage in _VGG16:
        for entry in stage:
            if isinstance(entry, int):
                layers += [nn.Conv2d(before, entry, 3, padding=1), nn.ReLU()]
                before = entry
            else:
                layers.append(nn.MaxPool2d(2, 2))
        taps.append(len(layers) - 1)
    return layers, tuple(taps)
