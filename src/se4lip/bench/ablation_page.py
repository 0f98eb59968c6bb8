"""The page of the ablation: what each variant was given and reached, and which were chosen why."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from se4lip.bench import pictures
from se4lip.bench.record import as_list, table, write_result
from se4lip.evaluation.plots import Picture

OWN = "same speaker"
FIGURES = {
    "offset_5": "offset, 5 frames",
    "offset_15": "offset, 15 frames",
    "retrieval": "retrieval",
    "lips_r2": "R² of lips",
}
_SHIPPED = "stft, gru, 5 frames"
_RANK = "R², validation"
_TEXT = """# Which encoder hears lips best

`se4lip bench ablation` on {dataset}: {train} training clips, {clips} of them a step, {validation}
validation clips. *{shipped}* is the shipped architecture. Contours stand for lips and nothing is
augmented (`src/se4lip/bench/ablation_task.py`), so these figures rank variants and are not the
shipped encoder's. All variants are within a few percent as large, and all fronts have the same
normalisation, channel removal and dropout.

## Chosen for a full head

{chosen}

```
{commands}
```

{stages}

## How to read it

± is the spread over seeds. The offset is right within one frame of 31 (by chance: {chance}).
Retrieval finds the frame's own lips (± 1) among all of the clip. R² is what a linear map of the
frozen feature tells of the lips' shape: a fast stand-in for a head, learned from {dataset} alone,
also where other people are asked. Variants are ranked by it on validation clips; tables show other
clips, which chose nothing. Windows are stretches of speech and lips seen in training; seconds are
processor seconds of training.

## How it was made

{circumstances}
"""


def write_page(
    results: Path,
    name: str,
    told: dict[str, Any],
    made: dict[str, Any],
    rows: Sequence[dict[str, Any]],
    chosen: Sequence[str],
) -> Path:
    """``NAME.md`` with plots and figures. ``chosen`` are names of variants, the best first."""
    stages = sorted({row["stage"] for row in rows})
    last = _Stage([row for row in rows if row["stage"] == stages[-1]])
    files = {variant: last.rows(variant)[0]["file"] for variant in chosen}
    plots: dict[str, Picture] = {}
    parts = []
    for stage in stages:
        one = _Stage([row for row in rows if row["stage"] == stage])
        parts.append(_stage_text(one, stage, told, name))
        plots[f"stage-{stage}"] = one.bars(told)
    heard = " \\\n        ".join(f'"variant:{file}"' for file in files.values())
    text = _TEXT.format(
        dataset=told["dataset"],
        train=told["training"],
        clips=told["clips a step"],
        validation=told["validation"],
        shipped=_SHIPPED,
        chosen=_why(last, chosen),
        commands=f"se4lip bench features DATASET --heads HEAD.safetensors --work WORK \\\n"
        f"        --features se4lip {heard}",
        stages="\n\n".join(parts),
        chance=_chance(rows[0], told),
        circumstances=as_list(made),
    )
    picked = [{"variant": variant, "file": file} for variant, file in files.items()]
    plain = {"told": told, "circumstances": made, "chosen": picked, "rows": list(rows)}
    return write_result(results, name, text, plain, plots)


class _Stage:
    """Rows that had one budget."""

    def __init__(self, rows: Sequence[dict[str, Any]]) -> None:
        self.every = rows
        names = list(dict.fromkeys(row["variant"] for row in rows))
        self.variants = sorted(names, key=lambda one: -self.rank(one).mean())

    def rows(self, variant: str) -> list[dict[str, Any]]:
        return [row for row in self.every if row["variant"] == variant]

    def rank(self, variant: str) -> Float[np.ndarray, " S"]:
        return np.array([row["validation_r2"] for row in self.rows(variant)])

    def of(self, variant: str, where: str, key: str) -> Float[np.ndarray, " S"]:
        """One figure of all seeds; NaN where it could not be asked."""
        found = [row["sets"][where][key] for row in self.rows(variant)]
        return np.array([np.nan if value is None else value for value in found])

    def table(self, where: str) -> str:
        """Of a set: figures, and of the own speaker's also what was given to reach them."""
        head = ["variant", *FIGURES.values()]
        if where == OWN:
            head = ["variant", _RANK, *FIGURES.values(), "weights", "windows", "seconds"]
        lines = []
        for variant in self.variants:
            figures = [_spread(self.of(variant, where, key)) for key in FIGURES]
            if where == OWN:
                figures = [_spread(self.rank(variant)), *figures, *self._budget(variant)]
            lines.append([variant, *figures])
        return table(head, lines)

    def _budget(self, variant: str) -> list[str]:
        rows = self.rows(variant)
        seconds = [row["seconds"] for row in rows if row["seconds"] is not None]
        return [
            f"{rows[0]['numbers'] / 1e6:.3f} M",
            f"{np.mean([row['windows'] for row in rows]):,.0f}",
            f"{np.mean(seconds):,.0f}" if seconds else "-",
        ]

    def bars(self, told: dict[str, Any]) -> Picture:
        def height(values: Float[np.ndarray, " S"]) -> tuple[float, float, float]:
            return float(values.mean()), float(values.min()), float(values.max())

        # The shipped one first: the plot gives the first its own colour.
        names = sorted(self.variants, key=lambda one: one != _SHIPPED)
        groups = {_RANK: [height(self.rank(one)) for one in names]}
        for where in told["sets"]:
            for key in ("offset_15", "lips_r2"):
                label = f"{FIGURES[key]}\n{where}"
                groups[label] = [height(self.of(one, where, key)) for one in names]
        short = [one.replace(", 5 frames", "").replace(",", "") for one in names]
        return pictures.bars(short, groups, f"{told['dataset']}, clips that taught nothing")


