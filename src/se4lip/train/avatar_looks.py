"""What learning a head's looks has in common for all renderers: rates, codes and figures."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from jaxtyping import Float, Int
from torch import Tensor

from se4lip.head.base import LearnedHead
from se4lip.metrics.image import psnr, ssim
from se4lip.train.avatar_material import Shown


def share_of_rate(name: str, rates: Mapping[str, float]) -> float:
    """A parameter's share of the learning rate: that of the first beginning of its name, else 1."""
    return next((rate for start, rate in rates.items() if name.startswith(start)), 1.0)


def driving(shown: Shown, rows: Int[Tensor, " P"], device: torch.device) -> list[Tensor]:
    """What moves some of the pictures, in the order in which every head draws it."""
    motion, i = shown.motion, rows.numpy()
    parts = (
        shown.mouth[i],
        motion.eyes[i],
        motion.look[i],
        motion.camera_from_head[i],
        motion.camera_from_torso[i],
    )
    return [torch.from_numpy(part).to(device) for part in parts]


@torch.no_grad()
def looks_figures(head: LearnedHead, shown: Shown | None) -> dict[str, float]:
    """PSNR and SSIM of pictures drawn for real codes; none where there are no pictures."""
    if shown is None:
        return {}
    figures = []
    for i in range(len(shown)):
        row = (part[0] for part in driving(shown, torch.tensor([i]), head.device))
        drawn = batch_of_one(head.draw(*row).clamp(0, 1))
        real = batch_of_one(torch.from_numpy(shown.pictures[i]).to(head.device).float() / 255)
        figures.append(torch.stack((psnr(drawn, real, 1.0)[0], ssim(drawn, real, 1.0)[0])))
    psnr_db, similarity = torch.stack(figures).mean(0).tolist()
    return {"psnr_db": psnr_db, "ssim": similarity}


def batch_of_one(picture: Float[Tensor, "H W 3"]) -> Float[Tensor, "1 3 H W"]:
    return picture.permute(2, 0, 1)[None]
