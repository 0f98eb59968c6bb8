"""SyncTalk's audio-visual encoder (AVE), the sound side of it, stated once more.

Source: Peng et al., "SyncTalk", CVPR 2024, and its repository (nerf_triplane/network.py, class
AudioEncoder; nerf_triplane/utils.py, class AudDataset): Wav2Lip's mel columns, 80 a second, sixteen
of them centred on a frame, through thirteen convolutions to 512 numbers. Layer names are those of
its file, which is a plain state and is read without unpickling.

The published code starts each window at the nearest earlier of 80 columns a second, up to 12.5 ms
off; here the columns of every frame are computed where they belong.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from se4lip.artifacts.encoder import EncoderIdentity
from se4lip.audio.timebase import frame_count
from se4lip.features.base import Rows, Samples
from se4lip.features.mel import mel_filters
from se4lip.types import SAMPLES_PER_FRAME, InputError

WIDTH = 512
_COLUMNS, _HOP, _FFT, _MELS = 16, 200, 800, 80
_PREEMPHASIS = 0.97
_BATCH_FRAMES = 256

# channels in and out, kernel, stride, padding, residual
_LAYERS = (
    (1, 32, 3, (1, 1), 1, False),
    *((32, 32, 3, (1, 1), 1, True),) * 2,
    (32, 64, 3, (3, 1), 1, False),
    *((64, 64, 3, (1, 1), 1, True),) * 2,
    (64, 128, 3, (3, 3), 1, False),
    *((128, 128, 3, (1, 1), 1, True),) * 2,
    (128, 256, 3, (3, 2), 1, False),
    (256, 256, 3, (1, 1), 1, True),
    (256, 512, 3, (1, 1), 0, False),
    (512, 512, 1, (1, 1), 0, False),
)


class AveEncoder(nn.Sequential):
    """Sixteen mel columns to 512 numbers."""

    def __init__(self) -> None:
        super().__init__(*(_Layer(*shape) for shape in _LAYERS))

    def forward(self, mel: Float[Tensor, "T 1 80 16"]) -> Float[Tensor, "T 512"]:
        return super().forward(mel).flatten(1)

    @staticmethod
    def from_published(state: Mapping[str, Tensor]) -> AveEncoder:
        """Of the state in ``audio_visual_encoder.pth``.

        Raises:
            InputError: tensors are missing, have other shapes, or do not belong to it.
        """
        network = AveEncoder()
        try:
            network.load_state_dict(
                {name.removeprefix("audio_encoder."): value for name, value in state.items()}
            )
        except RuntimeError as error:
            raise InputError(
                "the weights given are not those of SyncTalk's audio encoder: give its "
                "audio_visual_encoder.pth or a safetensors file of the same tensors"
            ) from error
        return network.eval().requires_grad_(False)


class _Layer(nn.Module):
    def __init__(
        self,
        before: int,
        after: int,
        kernel: int,
        stride: tuple[int, int],
        padding: int,
        residual: bool,
    ) -> None:
        super().__init__()
        self.conv_block = nn.Sequential(
            nn.Conv2d(before, after, kernel, stride, padding), nn.BatchNorm2d(after)
        )
        self.residual = residual

    def forward(self, x: Tensor) -> Tensor:
        found = self.conv_block(x)
        return torch.relu(found + x if self.residual else found)


class Ave:
    """512 numbers of the 200 ms around each frame's middle."""

    def __init__(self, encoder: AveEncoder, sha256: str) -> None:
        self.encoder = encoder
        self.identity = EncoderIdentity("ave", sha256, WIDTH, "ave")

    @torch.inference_mode()
    def __call__(self, samples: Samples) -> Rows:
        mel = mel_windows(samples)
        found = [self.encoder(part[:, None]) for part in mel.split(_BATCH_FRAMES)]
        return torch.cat(found).numpy() if found else np.zeros((0, WIDTH), np.float32)


def mel_windows(samples: Samples) -> Float[Tensor, "T 80 16"]:
    """Wav2Lip's mel spectrogram (800-point Hann windows every 200 samples, -100 to 0 dB mapped to
    [-4, 4]) of the sixteen columns about the middle of each frame."""
    frames = frame_count(len(samples))
    emphasised = samples.astype(np.float32)
    emphasised[1:] -= _PREEMPHASIS * samples[:-1]
    span = _FFT + (_COLUMNS - 1) * _HOP
    before = span // 2 - SAMPLES_PER_FRAME // 2
    behind = frames * SAMPLES_PER_FRAME - len(samples) + span
    sound = torch.from_numpy(np.pad(emphasised, (before, behind)))
    windows = sound.unfold(0, span, SAMPLES_PER_FRAME)[:frames].unfold(1, _FFT, _HOP)
    size = torch.fft.rfft(windows * torch.hann_window(_FFT)).abs()  # [T, 16, F]
    bands = size @ torch.from_numpy(mel_filters(_MELS, _FFT, 55.0, 7600.0)).mT
    decibels = 20 * bands.clamp_min(1e-5).log10() - 20
    return (8 * (decibels + 100) / 100 - 4).clamp(-4, 4).mT
