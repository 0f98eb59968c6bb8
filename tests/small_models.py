"""An encoder and a head of a few numbers, with nothing in them at its neutral value."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from se4lip.artifacts.avatar import Avatar
from se4lip.artifacts.encoder import EncoderIdentity, save_encoder
from se4lip.encoder.lips import LipEncoderConfig
from se4lip.encoder.model import SE4Lip, SE4LipConfig
from se4lip.encoder.speech import SpeechEncoder, SpeechEncoderConfig
from se4lip.head.base import Motion
from se4lip.head.splat.gaussians import RawGaussians
from se4lip.head.splat.head import SplatHead, SplatHeadConfig
from se4lip.types import Camera

SMALL = SpeechEncoderConfig(projection=16, hidden=16)  # a shipped one is 256 of each


def small_encoder(config=SMALL, seed=0):
    torch.manual_seed(seed)
    encoder = SpeechEncoder(config)
    with torch.no_grad():  # as after training: another channel and spread for every bin
        encoder.mean.uniform_(-4, -1.5)
        encoder.scale.uniform_(0.3, 1)
    return encoder.eval().requires_grad_(False)


def sound(samples, seed=0):
    random = np.random.default_rng(seed)
    loudness = 0.2 * np.repeat(random.random(samples // 1600 + 1) ** 3, 1600)[:samples]
    return (loudness * random.standard_normal(samples)).astype(np.float32)


def small_weights(folder: Path) -> Path:
    torch.manual_seed(0)
    lips = LipEncoderConfig(channels=(8, 8, 8, 8), contour_hidden=8)
    file = folder / "small.safetensors"
    save_encoder(file, SE4Lip(SE4LipConfig(speech=SMALL, lips=lips)), {"name": "small"})
    return file


def small_avatar(sways: bool = False) -> Avatar:
    torch.manual_seed(0)
    raw = RawGaussians(
        means=torch.randn(40, 3),
        log_scales=torch.randn(40, 3) - 2,
        quats=torch.randn(40, 4),
        opacity_logits=torch.randn(40),
        colours=torch.rand(40, 3),
    )
    camera = Camera(100.0, 16.0, 16.0, 32, 32)
    head = SplatHead(
        SplatHeadConfig(camera, (0, 5, 14, 22, 30, 40), 8, 3, 2, 2, 4, sways=sways), raw
    )
    for value in head.parameters():
        value.data.add_(0.2 * torch.randn_like(value))
    if sways:
        head.swaying.vectors.data.mul_(0.3)  # of codes up to 3
        head.sway.mean.normal_()
        head.sway.spread.uniform_(0.2, 0.5)  # some poses are beyond what codes can say
    for branch in (head.interior, head.face, head.eyes, head.look):
        branch.origin.normal_()
        branch.share.uniform_()
    head.speech.feature_mean.normal_()
    head.speech.noise_weight.normal_()
    head.speech.noise_bias.fill_(1.5)
    random = np.random.default_rng(0)
    poses = np.zeros((9, 3, 4), np.float32)
    if sways:
        poses += np.random.default_rng(1).standard_normal((9, 3, 4)).astype(np.float32)
    eyes, look = random.standard_normal((2, 9, 2)).astype(np.float32)
    replay = Motion(poses, poses, eyes, look)
    identity = EncoderIdentity("small", "0" * 64, 8)
    return Avatar(head.eval().requires_grad_(False), None, replay, identity, {"name": "somebody"})
