"""Running exported files with onnxruntime, beside torch, on made-up sound and motion."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import numpy as np
import torch
from jaxtyping import Float, Float32
from torch import Tensor, nn

from se4lip.artifacts.avatar import Avatar
from se4lip.audio.timebase import frame_count
from se4lip.head.splat.head import SplatHead
from se4lip.types import SAMPLE_RATE_HZ, SAMPLES_PER_FRAME

Sound = Float32[np.ndarray, " S"]
Features = Float32[np.ndarray, "T D"]


def trial_sounds(seconds: float = 12.0) -> list[Sound]:
    """Noise, and what has the shape of speech: a gliding voice, moving formants, pauses."""
    random = np.random.default_rng(0)
    time = np.arange(round(seconds * SAMPLE_RATE_HZ)) / SAMPLE_RATE_HZ
    noise = random.standard_normal(len(time))
    pitch_hz = 120 + 30 * np.sin(4.3 * time)
    formant_hz = 900 + 500 * np.sin(19.0 * time)
    phase = np.cumsum(2 * np.pi * pitch_hz / SAMPLE_RATE_HZ)
    harmonics = np.arange(1, 40)[:, None]
    strength = np.exp(-(((harmonics * pitch_hz - formant_hz) / 400) ** 2)) + 0.1 / harmonics
    voice = (strength * np.sin(harmonics * phase)).sum(0)
    syllables = np.clip(np.sin(25.0 * time) + 0.5 * np.sin(3.0 * time), 0, 1)
    speech = 0.1 * voice * syllables + 1e-3 * noise
    return [(0.1 * noise[: 2 * SAMPLE_RATE_HZ + 123]).astype(np.float32), speech.astype(np.float32)]


def session(content: bytes) -> Any:
    """An onnxruntime session on one core of the processor."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])


def encode_with(encoder: Any, sounds: Sequence[Sound]) -> list[Features]:
    """Features by a session of ``speech-encoder.onnx``, of all ``sounds`` in one batch."""
    (features,) = encoder.run(["features"], {"samples": _batch(sounds)})
    return _cut(features, sounds)


def stream_with(step: Any, sounds: Sequence[Sound]) -> list[Features]:
    """Features by a session of ``speech-step.onnx``, of all ``sounds`` in one batch, a frame at a
    time."""
    warm_up = int(step.get_modelmeta().custom_metadata_map["warm_up_frames"])
    steps = max(frame_count(len(sound)) for sound in sounds) + warm_up
    frames = _batch(sounds, steps * SAMPLES_PER_FRAME).reshape(len(sounds), steps, -1)
    state = {
        value.name: np.zeros(
            (len(sounds), *value.shape[1:]), np.float64 if "double" in value.type else np.float32
        )
        for value in step.get_inputs()[1:]
    }
    parts = []
    for at in range(steps):
        features, *following = step.run(None, {"frames": frames[:, at : at + 1], **state})
        state = dict(zip(state, following, strict=True))
        parts.append(features)
    return _cut(np.concatenate(parts[warm_up:], axis=1), sounds)


def _cut(features: np.ndarray, sounds: Sequence[np.ndarray]) -> list[np.ndarray]:
    return [rows[: frame_count(len(sound))] for rows, sound in zip(features, sounds, strict=True)]


def _batch(sounds: Sequence[np.ndarray], samples: int = 0) -> Float32[np.ndarray, "B S"]:
    """Silence behind the shorter ones, which changes none of their features."""
    longest = max(samples, *map(len, sounds))
    return np.stack([np.pad(sound, (0, longest - len(sound))) for sound in sounds])


def deform_both(deformation: Any, avatar: Avatar) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Gaussians of a batch of made-up frames by ``head-deformation.onnx``, and by torch.

    Each number [B, T, N, ...] is flattened to [frames, ...].
    """
    random, head, first = np.random.default_rng(0), cast(SplatHead, avatar.head), 7
    features = random.standard_normal((2, 24, head.feature_width)).astype(np.float32)
    features /= np.linalg.norm(features, axis=-1, keepdims=True)
    rows = random.integers(0, len(avatar.replay), (2, 5))
    eyes, look = avatar.replay.eyes[rows], avatar.replay.look[rows]
    inputs = {"features": features, "eyes": eyes, "look": look, "first": np.array([first])}
    poses = avatar.replay.camera_from_head[rows]
    if head.config.sways:
        inputs["camera_from_head"] = poses
    names = ["means", "scales", "opacities", "colours"]
    found = deformation.run(names, inputs)
    with torch.inference_mode():
        codes = head.speech(torch.from_numpy(features))[:, first : first + rows.shape[1]]
        driven = (
            codes.flatten(0, 1),
            *(torch.from_numpy(x).flatten(0, 1) for x in (eyes, look, poses)),
        )
        expected = [head.gaussians(*frame) for frame in zip(*driven, strict=True)]
    return (
        [value.reshape(rows.size, -1) for value in found],
        [np.stack([getattr(one, name).numpy().ravel() for one in expected]) for name in names],
    )


class OnnxSpeech(nn.Module):
    """The exported encoder in the place of the one it was made from."""

    def __init__(self, encoder: Any) -> None:
        super().__init__()
        self.encoder = encoder

    def features(self, samples: Float[Tensor, " S"], frames: int) -> Float[Tensor, "T D"]:
        sound = np.pad(samples.numpy(), (0, max(0, frames * SAMPLES_PER_FRAME - len(samples))))
        return torch.from_numpy(encode_with(self.encoder, [sound])[0][:frames])
