"""Which clips train, which validate, which are only ever looked at once."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Literal, TypeVar

from se4lip.io.dataset import Dataset, open_dataset
from se4lip.types import InputError

T = TypeVar("T")
Split = Literal["all", "train", "validation", "test"]

# What is hashed of a recording. Where it lies is not: it may move.
_IDENTITY = ("name", "sha256", "size_bytes", "av_offset_frames", "clips")

EVERY = 10  # of the sorted recordings: the first of ten tests, the sixth validates, the rest train


def evenly(names: Sequence[T], most: int | None) -> list[T]:
    """At most so many, spread evenly from the first to the last; all when ``most`` is None."""
    if most is None or most >= len(names):
        return list(names)
    return [names[round(i * (len(names) - 1) / max(1, most - 1))] for i in range(most)]


def clips_of(data: Dataset, split: Split) -> list[str]:
    """The clips of ``split``, sorted. The same rule for encoder and heads.

    The rule counts recordings, also those of which no clip could be made, so that it does not shift
    when a tracker fails; a recording that was cut into several clips goes to one split. A data set
    that grows is split anew, and what was trained before may be tested then: train again.

    Of fewer than ten recordings all clips train an encoder, and nothing is held out. A head keeps
    out the last fifth of each (`avatar_material.takes_of`), which an encoder of one's own has heard
    then; the shipped one has not.
    """
    if split == "all":
        return list(data.names)
    if len(data.recordings) < EVERY:
        return list(data.names) if split == "train" else []
    kind = {0: "test", EVERY // 2: "validation"}
    chosen = {
        name for i, name in enumerate(data.recordings) if kind.get(i % EVERY, "train") == split
    }
    return [clip for clip in data.names if data.source(clip).name in chosen]


def check_split(data: Dataset, split: Split) -> None:
    """Raises: InputError when no clip of ``data`` is in ``split``."""
    if not clips_of(data, split):
        raise InputError(
            f"data set {data.path} has no clip in split {split!r}: prepare more recordings (of "
            f"fewer than {EVERY} none is kept out), or choose another split"
        )


def open_datasets(paths: Sequence[Path]) -> list[Dataset]:
    """The data sets in ``paths``, one at least.

    Raises:
        InputError: none is named, or one cannot be read.
    """
    if not paths:
        raise InputError("no data set was named: give folders that se4lip prepare wrote")
    return [open_dataset(path) for path in paths]


def digest(data: Dataset, split: Split) -> str:
    """A hash of what the clips of ``split`` are made of: recordings, cuts, offsets, settings.

    A run that goes on must find the data it began with; names and numbers of clips stay the same
    when recordings are prepared anew or an offset is stored.
    """
    return digest_of(data, clips_of(data, split))


def digest_of(data: Dataset, clips: Iterable[str]) -> str:
    """``digest`` of the named clips."""
    names = sorted(set(clips))
    sources = {source.name: asdict(source) for source in map(data.source, names)}
    recordings = [{key: sources[name][key] for key in _IDENTITY} for name in sorted(sources)]
    found = {"clips": names, "settings": data.index.settings, "recordings": recordings}
    return hashlib.sha256(json.dumps(found, sort_keys=True).encode()).hexdigest()
