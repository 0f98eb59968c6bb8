"""What was measured, beside what could not be and why: never a blank, never a stand-in."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

import numpy as np
from jaxtyping import Float

from se4lip.types import InputError

Better = Literal["higher", "lower", "near 0", "near the real one"]
V = TypeVar("V")


def mean_known(values: Iterable[float] | Float[np.ndarray, "..."], infinite: bool = False) -> float:
    """Of those that are known, NaN if none is. A frame without an error has an infinite PSNR; it
    counts only if ``infinite`` may be the answer."""
    found = np.asarray(values if isinstance(values, np.ndarray) else list(values), np.float64)
    found = found[~np.isnan(found) if infinite else np.isfinite(found)]
    return float(found.mean()) if len(found) else math.nan


@dataclass(frozen=True)
class Value:
    """A number, or the reason why there is none."""

    number: float | None
    why: str = ""

    @staticmethod
    def of(measure: Callable[[], float]) -> Value:
        """What ``measure`` says; the text of an InputError, or a word on NaN, is the reason."""
        try:
            number = float(measure())
        except InputError as error:
            return Value(None, str(error))
        if math.isnan(number):
            return Value(None, "nothing in these videos to measure it on")
        if math.isinf(number):
            return Value(None, "infinite: a picture equals the real one")
        return Value(number)


@dataclass(frozen=True)
class Figure:
    """One row of the table. ``real`` is the real video under the same judge, the ceiling; None
    where both videos are compared, or there is no real one."""

    key: str
    label: str
    better: Better
    predicted: Value
    real: Value | None


def judged(
    ours: V,
    real: V | None,
    rows: Iterable[tuple[str, str, Better, Callable[[V], float]]],
) -> Iterator[Figure]:
    """Figures that each video has by itself."""
    for key, label, better, measure in rows:
        theirs = None if real is None else Value.of(functools.partial(measure, real))
        yield Figure(key, label, better, Value.of(functools.partial(measure, ours)), theirs)


def compared(
    ours: V,
    real: V | None,
    rows: Iterable[tuple[str, str, Better, Callable[[V, V], float]]],
) -> Iterator[Figure]:
    """Figures of how far ``ours`` is from ``real``."""
    for key, label, better, measure in rows:
        value = Value(None, "needs --reference")
        if real is not None:
            value = Value.of(functools.partial(measure, ours, real))
        yield Figure(key, label, better, value, None)


@dataclass(frozen=True)
class Report:
    """Every figure of one predicted video."""

    predicted: str
    real: str | None
    frames: int
    figures: tuple[Figure, ...]
    notes: tuple[str, ...] = ()

    def __getitem__(self, key: str) -> Figure:
        return next(figure for figure in self.figures if figure.key == key)

    def plain(self) -> dict[str, Any]:
        """JSON values; a figure without a number has ``null`` and its reason."""
        figures: dict[str, Any] = {}
        for figure in self.figures:
            entry: dict[str, Any] = {"label": figure.label, "better": figure.better}
            for name, value in (("predicted", figure.predicted), ("real", figure.real)):
                if value is not None:
                    entry[name] = value.number
                    if value.why:
                        entry[f"{name}_not_computed"] = value.why
            figures[figure.key] = entry
        return {
            "predicted": self.predicted,
            "real": self.real,
            "frames": self.frames,
            "figures": figures,
            "notes": list(self.notes),
        }

    def missing(self) -> list[str]:
        """One sentence for every reason why figures of the predicted video are not computed."""
        reasons: dict[str, list[str]] = {}
        for figure in self.figures:
            if figure.predicted.why:
                reasons.setdefault(figure.predicted.why, []).append(figure.label)
        return [f"not computed: {'; '.join(labels)}: {why}" for why, labels in reasons.items()]
