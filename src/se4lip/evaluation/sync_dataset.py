"""The verb ``sync`` on a prepared data set: one offset for recordings that share a cause.

A clip of a second says too little by itself; hundreds from one camera chain say together, to a
part of a frame, how late its sound lies.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from se4lip.artifacts.encoder import load_encoder
from se4lip.encoder.model import SE4Lip
from se4lip.evaluation.sync_video import SyncVerdictConfig, Verdict, beyond
from se4lip.io.dataset import Dataset, open_dataset, read_index, set_av_offsets
from se4lip.metrics.sync import (
    FRAME_MS,
    SyncConfig,
    SyncReading,
    read_similarity,
    similarity_by_sound,
)
from se4lip.train.split import Split, clips_of, evenly
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

    ``name`` is that of its ``SourceEntry``, which is unique. ``reading`` is of the sound as it was
    recorded: what is stored does not change it.
    """

    name: str | None
    reading: SyncReading
    speech_seconds: float
    stored_frames: float  # applied on loading; of all: where it differs most from ``frames``
    doubt: str  # why it is not to be believed; empty when it is

    @property
    def sure(self) -> bool:
        return not self.doubt

    @property
    def frames(self) -> float:
        """The whole offset, whatever of it is stored."""
        return self.reading.offset_ms / FRAME_MS

    @property
    def left_frames(self) -> float:
        """What is left of it in a clip as it is loaded, the stored offset applied."""
        return self.frames - self.stored_frames

    @property
    def verdict(self) -> Verdict:
        """Of the sound as it is loaded, the stored offset applied."""
        if not self.sure:
            return "cannot-tell"
        near = abs(round(self.left_frames)) <= SyncVerdictConfig.in_sync_frames
        return "in-sync" if near else "out-of-sync"

    def to_json(self) -> dict[str, object]:
        """As ``SyncReport.to_json``, and what was stored before."""
        reading, known = self.reading, self.sure
        return {
            "verdict": self.verdict,
            "reason": self.doubt,
            "offset_frames": round(self.left_frames) if known else None,
            "offset_ms": round(self.left_frames * FRAME_MS, 1) if known else None,
            "confidence": round(reading.confidence, 4),
            "lead": round(reading.lead, 2),
            "speech_seconds": round(self.speech_seconds, 2),
            "stored_frames": round(self.stored_frames, 3),
        }


@dataclass(frozen=True)
class Offsets:
    """What a data set says of its recordings, each of which is in just one of the four."""

    whole: SourceOffset
    """Of all recordings that do not contradict it."""
    own: tuple[SourceOffset, ...]
    """Of those with speech enough for an offset of their own, sure or not."""
    apart: tuple[SourceOffset, ...]
    """Too short for an offset of their own, but sure that the whole's is not theirs."""
    brief: tuple[str, ...]
    """Names of those that say too little to have a say of their own."""

    @property
    def verdict(self) -> Verdict:
        """Out of sync when any is that is sure; else what all together say, if any go by them."""
        follow = self.brief or not all(one.sure for one in self.own)
        told = (self.whole, *self.own, *self.apart) if follow else (*self.own, *self.apart)
        if any(one.verdict == "out-of-sync" for one in told):
            return "out-of-sync"
        return self.whole.verdict if follow else "in-sync"


