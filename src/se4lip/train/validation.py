"""The encoder's own examination: is the true offset found, on clips it was not trained on?"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from se4lip.audio.voice_activity import speech_in_frames
from se4lip.encoder.model import Branch, SE4Lip
from se4lip.face.contour import lip_contour
from se4lip.metrics.sync import OffsetCounts, offset_accuracy
from se4lip.types import Clip

CONTEXTS = (5, 15)


@dataclass(frozen=True)
class Probe:
    """One clip ready to be embedded."""

    name: str
    samples: Tensor
    lips: Tensor
    contour: Tensor
    speaking: Tensor

    @staticmethod
    def of(clip: Clip) -> Probe:
        samples = clip.speech.samples
        return Probe(
            clip.name,
            torch.from_numpy(samples),
            torch.from_numpy(clip.lips),
            torch.from_numpy(lip_contour(clip.track)),
            torch.from_numpy(speech_in_frames(samples, len(clip))),
        )


def probes_of(clips: Iterable[Clip]) -> list[Probe]:
    return [Probe.of(clip) for clip in clips]


def count_offsets(
    module: SE4Lip,
    probes: Iterable[Probe],
    contexts: tuple[int, ...] = CONTEXTS,
    branch: Branch = "both",
) -> dict[int, OffsetCounts]:
    """Right answers among 31 offsets inside speech, summed over clips, per context in frames."""
    device = next(module.parameters()).device
    counts = {context: OffsetCounts() for context in contexts}
    frames = module.config.lip_window.frames
    for one in probes:
        speech, lips, whole = module.embed_clip(
            one.samples.to(device), one.lips.to(device), one.contour.to(device), branch
        )
        if not whole.any():
            continue
        for context in contexts:
            counts[context] += offset_accuracy(
                speech, lips, one.speaking.to(device), context_frames=context, window_frames=frames
            )
    return counts


def probe(module: SE4Lip, probes: Iterable[Probe]) -> dict[str, float]:
    """Accuracy per context, as the training log shows it."""
    counts = count_offsets(module, probes)
    return {f"{context} frames": count.accuracy for context, count in counts.items()}
