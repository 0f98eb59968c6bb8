"""Which clips train, which validate, which are only ever looked at once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, TypeVar

from se4lip.io.dataset import Dataset

T = TypeVar("T")
Split = Literal["all", "train", "validation", "test"]

EVERY = 10  # of the sorted recordings: the first of ten tests, the sixth validates, the rest train


def evenly(names: Sequence[T], most: int | None) -> list[T]:
    """At most so many, spread evenly from the first to the last; all when ``most`` is None."""
    if most is None or most >= len(names):
        return list(names)
    return [names[round(i * (len(names) - 1) / max(1, most - 1))] for i in range(most)]


def clips_of(data: Dataset, split: Split) -> list[str]:
    """The clips of ``split``, sorted. The same rule for encoder and heads, so that nothing leaks.

    The rule counts recordings, also those of which no clip could be made, so that it does not shift
    when a tracker fails; a recording that was cut into several clips goes to one split. Of fewer
    than ten recordings all train, and nothing is held out.
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
