"""The two encoders that are trained together, and what a weights file holds of them."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from se4lip.audio.timebase import Window
from se4lip.encoder.contrast import Contrast, ContrastConfig
from se4lip.encoder.lips import LipEncoder, LipEncoderConfig, grey, standardize
from se4lip.encoder.speech import SpeechEncoder, SpeechEncoderConfig


@dataclass(frozen=True)
class SE4LipConfig:
    speech: SpeechEncoderConfig = field(default_factory=SpeechEncoderConfig)
    lips: LipEncoderConfig = field(default_factory=LipEncoderConfig)
    lip_window: Window = field(default_factory=Window)
    contrast: ContrastConfig = field(default_factory=ContrastConfig)


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

    @torch.inference_mode()
    def embed_clip(
        self,
        samples: Float[Tensor, " S"],
        lips: Float[Tensor, "T H W 3"],
        contour: Float[Tensor, "T C"],
    ) -> tuple[Float[Tensor, "T D"], Float[Tensor, "T D"], Bool[Tensor, " T"]]:
        """Speech and lip embeddings of a clip, and which rows hold a whole window of lips.

        Row ``t`` is about the window *centred* on frame ``t`` (as ``metrics.sync`` counts), for an
        odd window; rows without a whole window are zero.
        """
        frames = len(lips)
        window = self.config.lip_window
        centre = (
            window.past_frames - window.frames // 2
        )  # frame t's window is centred on t - centre
        speech = self.speech.features(samples, frames + centre)[centre:]
        pictures = torch.nn.functional.interpolate(
            grey(lips)[None], (self.config.lips.picture_px,) * 2, mode="bilinear", antialias=True
        )
        moved = lips.new_zeros((frames, speech.shape[-1]), dtype=torch.float32)
        whole = torch.zeros(frames, dtype=torch.bool, device=moved.device)
        half = window.frames // 2
        if frames >= window.frames:
            moved[half : frames - half] = self.lips(standardize(pictures), contour[None])[0]
            whole[half : frames - half] = True
        return speech, moved, whole
