"""The lip encoder: pictures of the mouth and its contour -> one point on the unit sphere per
window.

Source: SE4Lip section 3.1 (a CNN over the mouth images of the window). The contour branch is ours:
it carries the motion to faces whose skin, beard or light the CNN has never seen.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional

from se4lip.audio.timebase import Window
from se4lip.types import InputError, within


@dataclass(frozen=True)
class LipEncoderConfig:
    picture_px: int = 48
    contour: int = 147  # width of face.contour.lip_contour; 0 leaves the branch out
    channels: tuple[int, ...] = (24, 48, 96, 192)
    contour_hidden: int = 256
    dropout: float = 0.1
    embedding: int = 512

    def __post_init__(self) -> None:
        within(self, picture_px=(8, 1024), contour=(0, 8192), contour_hidden=(1, 8192))
        within(self, embedding=(1, 8192), dropout=(0, 1), channels=(8, 8192))
        if not self.channels or any(width % 8 for width in self.channels):
            raise InputError(
                f"channels are {self.channels}, but numbers that 8 divides are needed, because "
                "they are normalised in 8 groups: give others"
            )


class _Block(nn.Module):
    """Two 3x3 convolutions with a shortcut, halving the picture."""

    def __init__(self, wide_in: int, wide_out: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(wide_in, wide_out, 3, stride=2, padding=1, bias=False)
        self.second = nn.Conv2d(wide_out, wide_out, 3, padding=1, bias=False)
        self.shortcut = nn.Conv2d(wide_in, wide_out, 1, bias=False)
        # Groups, not batches: a picture's embedding must not depend on its neighbours in the batch.
        self.norm_first = nn.GroupNorm(8, wide_out)
        self.norm_second = nn.GroupNorm(8, wide_out)

    def forward(self, x: Tensor) -> Tensor:
        y = functional.gelu(self.norm_first(self.first(x)))
        y = self.norm_second(self.second(y))
        return functional.gelu(y + self.shortcut(functional.avg_pool2d(x, 2, ceil_mode=True)))


class LipEncoder(nn.Module):
    """Lip pictures and contours of consecutive frames in, unit-length embeddings out.

    The first convolution spans the whole window in time, so motion is seen before it is pooled
    away.
    """

    def __init__(self, config: LipEncoderConfig, window: Window) -> None:
        super().__init__()
        self.config = config
        self.window = window
        first = config.channels[0]
        self.stem = nn.Conv3d(
            1, first, (window.frames, 5, 5), stride=(1, 2, 2), padding=(0, 2, 2), bias=False
        )
        self.stem_norm = nn.GroupNorm(8, first)
        pairs = zip(config.channels[:-1], config.channels[1:], strict=True)
        self.blocks = nn.Sequential(*(_Block(*pair) for pair in pairs))
        side = -(-config.picture_px // 2 ** len(config.channels))
        self.from_picture = nn.Sequential(
            nn.Dropout(config.dropout),
            nn.Linear(config.channels[-1] * side * side, config.embedding),
        )
        if config.contour:
            hidden = config.contour_hidden
            self.from_contour = nn.Sequential(
                nn.Conv1d(config.contour, hidden, 1),
                nn.GELU(),
                nn.Conv1d(hidden, hidden, window.frames),
                nn.GELU(),
                nn.Dropout(config.dropout),
                nn.Conv1d(hidden, config.embedding, 1),
            )

    def forward(
        self,
        pictures: Float[Tensor, "B T H W"],
        contour: Float[Tensor, "B T C"],
        keep_picture: Bool[Tensor, " B"] | None = None,
        keep_contour: Bool[Tensor, " B"] | None = None,
        stride: int = 1,
    ) -> Float[Tensor, "B windows D"]:
        """Embeddings of every ``stride``-th of the ``T - frames + 1`` whole windows.

        ``keep_*`` blank one branch of a clip.
        ``pictures`` are grey, about zero mean and unit spread (``standardize``).
        """
        if keep_picture is None:
            embedding = self._seen(pictures, stride)
        else:  # the pictures are most of the work, and of blanked ones nothing would be left
            kept = keep_picture.nonzero()[:, 0]
            seen = self._seen(pictures[kept], stride)
            blank = seen.new_zeros(len(pictures), *seen.shape[1:])
            embedding = blank.index_copy(0, kept, seen)
        if self.config.contour:
            moved = self.from_contour(contour.transpose(1, 2)).transpose(1, 2)[:, ::stride]
            if keep_contour is not None:
                moved = moved * keep_contour[:, None, None]
            embedding = embedding + moved
        return functional.normalize(embedding, dim=-1)

    def _seen(
        self, pictures: Float[Tensor, "B T H W"], stride: int
    ) -> Float[Tensor, "B windows D"]:
        """What every ``stride``-th window of pictures says."""
        x = functional.conv3d(
            pictures[:, None], self.stem.weight, stride=(stride, 2, 2), padding=(0, 2, 2)
        ).transpose(1, 2)  # [B, T', C, H', W']
        batch, windows = x.shape[:2]
        # Windows become a batch before anything is normalised: none may know of another.
        x = self.blocks(functional.gelu(self.stem_norm(x.flatten(0, 1))))
        return self.from_picture(x.flatten(1)).reshape(batch, windows, self.config.embedding)


def standardize(pictures: Float[Tensor, "B T H W"]) -> Float[Tensor, "B T H W"]:
    """Zero mean and unit spread over each clip: brightness and contrast of a room say nothing."""
    mean = pictures.mean(dim=(1, 2, 3), keepdim=True)
    spread = pictures.std(dim=(1, 2, 3), keepdim=True)
    return (pictures - mean) / (spread + 1e-3)


def grey(lips: Tensor) -> Float[Tensor, "*batch H W"]:
    """RGB in 0..255, channels last -> luma in 0..1 (BT.601)."""
    weights = torch.tensor([0.299, 0.587, 0.114], device=lips.device)
    return (lips.float() / 255) @ weights
