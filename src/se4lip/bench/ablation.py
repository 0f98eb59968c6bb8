"""``se4lip bench ablation``: which encoder hears lips best, at an equal budget.

In two stages. First all fronts with all nets in time, then the shipped encoder with other windows
and causal, for a short time each; then the best few and the shipped one for longer and with more
seeds. Each variant learns the same task from the same clips in the same order
(`bench.ablation_task`), has as many weights, and is judged on clips that taught nothing
(`bench.ablation_judge`): its own speaker's, and others' (``--others``).

Variants are ranked by a fast stand-in for a head: how much of the lips' shape a linear map tells
from the frozen features of validation clips. The best go on into a full head, by their files:
``--features variant:FILE``.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from se4lip.bench.ablation_config import AblationConfig, page_name
from se4lip.bench.ablation_judge import head_proxy, judge
from se4lip.bench.ablation_page import OWN, write_page
from se4lip.bench.ablation_task import (
    LEAST_FRAMES,
    VERSION,
    Heard,
    digest,
    heard,
    load_pair,
    teach,
)
from se4lip.bench.memory import Memory
from se4lip.bench.record import circumstances, options
from se4lip.bench.variants import SHIPPED
from se4lip.features.variant import Variant
from se4lip.io.dataset import Dataset, open_dataset
from se4lip.io.files import writable_folder
from se4lip.metrics.comparison import Ridge
from se4lip.train.devices import chosen_device
from se4lip.train.log import duration
from se4lip.train.split import Split, clips_of, evenly
from se4lip.types import InputError

_LEAST_JUDGED = 7  # frames of a clip that is asked about
_PROXY_CLIPS = 60  # whose features teach the stand-in for a head


def ablation(
    dataset: Path,
    others: Sequence[Path],
    work: Path,
    results: Path,
    config: AblationConfig,
    on_progress: Callable[[float], None] = lambda share: None,
    report: Callable[[str], None] = print,
) -> Path:
    """Teach and judge every variant, choose the best, write the page; returns it.

    Raises:
        InputError: a data set of which nothing is held out, or whose clips are too short.
    """
    for folder in (work, results):
        writable_folder(folder)
    bench = _Bench(dataset, others, work, config, on_progress, report)
    rows = bench.stage(1, config.variants, config.seeds)
    ranked = ranking(rows)
    if config.finalists:
        finalists = ranked[: config.finalists]
        rows += bench.stage(2, [*finalists, *_absent(finalists)], config.final_seeds)
        ranked = ranking([row for row in rows if row["stage"] == 2])
    best = ranked[: config.heads]
    chosen = [one.name for one in [*best, *_absent(best)] if one in ranked]
    made = circumstances(bench.device, options=options(config))
    return write_page(results, page_name(bench.data.name, config), bench.told, made, rows, chosen)


def _absent(variants: Sequence[Variant]) -> list[Variant]:
    """The shipped architecture, against which all is measured, if it is not there already."""
    return [] if SHIPPED in variants else [SHIPPED]


def ranking(rows: Sequence[dict[str, Any]]) -> list[Variant]:
    """Variants, the best first: R² of the lips' shape on validation clips, the mean over seeds."""
    found: dict[Variant, list[float]] = {}
    for row in rows:
        found.setdefault(Variant(**row["settings"]), []).append(row["validation_r2"])
    return sorted(found, key=lambda one: -float(np.mean(found[one])))


