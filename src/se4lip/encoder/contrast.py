"""The contrastive loss that puts sound and lips of one moment at one place.

Source: SE4Lip section 3.1 (contrastive alignment in a joint space within a fixed window); the loss
is symmetric InfoNCE (van den Oord 2018, eq. 4; CLIP, Radford 2021) with negatives from the same
clip, which are the hard ones: same voice, same face, another moment.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int, Real
from torch import Tensor, nn
from torch.nn import functional

from se4lip.types import within


@dataclass(frozen=True)
class ContrastConfig:
    same_moment_frames: int = 1  # windows of a clip this close are neither positive nor negative
    across_clips: float = 0.3  # weight of negatives from other clips; the rest is within the clip
    initial_temperature: float = 0.07
    smallest_temperature: float = 0.02

    def __post_init__(self) -> None:
        within(self, same_moment_frames=(0, math.inf), across_clips=(0, 1))
        within(self, initial_temperature=(1e-4, 1e3), smallest_temperature=(1e-4, 1e3))


class Contrast(nn.Module):
    """Symmetric InfoNCE with a learned temperature."""

    def __init__(self, config: ContrastConfig) -> None:
        super().__init__()
        self.config = config
        self.log_scale = nn.Parameter(torch.tensor(-math.log(config.initial_temperature)))

    def forward(
        self,
        speech: Float[Tensor, "B T D"],
        lips: Float[Tensor, "B T D"],
        valid: Bool[Tensor, "B T"],
        silent: Bool[Tensor, "B T"],
        moment: Real[Tensor, "B T"],
        clip: Int[Tensor, " B"] | None = None,
    ) -> Float[Tensor, ""]:
        """Mean loss over valid windows, each ``moment`` frames into its clip.

        Rows of ``clip`` that are equal are parts of one clip, which may overlap; without it each is
        a clip of its own. Silence is never told from silence: it all looks the same.
        """
        scale = self.log_scale.exp().clamp(max=1 / self.config.smallest_temperature)
        batch, frames = valid.shape
        flat = batch * frames
        logits = scale * speech.reshape(flat, -1) @ lips.reshape(flat, -1).T
        clip = torch.arange(batch) if clip is None else clip
        clip = clip.to(valid.device).repeat_interleave(frames)
        moment = moment.to(valid.device).flatten()
        ignored = ignored_pairs(clip, moment, valid.flatten(), silent.flatten(), self.config)
        same_clip = clip[:, None] == clip
        # A silent window has no moment of its own to be found at, only speech to be told from.
        rows = valid.flatten()
        in_clip = _symmetric(logits.masked_fill(ignored | ~same_clip, -torch.inf), rows)
        across = _symmetric(logits.masked_fill(ignored, -torch.inf), rows)
        return (1 - self.config.across_clips) * in_clip + self.config.across_clips * across


def ignored_pairs(
    clip: Int[Tensor, " N"],
    moment: Real[Tensor, " N"],
    valid: Bool[Tensor, " N"],
    silent: Bool[Tensor, " N"],
    config: ContrastConfig,
) -> Bool[Tensor, "N N"]:
    """Pairs that are no negatives: padding, nearly the same moment, and silence against silence."""
    near = (moment[:, None] - moment).abs() <= config.same_moment_frames
    ignored = (clip[:, None] == clip) & near
    ignored = ignored | (silent[:, None] & silent) | ~valid[:, None] | ~valid
    return ignored & ~torch.eye(len(clip), dtype=torch.bool, device=clip.device)


def _symmetric(logits: Float[Tensor, "N N"], rows: Bool[Tensor, " N"]) -> Float[Tensor, ""]:
    truth = torch.arange(len(logits), device=logits.device)
    speech_to_lips = functional.cross_entropy(logits, truth, reduction="none")
    lips_to_speech = functional.cross_entropy(logits.T, truth, reduction="none")
    losses = (speech_to_lips + lips_to_speech) / 2
    return (losses * rows).sum() / rows.sum().clamp(min=1)
