"""Other faces, lights and cameras, made out of one: augmentation of lip pictures and contours.

As in ``audio.augment``, all draws are made on the CPU for the whole batch. One draw holds for a
whole clip, because a face does not change while it speaks.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields, replace

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional

from se4lip.face.contour import mirrored_columns
from se4lip.types import within

LUMA = torch.tensor([0.299, 0.587, 0.114])  # BT.601


@dataclass(frozen=True)
class LipAugmentConfig:
    turn_rad: float = 0.15
    zoom: float = 0.18  # size of the mouth in the picture, as a log factor
    aspect: float = 0.15  # wide and narrow mouths, as a log factor
    shift: float = 0.12  # of half the picture
    bend: float = 0.08  # smooth random warp, of half the picture
    tremble: float = 0.006  # tracker noise from picture to picture
    grey_mix: float = 1.0  # spread of the colour weights that make grey
    contrast: float = 0.5  # log factor
    gamma: float = 0.5  # log factor
    light: float = 0.6  # slope of a lighting ramp across the picture
    blur: float = 0.5  # probability
    filter: float = 0.3  # probability of a random 5x5 filter: another texture of skin and beard
    noise: float = 0.06
    patch: float = 0.3  # probability of a grey patch over the mouth's surroundings
    contour_gain: float = 0.35  # log factor on the whole motion
    contour_mix: float = 0.10  # random linear mixing of coordinates: another mouth's way of moving
    contour_noise: float = 0.10
    drop_picture: float = 0.25
    drop_contour: float = 0.25
    untouched: float = 0.0  # share of clips left as they were filmed, but for mirror and dropping

    def __post_init__(self) -> None:
        chances = ("blur", "filter", "patch", "drop_picture", "drop_contour", "untouched")
        within(self, **dict.fromkeys(chances, (0, 1)))
        sizes = (name for name in self.__dataclass_fields__ if name not in chances)
        within(self, **dict.fromkeys(sizes, (0, 10)))


@dataclass(frozen=True)
class LipDraws:
    """The random numbers of one batch; every field has the batch as its first axis."""

    affine: Float[Tensor, "B 2 3"]
    bend: Float[Tensor, "B 2 4 4"]
    tremble: Float[Tensor, "B T 2"]
    grey: Float[Tensor, "B 3"]
    tone: Float[Tensor, "B 5"]  # contrast, gamma, light x, light y, noise
    blur: Float[Tensor, " B"]
    filter: Float[Tensor, "B 5 5"]
    patch: Float[Tensor, "B 4"]  # centre x, y, half width, half height; width 0: none
    mirror: Bool[Tensor, " B"]
    contour_gain: Float[Tensor, " B"]
    contour_mix: Float[Tensor, "B C C"]
    contour_noise: Float[Tensor, "B T C"]
    keep_picture: Bool[Tensor, " B"]
    keep_contour: Bool[Tensor, " B"]

    def __getitem__(self, rows: slice) -> LipDraws:
        return LipDraws(**{f.name: getattr(self, f.name)[rows] for f in fields(self)})

    def to(self, device: torch.device) -> LipDraws:
        return LipDraws(**{f.name: getattr(self, f.name).to(device) for f in fields(self)})


def draw_lips(
    batch: int, frames: int, contour: int, config: LipAugmentConfig, generator: torch.Generator
) -> LipDraws:
    def normal(*shape: int) -> Tensor:
        return torch.randn(batch, *shape, generator=generator)

    def uniform(*shape: int) -> Tensor:
        return torch.rand(batch, *shape, generator=generator)

    turn = config.turn_rad * normal()
    zoom = torch.exp(config.zoom * normal().clamp(-2, 2))
    aspect = torch.exp(config.aspect * normal().clamp(-2, 2))
    mirror = uniform() < 0.5
    across = zoom * aspect * torch.where(mirror, -1.0, 1.0)
    cos, sin = torch.cos(turn), torch.sin(turn)
    shift = config.shift * normal(2).clamp(-2, 2)
    rows = (
        (across * cos, -sin * zoom / aspect, shift[:, 0]),
        (across * sin, cos * zoom / aspect, shift[:, 1]),
    )
    affine = torch.stack([torch.stack(row, 1) for row in rows], 1)

    weights = LUMA * torch.exp(config.grey_mix * normal(3).clamp(-2, 2))
    identity = torch.zeros(5, 5)
    identity[2, 2] = 1
    filtered = uniform() < config.filter
    kernel = identity + torch.where(
        filtered[:, None, None], 0.25 * normal(5, 5), torch.zeros(batch, 5, 5)
    )
    patch = torch.cat((uniform(2) * 2 - 1, 0.1 + 0.3 * uniform(2)), 1)
    patch[:, 2] *= uniform() < config.patch
    keep_picture = uniform() >= config.drop_picture
    # At least one branch must see the lips.
    keep_contour = (uniform() >= config.drop_contour) | ~keep_picture
    steady = config.contour_noise * normal(1, contour)
    draws = LipDraws(
        affine=affine,
        bend=config.bend * normal(2, 4, 4),
        tremble=config.tremble * normal(frames, 2),
        grey=weights / weights.sum(1, keepdim=True),
        tone=torch.stack(
            (
                torch.exp(config.contrast * normal().clamp(-2, 2)),
                torch.exp(config.gamma * normal().clamp(-2, 2)),
                config.light * normal(),
                config.light * normal(),
                config.noise * uniform(),
            ),
            1,
        ),
        blur=torch.where(uniform() < config.blur, 1.6 * uniform(), torch.zeros(batch)),
        filter=kernel,
        patch=patch,
        mirror=mirror,
        contour_gain=torch.exp(config.contour_gain * normal().clamp(-2, 2)),
        contour_mix=torch.eye(contour)
        + config.contour_mix * normal(contour, contour) / math.sqrt(contour),
        contour_noise=steady + config.contour_noise * normal(frames, contour),
        keep_picture=keep_picture,
        keep_contour=keep_contour,
    )
    return _but_for(uniform() < config.untouched, draws) if config.untouched else draws


def _but_for(untouched: Bool[Tensor, " B"], draws: LipDraws) -> LipDraws:
    """``draws``, in which the ``untouched`` clips are only mirrored and lose branches."""
    sign = torch.where(draws.mirror, -1.0, 1.0)
    plain = torch.zeros_like(draws.affine)
    plain[:, 0, 0], plain[:, 1, 1] = sign, 1.0
    identity = torch.zeros(5, 5)
    identity[2, 2] = 1
    as_filmed = {
        "affine": plain,
        "bend": torch.zeros(()),
        "tremble": torch.zeros(()),
        "grey": LUMA,
        "tone": torch.tensor([1.0, 1.0, 0.0, 0.0, 0.0]),
        "blur": torch.zeros(()),
        "filter": identity,
        "patch": torch.zeros(()),
        "contour_gain": torch.ones(()),
        "contour_mix": torch.eye(draws.contour_mix.shape[-1]),
        "contour_noise": torch.zeros(()),
    }

    def chosen(name: str) -> Tensor:
        drawn: Tensor = getattr(draws, name)
        rows = untouched.reshape(-1, *(1,) * (drawn.ndim - 1))
        return torch.where(rows, as_filmed[name], drawn)

    return replace(draws, **{name: chosen(name) for name in as_filmed})


def augment_pictures(
    lips: Float[Tensor, "B T H W 3"], size_px: int, draws: LipDraws
) -> Float[Tensor, "B T size size"]:
    """RGB crops in 0..255 -> grey pictures in about 0..1 of another mouth under another light."""
    batch, frames = lips.shape[:2]
    grey = torch.einsum("bthwc,bc->bthw", lips, draws.grey / 255)
    grid = functional.affine_grid(draws.affine, [batch, 1, size_px, size_px], align_corners=False)
    bend = functional.interpolate(
        draws.bend, (size_px, size_px), mode="bicubic", align_corners=True
    )
    grid = grid + bend.permute(0, 2, 3, 1)
    grid = grid[:, None] + draws.tremble[:, :, None, None]
    grey = functional.grid_sample(
        grey.flatten(0, 1)[:, None],
        grid.flatten(0, 1),
        mode="bilinear",
        padding_mode="reflection",
        align_corners=False,
    ).reshape(batch, frames, size_px, size_px)
    kernels = _blurred(draws.filter, draws.blur)[:, None]
    padded = functional.pad(grey.transpose(0, 1), (2, 2, 2, 2), mode="replicate")
    grey = functional.conv2d(padded, kernels, groups=batch).transpose(0, 1)
    contrast, gamma, light_x, light_y, noise = draws.tone.unbind(1)
    grey = grey.clamp(1e-3, 1) ** gamma[:, None, None, None]
    slope = torch.linspace(-0.5, 0.5, size_px, device=grey.device)
    ramp = light_x[:, None, None] * slope + light_y[:, None, None] * slope[:, None]
    grey = grey * torch.exp(ramp)[:, None] * contrast[:, None, None, None]
    inside = _patch_mask(draws.patch, size_px)
    grey = torch.where(inside[:, None], grey.mean(dim=(1, 2, 3))[:, None, None, None], grey)
    # Fixed grain, shifted from picture to picture: cheap, and the same on every device.
    cell = torch.arange(frames * size_px * size_px, device=grey.device, dtype=torch.float32)
    grain = (
        torch.frac(torch.sin(cell * 12.9898) * 43758.547).reshape(frames, size_px, size_px) - 0.5
    )
    return grey + noise[:, None, None, None] * grain


def augment_contour(contour: Float[Tensor, "B T C"], draws: LipDraws) -> Float[Tensor, "B T C"]:
    """The motion of another mouth: mirrored, larger or smaller, mixed, noisily tracked."""
    order, sign = mirrored_columns()
    mirrored = contour[..., torch.from_numpy(order)] * torch.from_numpy(sign).to(contour.device)
    contour = torch.where(draws.mirror[:, None, None], mirrored, contour)
    contour = torch.bmm(contour, draws.contour_mix) * draws.contour_gain[:, None, None]
    return contour + draws.contour_noise


def _blurred(kernel: Float[Tensor, "B 5 5"], sigma: Float[Tensor, " B"]) -> Float[Tensor, "B 5 5"]:
    """Each 5x5 kernel followed by a Gaussian, cut back to 5x5."""
    at = torch.arange(-2, 3, device=kernel.device)
    row = torch.exp(-0.5 * (at / sigma.clamp_min(1e-2)[:, None]) ** 2)
    row = row / row.sum(1, keepdim=True)
    gaussian = row[:, :, None] * row[:, None, :]
    batch = len(kernel)
    return functional.conv2d(kernel[None], gaussian[:, None], padding=2, groups=batch)[0]


def _patch_mask(patch: Float[Tensor, "B 4"], size_px: int) -> Bool[Tensor, "B H W"]:
    at = torch.linspace(-1, 1, size_px, device=patch.device)
    x, y, half_width, half_height = (value[:, None] for value in patch.unbind(1))
    columns = (at - x).abs() < half_width
    rows = (at - y).abs() < half_height
    # The middle of the mouth stays in sight: nothing could be learned without it.
    mask = rows[:, :, None] & columns[:, None, :]
    middle = at.abs() < 0.35
    return mask & ~(middle[:, None] & middle)
