"""Figures of clips, pooled over clips, and gains with intervals: the bootstrap over recordings and
seeds (Efron 1979, percentiles).

A statistic is a row of numbers a clip that may be added up, and the figure that a sum of them has:
so means, F1 of closures and readings of the sync judge are resampled alike. What was cut from one
recording is drawn together, for its pieces are not independent. Ours and theirs have the same
recordings in every resample, but each its own seeds: two networks that begin from one number have
nothing in common. Of S seeds the bootstrap shows (S - 1) / S of their variance: few seeds flatter.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float

from se4lip.evaluation.languages import LEAST_RECORDINGS

_KNOWN = 0.99  # of resamples, or there is no interval either
_RESAMPLES, _BOUNDS = 10_000, (2.5, 97.5)

Clips = Mapping[str, Mapping[str, Any]]  # figures of each clip, its "recording" among them
Rows = Sequence[Clips]  # of each seed


@dataclass(frozen=True)
class Statistic:
    """``of_clip`` is None where the clip does not know the figure; ``value`` is that of sums."""

    of_clip: Callable[[Mapping[str, Any]], Float[np.ndarray, " K"] | None]
    value: Callable[[Float[np.ndarray, "*B K"]], Float[np.ndarray, "*B"]]
    higher_is_better: bool


@dataclass(frozen=True)
class Gain:
    """In percent, with the interval of 95 % of resamples: NaN of too few recordings."""

    percent: float
    low: float
    high: float
    clips: int
    recordings: int

    def __str__(self) -> str:
        if not np.isfinite(self.percent):
            return "-"
        if not np.isfinite(self.low):
            return f"{self.percent:+.1f} % (too few recordings)"
        return f"{self.percent:+.1f} % ({self.low:+.1f} to {self.high:+.1f})"

    def share_text(self) -> str:
        """Of a share, which has no sign."""
        return str(self).replace("+", "")


def per_seed(rows: Rows, statistic: Statistic) -> Float[np.ndarray, " S"]:
    """The figure of all clips together, of each seed; empty where no clip knows it."""
    clips = _shared([rows], statistic)
    if not clips:
        return np.zeros(0)
    sums = _by_recording(rows, statistic, clips)[0]
    return np.asarray(statistic.value(sums.sum(1)), float)


def gain(ours: Rows, theirs: Rows, statistic: Statistic) -> Gain:
    """How much better ours is than theirs, in percent of theirs, over clips that both know. Where
    less is better the gain is what is saved."""
    sign = 1 if statistic.higher_is_better else -1
    return _compared(ours, theirs, statistic, statistic, lambda a, b: 100 * sign * (a - b) / abs(b))


def share(rows: Rows, drawn: Statistic, real: Statistic) -> Gain:
    """How much of the real video's figure the drawn one reaches, in percent."""
    return _compared(rows, rows, drawn, real, lambda a, b: 100 * a / b, same_seeds=True)


def _compared(
    ours: Rows,
    theirs: Rows,
    of_ours: Statistic,
    of_theirs: Statistic,
    percent: Callable[[np.ndarray, np.ndarray], np.ndarray],
    same_seeds: bool = False,
) -> Gain:
    first, second = _shared([ours], of_ours), _shared([theirs], of_theirs)
    clips = [name for name in first if name in set(second)]
    if not clips:
        return Gain(np.nan, np.nan, np.nan, 0, 0)
    a, units = _by_recording(ours, of_ours, clips)
    b, _ = _by_recording(theirs, of_theirs, clips)

    def ratio(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.where(y == 0, np.nan, percent(x, y))

    point = ratio(of_ours.value(a.sum(1)).mean(), of_theirs.value(b.sum(1)).mean())
    low = high = float("nan")
    if len(units) >= LEAST_RECORDINGS:
        random = np.random.default_rng(0)
        drawn = random.multinomial(len(units), np.full(len(units), 1 / len(units)), _RESAMPLES)
        seeds_a = random.multinomial(len(a), np.full(len(a), 1 / len(a)), _RESAMPLES)
        seeds_b = random.multinomial(len(b), np.full(len(b), 1 / len(b)), _RESAMPLES)
        spread = ratio(
            _resampled(a, of_ours, drawn, seeds_a),
            _resampled(b, of_theirs, drawn, seeds_a if same_seeds else seeds_b),
        )
        # Resamples of which the figure is unknown are no accident: less speech, fewer closures.
        if np.isfinite(spread).mean() >= _KNOWN:
            low, high = map(float, np.nanpercentile(spread, _BOUNDS))
    return Gain(float(point), low, high, len(clips), len(units))


def _resampled(
    sums: Float[np.ndarray, "S U K"],
    statistic: Statistic,
    drawn: Float[np.ndarray, "R U"],
    seeds: Float[np.ndarray, "R S"],
) -> Float[np.ndarray, " R"]:
    """The mean over seeds of the figure of each resample."""
    values = np.stack([statistic.value(drawn @ of_seed) for of_seed in sums], axis=1)
    return np.where(seeds > 0, values * seeds, 0).sum(1) / seeds.sum(1)


def _by_recording(
    rows: Rows, statistic: Statistic, clips: Sequence[str]
) -> tuple[Float[np.ndarray, "S U K"], list[str]]:
    """Sums of each seed and recording."""
    recording = [str(rows[0][name].get("recording", name)) for name in clips]
    units = list(dict.fromkeys(recording))
    member = np.array([[one == unit for one in recording] for unit in units], float)
    found = []
    for of_seed in rows:
        known = [statistic.of_clip(of_seed[name]) for name in clips]
        found.append(member @ np.stack([one for one in known if one is not None]))
    return np.stack(found), units


def _shared(every: Sequence[Rows], statistic: Statistic) -> list[str]:
    """Clips whose figure all seeds know."""
    rows = [of_seed for one in every for of_seed in one]
    if not rows:
        return []
    return [
        name
        for name in rows[0]
        if all(name in one and statistic.of_clip(one[name]) is not None for one in rows)
    ]
