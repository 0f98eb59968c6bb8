"""Rows of ``se4lip bench features``, set by set and head by head: gains and shares of each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from se4lip.bench.figures import GAINLESS, JUDGE_CONFIDENCE, SHARED, Figure
from se4lip.bench.gains import Gain, gain, per_seed, share
from se4lip.bench.kinds import ours

LIPS_ALONE = "mouth codes, any renderer"


@dataclass(frozen=True)
class Section:
    """One set of clips, drawn by one head or by none: figures of each seed, by features."""

    head: str | None
    what: str
    rows: dict[str, list[dict[str, dict[str, Any]]]]

    @property
    def label(self) -> str:
        return self.head or LIPS_ALONE

    @property
    def clips(self) -> dict[str, dict[str, Any]]:
        return next(iter(self.rows.values()))[0]

    @property
    def recordings(self) -> int:
        return len({clip["recording"] for clip in self.clips.values()})

    @property
    def compared(self) -> list[str]:
        """Ours: the first features, and whatever else is of an encoder of ours."""
        first = next(iter(self.rows))
        return list(dict.fromkeys([first, *(name for name in self.rows if ours(name))]))

    @property
    def rivals(self) -> list[str]:
        return [name for name in self.rows if name not in self.compared]


def sections_of(rows: list[dict[str, Any]]) -> list[Section]:
    found: dict[tuple[str | None, str], dict[str, list[Any]]] = {}
    for row in rows:
        of = found.setdefault((row["head"], row["set"]), {})
        of.setdefault(row["features"], []).append(row["clips"])
    return [Section(head, what, of) for (head, what), of in found.items()]


def unjudged(section: Section, names: Sequence[str]) -> Section:
    """The same without what the second judge says of these features."""
    if not names:
        return section
    rows = {
        name: [{clip: {**of, "judge": None} for clip, of in of_seed.items()} for of_seed in seeds]
        if name in names
        else seeds
        for name, seeds in section.rows.items()
    }
    return replace(section, rows=rows)


def gain_over_best(section: Section, name: str, figure: Figure) -> tuple[str | None, Gain]:
    """The best other features by this figure, and the gain over them."""
    statistic = figure.statistic
    means = {rival: per_seed(section.rows[rival], statistic) for rival in section.rivals}
    known = {
        rival: float(of.mean()) for rival, of in means.items() if len(of) and of.mean() == of.mean()
    }
    if not known or figure.key in GAINLESS or not len(per_seed(section.rows[name], statistic)):
        return None, Gain(float("nan"), float("nan"), float("nan"), 0, 0)
    best = (max if statistic.higher_is_better else min)(known, key=lambda rival: known[rival])
    return best, gain(section.rows[name], section.rows[best], statistic)


def shares_of(section: Section, figures: Sequence[Figure]) -> list[dict[str, Any]]:
    found = []
    for name, rows in section.rows.items():
        for one in figures:
            if one.key in SHARED and one.real is not None and knows(section, one):
                reached = share(rows, one.statistic, one.real)
                found.append(
                    {"head": section.head, "set": section.what, "features": name}
                    | {"figure": one.key, "label": judge_of(one), **asdict(reached)}
                )
    return found


def judge_of(figure: Figure) -> str:
    return f"second judge's {figure.label}" if figure is JUDGE_CONFIDENCE else figure.label


def gain_of(told: dict[str, Any]) -> Gain:
    return Gain(**{key: told[key] for key in ("percent", "low", "high", "clips", "recordings")})


def knows(section: Section, figure: Figure) -> bool:
    return any(len(per_seed(rows, figure.statistic)) for rows in section.rows.values())
