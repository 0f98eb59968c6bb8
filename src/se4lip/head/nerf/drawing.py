"""Whole pictures on a CPU: the field drawn by one compiled pass (`draw_kernels`).

The numbers are those of `NerfHead.colours`, which is held to by tests, less what is behind a
ray that is opaque already. What of the first layers depends on the place alone is linear in the
planes, so it is worked out once for every texel instead of once for every sample.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Float, Float32
from torch import Tensor, nn
from torch.nn import functional

from se4lip.head.lanes import lane_count, run_in_lanes
from se4lip.head.nerf.field import DENSEST, Field
from se4lip.head.nerf.planes import CHANNELS
from se4lip.head.nerf.sampling import LEAST_COSINE, MEETINGS
from se4lip.types import Camera

if TYPE_CHECKING:
    from se4lip.head.nerf.head import NerfHead

Cached = Float32[np.ndarray, "layers rows columns"]
NO_CACHE: Cached = np.zeros((0, 0, 0), np.float32)
_PLACES_AT_ONCE = 1 << 15

Layer = Float32[np.ndarray, " G_inputs_16"]


@dataclass(frozen=True, eq=False)
class Baked:
    """A field as the kernel reads it; arrays as in `draw_kernels`."""

    version: tuple[tuple[int, int], ...]
    table: Float32[np.ndarray, " texels_wide"]
    attention_out: Layer
    attention_bias: Layer
    code_in: Layer
    between: Layer
    between_bias: Layer
    last: Layer
    last_bias: Layer

    def is_of(self, field: Field) -> bool:
        return self.version == _version(field)


@torch.no_grad()
def bake(field: Field) -> Baked:
    parts = []
    for number, level in enumerate(field.config.levels):
        texels = field.table[level.first : level.first + level.texels]
        inputs = slice(number * CHANNELS, (number + 1) * CHANNELS)
        first = number == 0
        hidden = [
            functional.linear(texels, layer.weight[:, inputs], layer.bias if first else None)
            for layer in (field.attention_in, field.place_in)
        ]
        parts.append(torch.cat((texels if first else torch.zeros_like(texels), *hidden), dim=1))
    last = functional.pad(field.out.weight, (0, 0, 0, CHANNELS - 4))
    return Baked(
        version=_version(field),
        table=torch.cat(parts).flatten().numpy(),
        attention_out=_layer(field.attention_out.weight),
        attention_bias=_numbers(field.attention_out.bias),
        code_in=_layer(field.code_in.weight),
        between=_layer(field.between.weight),
        between_bias=_numbers(field.between.bias),
        last=_layer(last),
        last_bias=_numbers(functional.pad(field.out.bias, (0, CHANNELS - 4))),
    )


@torch.no_grad()
def cache_density(head: NerfHead) -> Cached:
    """Density of the face at rest, at twice the planes' spacing across and half that of layers."""
    field = head.config.field
    shape = 2 * field.layers, field.rows // 2, field.columns // 2
    ticks = [(torch.arange(count) + 0.5) * 2 / count - 1 for count in shape]
    z, y, x = torch.meshgrid(*ticks, indexing="ij")
    places = torch.stack((x, y, z), -1).view(-1, 3)
    shell = head.config.shell
    at_rest = (torch.zeros(1, n) for n in (shell.mouth_width, shell.eye_width, shell.look_width))
    codes = head.field.codes(*at_rest)
    found = [
        head.field(head.shell, block, torch.zeros(len(block), dtype=torch.long), codes)[0]
        for block in places.split(_PLACES_AT_ONCE)
    ]
    return torch.cat(found).view(shape).numpy()


def draw_field(
    head: NerfHead,
    baked: Baked,
    cached: Cached,
    codes: Float[Tensor, " codes"],
    bent: Float[Tensor, "rows columns 3"],
    camera_from_head: Float[Tensor, "3 4"],
    camera: Camera,
) -> Float[Tensor, "H W 4"]:
    """Colours of the field before nothing, and what is seen through it, for one frame."""
    from se4lip.head.nerf import draw_kernels

    shell, field, config = head.config.shell, head.config.field, head.config
    surface = head.shell.surface(bent[None])[0]
    maps = _numbers(torch.cat((bent, surface[..., None]), -1))
    box = (
        shell.left_cm,
        shell.top_cm,
        shell.right_cm - shell.left_cm,
        shell.bottom_cm - shell.top_cm,
        shell.front_cm,
        shell.thickness_cm,
        shell.fade_cm,
    )
    shapes = [[v.across, v.down, v.rows, v.columns, v.first] for v in field.levels]
    out = np.empty((camera.height_px, camera.width_px, 4), np.float32)
    run_in_lanes(
        draw_kernels.draw_rows,
        lane_count(),
        np.array([camera.focal_px, camera.cx_px, camera.cy_px], np.float32),
        camera_from_head.numpy().astype(np.float32),
        np.array(box, np.float32),
        maps,
        shell.rows,
        shell.columns,
        np.float32(surface.mean()),
        np.float32(LEAST_COSINE),
        MEETINGS,
        _numbers(head.shell.relief_cm),
        head.occupied.numpy(),
        cached,
        baked.table,
        np.array(shapes, np.int64),
        baked.attention_out,
        baked.attention_bias,
        baked.code_in,
        baked.between,
        baked.between_bias,
        baked.last,
        baked.last_bias,
        _numbers(codes),
        field.speech_channels,
        np.array([field.at_surface, field.slope, field.grows_cm, DENSEST], np.float32),
        config.steps,
        out,
    )
    return torch.from_numpy(out)


def _version(module: nn.Module) -> tuple[tuple[int, int], ...]:
    # What was made under `torch.inference_mode` counts no versions, and seldom changes.
    return tuple((p.data_ptr(), 0 if p.is_inference() else p._version) for p in module.parameters())


def _layer(weight: Float[Tensor, "outputs inputs"]) -> Layer:
    """Sixteen outputs after the other, inputs within."""
    return _numbers(weight.unflatten(0, (-1, CHANNELS)).transpose(1, 2))


def _numbers(tensor: Tensor) -> Float32[np.ndarray, " n"]:
    flat: np.ndarray = tensor.detach().contiguous().flatten().numpy()
    return flat