def _stage_text(stage: _Stage, number: int, told: dict[str, Any], name: str) -> str:
    steps, seeds = stage.every[0]["steps"], len({row["seed"] for row in stage.every})
    lines = [f"## Stage {number}: {steps} steps each, {_count(seeds, 'seed')}"]
    for where, clips in told["sets"].items():
        lines += [f"### {where}, {_count(clips, 'clip')}", stage.table(where)]
    lines.append(f"![Stage {number}]({name}-stage-{number}.png)")
    return "\n\n".join(lines)


def _why(stage: _Stage, chosen: Sequence[str]) -> str:
    """Who was chosen, and whether their lead is more than luck of the seeds."""
    shown = ", ".join(f"*{one}* ({_spread(stage.rank(one))})" for one in chosen)
    text = f"By R² on validation clips, of {len(stage.variants)} that were asked last: {shown}."
    best = stage.variants[0]
    if _SHIPPED not in stage.variants:
        return text
    if best == _SHIPPED:
        return f"{text} The shipped architecture leads."
    ours, theirs = stage.rank(_SHIPPED), stage.rank(best)
    lead = theirs.mean() - ours.mean()
    text += f" *{best}* leads the shipped architecture by {lead:.3f}"
    if len(ours) < 2:
        return f"{text}; with one seed, nobody knows whether by luck."
    luck = float(np.hypot(ours.std(ddof=1), theirs.std(ddof=1)))
    more = "more" if lead > luck else "no more"
    return f"{text}, which is {more} than seeds differ ({luck:.3f})."


def _chance(row: dict[str, Any], told: dict[str, Any]) -> str:
    parts = []
    for where in told["sets"]:
        pair = [row["sets"][where][f"chance_{context}"] for context in (5, 15)]
        shown = " and ".join("-" if one is None else f"{one:.3f}" for one in pair)
        parts.append(f"{where} {shown}")
    return ", ".join(parts)


def _spread(values: Float[np.ndarray, " S"]) -> str:
    if np.isnan(values).any():
        return "-"
    spread = f" ± {values.std(ddof=1):.3f}" if len(values) > 1 else ""
    return f"{values.mean():.3f}{spread}"


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"
