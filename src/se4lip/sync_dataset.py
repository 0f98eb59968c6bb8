"""The verb ``sync`` on a prepared data set: one offset for recordings that share a cause.

A clip of a second says too little by itself; hundreds from one camera chain say together, to a
part of a frame, how late its sound lies.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from se4lip.artifacts.encoder import load_encoder
from se4lip.encoder.model import SE4Lip
from se4lip.io.dataset import Dataset, open_dataset, set_av_offset
from se4lip.metrics.sync import (
    FRAME_MS,
    SyncConfig,
    SyncReading,
    read_similarity,
    similarity_by_sound,
)
from se4lip.sync_video import SyncVerdictConfig, Verdict
from se4lip.train.split import Split, clips_of
from se4lip.train.validation import Probe
from se4lip.types import FRAME_RATE_HZ, InputError, within


@dataclass(frozen=True)
class OffsetConfig:
    """When an offset is believed. What is stored changes training, so it must be sure."""

    least_lead: float = 4.0  # standard errors by which it beats its rivals
    least_speech_s: float = 10.0  # that a recording needs for an offset of its own

    def __post_init__(self) -> None:
        within(self, least_lead=(0, math.inf), least_speech_s=(0, math.inf))


@dataclass(frozen=True)
class SourceOffset:
    """How late the sound of a recording (or of all: ``name`` is None) lies, in source frames.

    ``name`` is that of its ``SourceEntry``, which is unique. ``reading`` is of the sound as it is
    loaded, the stored offset applied.
    """

    name: str | None
    reading: SyncReading
    speech_seconds: float
    stored_frames: float  # what was applied on loading when this was measured
    doubt: str  # why it is not to be believed; empty when it is

    @property
    def sure(self) -> bool:
        return not self.doubt

    @property
    def frames(self) -> float:
        """The whole offset: what is stored and what was still found."""
        return self.stored_frames + self.reading.offset_ms / FRAME_MS

    @property
    def verdict(self) -> Verdict:
        """Of the sound as it is loaded, the stored offset applied."""
        if not self.sure:
            return "cannot-tell"
        near = abs(self.reading.offset_frames) <= SyncVerdictConfig.in_sync_frames
        return "in-sync" if near else "out-of-sync"

    def to_json(self) -> dict[str, object]:
        """As ``SyncReport.to_json``, and what was stored before."""
        reading, known = self.reading, self.sure
        return {
            "verdict": self.verdict,
            "reason": self.doubt,
            "offset_frames": reading.offset_frames if known else None,
            "offset_ms": round(reading.offset_ms, 1) if known else None,
            "confidence": round(reading.confidence, 4),
            "lead": round(reading.lead, 2),
            "speech_seconds": round(self.speech_seconds, 2),
            "stored_frames": round(self.stored_frames, 3),
        }


def dataset_offsets(
    path: Path,
    encoder: Path | None = None,
    split: Split = "all",
    config: OffsetConfig | None = None,
) -> list[SourceOffset]:
    """The offset of the whole data set first, then of every recording with speech enough.

    With ``split`` only its recordings are listened to, so that a test can stay as it was found.

    Raises:
        InputError: no data set, or no speech in it.
    """
    config = config or OffsetConfig()
    data, model = open_dataset(path), load_encoder(encoder)
    rows: dict[str, list[Tensor]] = {}
    for name in clips_of(data, split):
        similarity = _similarity(model, data, name)
        rows.setdefault(data.source(name).name, []).append(similarity)
    stored = {entry.name: entry.av_offset_frames for entry in data.index.sources}
    whole = [part for parts in rows.values() for part in parts]
    mean = sum(stored[recording] for recording in rows) / max(1, len(rows))
    found = [_read(None, whole, mean, config)]
    for recording, parts in rows.items():
        if sum(map(len, parts)) / FRAME_RATE_HZ >= config.least_speech_s:
            found.append(_read(recording, parts, stored[recording], config))
    known = [one for one in found if one is not None]
    if not known:
        raise InputError(
            f"data set {path} holds too little speech to find an offset: add recordings"
        )
    return known


def store_offsets(path: Path, found: list[SourceOffset], split: Split) -> list[SourceOffset]:
    """Store the sure ones: the data set's for every recording, then each recording's own.

    What was heard of one ``split`` is stored for its own recordings alone.
    """
    sure = [one for one in found if one.sure and (split == "all" or one.name is not None)]
    for one in sure:
        set_av_offset(path, round(one.frames, 3), one.name)
    return sure


def _similarity(model: SE4Lip, data: Dataset, name: str) -> Tensor:
    probe = Probe.of(data.clip(name))
    speech, lips, _ = model.embed_clip(probe.samples, probe.lips, probe.contour)
    return similarity_by_sound(speech, lips, SyncConfig())[probe.speaking]


def _read(
    name: str | None, parts: list[Tensor], stored_frames: float, config: OffsetConfig
) -> SourceOffset | None:
    rows = torch.cat(parts) if parts else torch.zeros(0, 1)
    reading = read_similarity(rows, torch.ones(len(rows), dtype=torch.bool), SyncConfig())
    if reading is None:
        return None
    doubt = ""
    if reading.at_edge:
        doubt = f"the offset is {SyncConfig().max_shift} frames or more, beyond what is searched"
    elif reading.lead < config.least_lead:
        doubt = (
            f"the best offset leads by {reading.lead:.1f} standard errors, and "
            f"{config.least_lead:.1f} are needed to be sure"
        )
    return SourceOffset(name, reading, len(rows) / FRAME_RATE_HZ, stored_frames, doubt)
