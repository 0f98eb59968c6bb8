"""Mouth to picture: Gaussians learn to look like the person for the codes of the real mouth."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from se4lip.head.splat.head import SplatHead
from se4lip.metrics.image import ssim
from se4lip.train.avatar_looks import batch_of_one, driving, looks_figures, share_of_rate
from se4lip.train.avatar_material import Shown
from se4lip.types import within

# Shares of the learning rate, by the beginning of a parameter's name. Lengths are centimetres.
RATES = {
    "raw.means": 4.0,
    "raw.log_scales": 5.0,
    "raw.quats": 2.0,
    "raw.opacity_logits": 20.0,
    "raw.colours": 4.0,
    "head_share": 2.0,
    "plate_look": 0.5,
    "plate_sway": 0.5,
    "plate": 2.0,
    **{f"{branch}.vectors": 0.6 for branch in ("interior", "face", "eyes", "look", "swaying")},
}


def relative_rate(name: str) -> float:
    """Of a parameter of `SplatHead`, by its name."""
    return share_of_rate(name, RATES)


@dataclass(frozen=True)
class PictureLoss:
    """Weights of mean absolute error, dissimilarity (1 - SSIM), and error of the mouth alone.

    Similarity is measured in a square of ``ssim_share`` of the picture's side, another each step.
    """

    absolute: float = 0.8
    dissimilarity: float = 0.2
    mouth: float = 0.3
    ssim_share: float = 0.6
    scale: float = 100.0  # of the whole, so that gradients stay well above Adam's epsilon

    def __post_init__(self) -> None:
        within(self, absolute=(0, 1e6), dissimilarity=(0, 1e6), mouth=(0, 1e6), scale=(1e-9, 1e9))
        within(self, ssim_share=(0.05, 1))


class PictureTask:
    """One step: one picture."""

    def __init__(
        self, module: SplatHead, shown: Shown, validation: Shown | None, config: PictureLoss
    ) -> None:
        self.module = module
        self.device = module.device
        self.shown, self.validation, self.config = shown, validation, config

    def loss(self, step: int) -> tuple[Tensor, dict[str, float]]:
        config = self.config
        i = int(torch.randint(len(self.shown), ()))
        mouth, eyes, look, head, torso = driving(self.shown, torch.tensor([i]), self.device)
        drawn = self.module.draw(mouth[0], eyes[0], look[0], head[0], torso[0])
        real = torch.from_numpy(self.shown.pictures[i]).to(self.device).float() / 255
        error = (drawn - real).abs()
        left, top, right, bottom = self.shown.mouth_boxes_px[i]
        size = real.shape[0]
        side = max(16, round(config.ssim_share * size))
        x, y = (int(torch.randint(size - side + 1, ())) for _ in range(2))
        part = (slice(y, y + side), slice(x, x + side))
        alike = ssim(batch_of_one(drawn[part]), batch_of_one(real[part]), 1.0)[0]
        total = config.absolute * error.mean() + config.dissimilarity * (1 - alike)
        if right > left and bottom > top:
            total = total + config.mouth * error[top:bottom, left:right].mean()
        return config.scale * total, {}

    def validate(self, module: SplatHead) -> dict[str, float]:
        return looks_figures(module, self.validation)
