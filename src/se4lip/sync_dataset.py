"""The verb ``sync`` on a prepared data set: one offset for recordings that share a cause.

A clip of a second says too little by itself; hundreds from one camera chain say together, to a
part of a frame, how late its sound lies.
"""

from __future__ import annotations

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
from se4lip.train.validation import Probe
from se4lip.types import InputError

LEAST_LEAD = 4.0  # standard errors; a stored offset changes training, so it must be sure
LEAST_SPEECH_S = 10.0  # a recording with this much speech can have an offset of its own


@dataclass(frozen=True)
class SourceOffset:
    """How late the sound of a recording (or of all: ``source`` is None) lies, in source frames."""

    source: str | None
    reading: SyncReading
    speech_seconds: float
    stored_frames: float  # what was applied on loading when this was measured

    @property
    def frames(self) -> float:
        """The whole offset: what is stored and what was still found."""
        return self.stored_frames + self.reading.offset_ms / FRAME_MS

    @property
    def sure(self) -> bool:
        return self.reading.lead >= LEAST_LEAD and not self.reading.at_edge


def dataset_offsets(path: Path, encoder: Path | None = None) -> list[SourceOffset]:
    """The offset of the whole data set first, then of every recording with speech enough.

    Raises:
        InputError: no data set, or no speech in it.
    """
    data, model = open_dataset(path), load_encoder(encoder)
    rows: dict[str, list[Tensor]] = {}
    for name in data.names:
        similarity = _similarity(model, data, name)
        rows.setdefault(data.source(name).source, []).append(similarity)
    stored = {entry.source: entry.av_offset_frames for entry in data.index.sources}
    whole = [part for parts in rows.values() for part in parts]
    mean = sum(stored[source] for source in rows) / max(1, len(rows))
    found = [_read(None, whole, mean)]
    for source, parts in rows.items():
        if sum(map(len, parts)) / 25 >= LEAST_SPEECH_S:
            found.append(_read(source, parts, stored[source]))
    known = [one for one in found if one is not None]
    if not known:
        raise InputError(
            f"data set {path} holds too little speech to find an offset: add recordings"
        )
    return known


def store_offsets(path: Path, found: list[SourceOffset]) -> list[SourceOffset]:
    """Store the sure ones: the data set's for every recording, then each recording's own."""
    sure = [one for one in found if one.sure]
    for one in sure:
        set_av_offset(path, round(one.frames, 3), one.source)
    return sure


def _similarity(model: SE4Lip, data: Dataset, name: str) -> Tensor:
    probe = Probe.of(data.clip(name))
    speech, lips, _ = model.embed_clip(probe.samples, probe.lips, probe.contour)
    return similarity_by_sound(speech, lips, SyncConfig())[probe.speaking]


def _read(source: str | None, parts: list[Tensor], stored_frames: float) -> SourceOffset | None:
    rows = torch.cat(parts)
    reading = read_similarity(rows, torch.ones(len(rows), dtype=torch.bool), SyncConfig())
    return SourceOffset(source, reading, len(rows) / 25, stored_frames) if reading else None
