"""The two encoders that are trained together, and what a weights file holds of them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional

from se4lip.audio.timebase import Window
from se4lip.encoder.contrast import Contrast, ContrastConfig
from se4lip.encoder.lips import LipEncoder, LipEncoderConfig, grey, standardize
from se4lip.encoder.speech import SpeechEncoder, SpeechEncoderConfig
from se4lip.types import InputError

Branch = Literal["both", "picture", "contour"]


@dataclass(frozen=True)
class SE4LipConfig:
    speech: SpeechEncoderConfig = field(default_factory=SpeechEncoderConfig)
    lips: LipEncoderConfig = field(default_factory=LipEncoderConfig)
    lip_window: Window = field(default_factory=Window)
    contrast: ContrastConfig = field(default_factory=ContrastConfig)

    def __post_init__(self) -> None:
        if self.speech.embedding != self.lips.embedding:
            raise InputError(
                f"speech has embeddings of {self.speech.embedding} numbers and lips of "
                f"{self.lips.embedding}: give both the same, for they are compared"
            )
        if self.lip_window.frames % 2 == 0:
            raise InputError(
                f"a lip window of {self.lip_window.frames} frames has no middle: give an odd number"
            )
        if self.lip_window.lookahead_frames < 1:
            raise InputError(
                "a lip window that ends before its own frame was asked for: give "
                "--model.lip-window.lookahead-frames 1 or 2"
            )


class SE4Lip(nn.Module):
    """Speech encoder, lip encoder, their contrast, and a linear read-out of the lips from speech.

    The read-out is an auxiliary target (ours): it asks that lip shape lies in the speech embedding
    linearly, which is what a renderer's small network needs.
    """

    def __init__(self, config: SE4LipConfig) -> None:
        super().__init__()
        self.config = config
        self.speech = SpeechEncoder(config.speech)
        self.lips = LipEncoder(config.lips, config.lip_window)
        self.contrast = Contrast(config.contrast)
        self.read_contour = nn.Linear(config.speech.embedding, max(1, config.lips.contour))

    @property
    def centre_frames(self) -> int:
        """Frame ``t``'s window is centred on frame ``t - centre_frames``."""
        window = self.config.lip_window
        return window.past_frames - window.frames // 2

    @torch.inference_mode()
    def embed_lips(
        self,
        lips: Float[Tensor, "T H W 3"],
        contour: Float[Tensor, "T C"],
        branch: Branch = "both",
    ) -> Float[Tensor, "T-frames+1 D"]:
        """Lip embeddings of every whole window of RGB crops (0..255), first window first.

        ``branch`` lets the encoder see only pictures or only contours.
        """
        if len(lips) < self.config.lip_window.frames:
            return contour.new_zeros((0, self.config.speech.embedding))
        pictures = functional.interpolate(
            grey(lips)[None], (self.config.lips.picture_px,) * 2, mode="bilinear", antialias=True
        )
        keep_picture, keep_contour = (
            torch.tensor([branch in ("both", only)], device=contour.device)
            for only in ("picture", "contour")
        )
        return self.lips(standardize(pictures), contour[None], keep_picture, keep_contour)[0]

    @torch.inference_mode()
    def embed_clip(
        self,
        samples: Float[Tensor, " S"],
        lips: Float[Tensor, "T H W 3"],
        contour: Float[Tensor, "T C"],
        branch: Branch = "both",
    ) -> tuple[Float[Tensor, "T D"], Float[Tensor, "T D"], Bool[Tensor, " T"]]:
        """Speech and lip embeddings of a clip, and which rows hold a whole window of lips.

        Row ``t`` is about the window *centred* on frame ``t`` (as ``metrics.sync`` counts), for an
        odd window; rows without a whole window are zero.
        """
        frames, half = len(lips), self.config.lip_window.frames // 2
        speech = self.speech.features(samples, frames + self.centre_frames)[self.centre_frames :]
        moved = torch.zeros_like(speech)
        whole = torch.zeros(frames, dtype=torch.bool, device=moved.device)
        if frames > 2 * half:
            moved[half : frames - half] = self.embed_lips(lips, contour, branch)
            whole[half : frames - half] = True
        return speech, moved, whole