def dataset_offsets(
    path: Path,
    encoder: Path | None = None,
    split: Split = "all",
    config: OffsetConfig | None = None,
    most_clips: int | None = None,
) -> Offsets:
    """The offset of the whole data set, and of every recording with speech enough.

    With ``split`` only its recordings are listened to, so that a test can stay as it was found;
    with ``most_clips`` no more than so many, spread evenly.

    Raises:
        InputError: no data set, or no speech in it.
    """
    config = config or OffsetConfig()
    data, model = open_dataset(path), load_encoder(encoder)
    rows: dict[str, list[Tensor]] = {}
    for name in evenly(clips_of(data, split), most_clips):
        similarity = _similarity(model, data, name)
        rows.setdefault(data.source(name).name, []).append(similarity)
    stored = {entry.name: entry.av_offset_frames for entry in data.index.sources}
    alone = {name: _read(name, parts, stored[name], config) for name, parts in rows.items()}
    own = [
        one
        for one in alone.values()
        if one is not None and one.speech_seconds >= config.least_speech_s
    ]
    long = {one.name for one in own}
    # Whoever has an offset of his own keeps it, so only the others have to fit the whole.
    follow = [name for name in rows if name not in {one.name for one in own if one.sure}] or rows
    whole = _whole(rows, follow, stored, config)
    if whole is None:
        raise InputError(
            f"data set {path} holds too little speech to find an offset: add recordings"
        )
    sure = [one for one in alone.values() if one is not None and one.sure]
    against = [one for one in sure if _contradict(one, whole)]
    if against and whole.sure:
        names = {one.name for one in against}
        agreeing = {name: parts for name, parts in rows.items() if name not in names}
        fitting = [name for name in follow if name not in names]
        whole = _whole(agreeing, fitting or agreeing, stored, config) or whole
        if 2 * len(against) >= len(sure):
            doubt = f"of {len(sure)} recordings that are sure of theirs {len(against)} disagree"
            whole = replace(whole, doubt=doubt)
    apart = [one for one in against if one.name not in long]
    told = long | {one.name for one in apart}
    brief = tuple(name for name in rows if name not in told)
    return Offsets(whole, tuple(own), tuple(apart), brief)


def store_offsets(path: Path, found: Offsets, split: Split) -> list[SourceOffset]:
    """Store the sure ones, and return them: every recording's own, the whole's for the others.

    The whole's goes to no recording that contradicts it. What was heard of one ``split`` is stored
    for its own recordings alone. Storing twice changes nothing.
    """
    own = [one for one in found.own if one.sure]
    kept = {one.name for one in (*own, *found.apart)}
    names = {entry.name for entry in read_index(path).sources}
    offsets = {one.name: one.frames for one in own}
    stored = own
    if found.whole.sure and split == "all":
        offsets |= dict.fromkeys(names - kept, found.whole.frames)
        stored = [found.whole, *own]
    set_av_offsets(path, {name: round(frames, 3) for name, frames in offsets.items() if name})
    return stored


def _contradict(one: SourceOffset, whole: SourceOffset) -> bool:
    return abs(one.frames - whole.frames) > SyncVerdictConfig.in_sync_frames


def _similarity(model: SE4Lip, data: Dataset, name: str) -> Tensor:
    probe = Probe.of(data.clip(name, as_recorded=True))
    speech, lips, _ = model.embed_clip(probe.samples, probe.lips, probe.contour)
    return similarity_by_sound(speech, lips, SyncConfig())[probe.speaking]


def _whole(
    rows: Mapping[str, list[Tensor]],
    follow: Iterable[str],
    stored: Mapping[str, float],
    config: OffsetConfig,
) -> SourceOffset | None:
    """What all ``rows`` say together; what is stored is that of ``follow`` which fits it least."""
    parts = [part for parts in rows.values() for part in parts]
    found = _read(None, parts, 0.0, config)
    if found is None:
        return None
    frames = found.frames
    least = max((stored[name] for name in follow), key=lambda had: abs(frames - had))
    return replace(found, stored_frames=least)


def _read(
    name: str | None, parts: list[Tensor], stored_frames: float, config: OffsetConfig
) -> SourceOffset | None:
    rows = torch.cat(parts) if parts else torch.zeros(0, 1)
    reading = read_similarity(rows, torch.ones(len(rows), dtype=torch.bool), SyncConfig())
    if reading is None:
        return None
    doubt = ""
    if reading.at_edge:
        doubt = beyond(reading)
    elif reading.lead < config.least_lead:
        doubt = (
            f"the best offset leads by {reading.lead:.1f} standard errors, and "
            f"{config.least_lead:.1f} are needed to be sure"
        )
    return SourceOffset(name, reading, len(rows) / FRAME_RATE_HZ, stored_frames, doubt)
