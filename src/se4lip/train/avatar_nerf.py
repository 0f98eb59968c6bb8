"""Mouth to picture for a radiance field: patches of rays, one of them always on the mouth."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import torch
from jaxtyping import Int
from torch import Tensor

from se4lip.head.nerf.head import Driven, NerfHead
from se4lip.metrics.image import ssim
from se4lip.train.avatar_looks import driving, looks_figures, share_of_rate
from se4lip.train.avatar_material import Shown
from se4lip.train.loop import LoopConfig
from se4lip.types import within

# Shares of the learning rate, by the beginning of a parameter's name. Lengths are centimetres.
RATES = {
    "field.table": 5.0,
    "field": 2.0,
    "shell.curves": 1.0,
    "shell": 3.0,
    "backdrop.torso_colour": 4.0,
    "backdrop.torso_alpha": 40.0,
    "backdrop.torso_look": 2.0,
    "backdrop.head_share": 20.0,
    "backdrop.plate_look": 0.5,
    "backdrop.plate": 2.0,
}


def relative_ray_rate(name: str) -> float:
    """Of a parameter of `NerfHead`, by its name."""
    return share_of_rate(name, RATES)


@dataclass(frozen=True)
class NerfRecipe:
    """What decides how a radiance field learns its pictures, but for the data.

    Attributes:
        texels_per_px: Resolution of the finest feature plane against the pictures'.
        curves: Nonlinear functions of the mouth's code that bend the shell.
        patch_px: A step looks at squares of this side.
        head_patches: So many of them lie on the head,
        any_patches: so many anywhere,
        mouth_patches: and so many on the mouth; each is of another picture.
        absolute: Weight of the mean absolute error.
        dissimilarity: Weight of 1 - SSIM.
        presence: Weight of how much of the picture is head, so that no fog stays where the
            backdrop alone looks the same.
        survey_every: Steps between two looks for empty cells.
    """

    texels_per_px: float = 1.25
    curves: int = 12
    patch_px: int = 32
    head_patches: int = 2
    any_patches: int = 1
    mouth_patches: int = 1
    absolute: float = 0.8
    dissimilarity: float = 0.2
    presence: float = 0.005
    survey_every: int = 25
    pictures: LoopConfig = field(
        default_factory=lambda: LoopConfig(
            steps=6000,
            learning_rate=1e-3,
            warmup_steps=50,
            final_rate=0.02,
            weight_decay=0.0,
            clip_norm=float("inf"),
            average_decay=0.99,
            log_every=100,
            validate_every=1000,
        )
    )

    def __post_init__(self) -> None:
        within(self, texels_per_px=(0.01, 16), curves=(0, 1024), patch_px=(8, 4096))
        within(self, head_patches=(0, 1024), any_patches=(1, 1024), mouth_patches=(0, 1024))
        within(self, absolute=(0, 1e6), dissimilarity=(0, 1e6), presence=(0, 1e6))
        within(self, survey_every=(1, math.inf))


class RayTask:
    """One step: a few patches, each of another picture."""

    def __init__(
        self, module: NerfHead, shown: Shown, validation: Shown | None, recipe: NerfRecipe
    ) -> None:
        self.module = module
        self.device = module.device
        self.shown, self.validation, self.recipe = shown, validation, recipe
        self.patch_px = min(recipe.patch_px, module.camera.width_px)

    def loss(self, step: int) -> tuple[Tensor, dict[str, float]]:
        recipe = self.recipe
        if step % recipe.survey_every == 0:
            i = torch.randint(len(self.shown), (1,))
            mouth, eyes, look, _, _ = self._driven(self.shown, i)
            self.module.survey(mouth[0], eyes[0], look[0])
        count = recipe.head_patches + recipe.any_patches + recipe.mouth_patches
        chosen = torch.randint(len(self.shown), (count,))
        corners = self._corners(chosen)
        side = self.patch_px
        y, x = torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")
        at = corners[:, None] + torch.stack((x, y), -1).view(1, -1, 2)
        pixels = (at + 0.5).to(self.device)
        pictures = torch.from_numpy(self.shown.pictures[chosen.numpy()])
        rows = torch.arange(count)[:, None]
        real = pictures[rows, at[..., 1], at[..., 0]].to(self.device).float() / 255
        shift = torch.rand(count, side * side, device=self.device)
        drawn, present = self.module.colours(pixels, self._driven(self.shown, chosen), shift=shift)
        error = (drawn - real).abs().mean()
        found, wanted = (c.mT.unflatten(-1, (side, side)) for c in (drawn, real))
        alike = ssim(found, wanted, 1.0).mean()
        total = recipe.absolute * error + recipe.dissimilarity * (1 - alike)
        total = total + recipe.presence * present.mean()
        return 100 * total, {"error": error.item()}

    def validate(self, module: NerfHead) -> dict[str, float]:
        return looks_figures(module, self.validation)

    def _corners(self, chosen: Int[Tensor, " P"]) -> Int[Tensor, "P 2"]:
        """Left and top of each patch: anywhere, on the head, on the mouth."""
        recipe, size, side = self.recipe, self.module.camera.width_px, self.patch_px
        room = size - side
        corners = torch.rand(len(chosen), 2) * (room + 1)
        first, last = recipe.any_patches, len(chosen) - recipe.mouth_patches
        head_px = torch.from_numpy(self.shown.mouth_boxes_px[chosen.numpy()]).float()
        middle = (head_px[:, :2] + head_px[:, 2:]) / 2
        # the head reaches from the mouth, say, a third of the picture sideways, more of it up
        spread = (torch.rand(len(chosen), 2) - torch.tensor([0.5, 0.72])) * torch.tensor(
            [0.7 * size, 0.8 * size]
        )
        corners[first:last] = (middle + spread - side / 2)[first:last]
        tremble = (torch.rand(len(chosen), 2) - 0.5) * side / 2
        corners[last:] = (middle + tremble - side / 2)[last:]
        return corners.long().clamp(0, room)

    def _driven(self, shown: Shown, rows: Int[Tensor, " P"]) -> Driven:
        return Driven(*driving(shown, rows, self.device))