class _Bench:
    """The clips, and what was computed of them before."""

    def __init__(
        self,
        dataset: Path,
        others: Sequence[Path],
        work: Path,
        config: AblationConfig,
        on_progress: Callable[[float], None],
        report: Callable[[str], None],
    ) -> None:
        self.work, self.config, self.report = work, config, report
        self.data, self.memory = open_dataset(dataset), Memory(work)
        self.device = chosen_device(config.device)
        self.train = self._own("train", config.train_clips, LEAST_FRAMES)
        self.validation = self._own("validation", config.validation_clips)
        self.sets = {OWN: self._own("test", config.test_clips)}
        for path in others:
            other = open_dataset(path)
            names = evenly(other.names, config.other_clips)
            self.sets[other.name] = self._clips(other, names, _LEAST_JUDGED)
        self.train_digest = digest(self.train)
        self.proxy_digest = digest([*self.train[:_PROXY_CLIPS], *self.validation])
        self.digests = {name: digest(clips) for name, clips in self.sets.items()}
        steps = len(config.variants) * config.seeds * config.steps
        if config.finalists:
            steps += (config.finalists + 1) * config.final_seeds * config.final_steps
        self.pace = _Pace(steps, on_progress)

    @property
    def told(self) -> dict[str, Any]:
        """What the page says of the data."""
        return {
            "dataset": self.data.name,
            "clips a step": self.config.clips,
            "training": len(self.train),
            "validation": len(self.validation),
            "sets": {name: len(clips) for name, clips in self.sets.items()},
        }

    def stage(self, number: int, variants: Sequence[Variant], seeds: int) -> list[dict[str, Any]]:
        """A row for each variant and seed."""
        rows = []
        for variant in variants:
            for seed in range(seeds):
                began = time.perf_counter()
                row, found = self._row(number, variant, seed)
                rows.append(row)
                steps = self.config.budget(number).steps
                left = self.pace.after(steps, None if found else time.perf_counter() - began)
                self.report(f"stage {number}, {_line(row)}, {left}")
        return rows

    def _row(self, stage: int, variant: Variant, seed: int) -> tuple[dict[str, Any], bool]:
        config, budget = self.config, self.config.budget(stage)
        file, found = teach(
            *(variant, seed, budget, self.train, self.train_digest, self.work, config.precision),
            on_step=self.pace.during,
            report=self.report,
        )
        pair, made, sha256 = load_pair(file, self.device)

        @functools.cache
        def proxy() -> tuple[Ridge, float]:
            return head_proxy(pair, self.train[:_PROXY_CLIPS], self.validation)

        def judged(clips: Sequence[Heard]) -> dict[str, Any]:
            return judge(pair, clips, proxy()[0])

        key = ["ablation", VERSION, sha256, self.proxy_digest]
        r2 = self.memory.figures(lambda: {"r2": proxy()[1]}, *key)["r2"]
        sets = {
            name: self.memory.figures(partial(judged, clips), *key, self.digests[name])
            for name, clips in self.sets.items()
        }
        budgeted = {name: made[name] for name in ("numbers", "windows", "seconds")}
        told = f"WORK/{file.relative_to(self.work)}"  # pages are read on other machines
        row = {"stage": stage, "variant": variant.name, "seed": seed, "steps": budget.steps}
        row |= budgeted | {"file": told, "sha256": sha256, "validation_r2": r2, "sets": sets}
        return row | {"settings": _settings(variant)}, found

    def _own(self, split: Split, most: int | None, least: int = _LEAST_JUDGED) -> list[Heard]:
        names = evenly(clips_of(self.data, split), most)
        if not names:
            raise InputError(
                f"{self.data.path} has {len(self.data.recordings)} recordings, of which none are "
                "held out: prepare ten or more"
            )
        return self._clips(self.data, names, least)

    def _clips(self, data: Dataset, names: Sequence[str], least: int) -> list[Heard]:
        long = [name for name in names if data.frame_count(name) >= least]
        if not long:
            raise InputError(
                f"none of {len(names)} clips of {data.path} has {least} frames: prepare longer ones"
            )
        return [heard(data, name).to(self.device) for name in long]


def _settings(variant: Variant) -> dict[str, Any]:
    return {
        "front": variant.front,
        "net": variant.net,
        "window_frames": variant.window_frames,
        "causal": variant.causal,
    }


def _line(row: dict[str, Any]) -> str:
    figures = {"R² on validation": row["validation_r2"]}
    for name, some in row["sets"].items():
        figures |= {f"{name} {key}": some[key] for key in ("offset_5", "lips_r2")}
    shown = ", ".join(f"{k} {v:.3f}" for k, v in figures.items() if v is not None)
    return f"{row['variant']}, seed {row['seed']}: {shown}"


class _Pace:
    """How far it is, and how long it will be. Runs that were found done cost nothing."""

    def __init__(self, steps: int, on_progress: Callable[[float], None]) -> None:
        self.steps, self.on_progress = steps, on_progress
        self.done, self.fresh, self.seconds = 0, 0, 0.0

    def during(self, step: int) -> None:
        self.on_progress(min(1.0, (self.done + step + 1) / self.steps))

    def after(self, steps: int, seconds: float | None) -> str:
        """Count a run, which took ``seconds`` unless it was found; says the time left."""
        self.done += steps
        if seconds is not None:
            self.fresh, self.seconds = self.fresh + steps, self.seconds + seconds
        self.on_progress(min(1.0, self.done / self.steps))
        if not self.fresh:
            return "found done"
        left = max(0, self.steps - self.done) * self.seconds / self.fresh
        return f"{duration(left)} left in all"
