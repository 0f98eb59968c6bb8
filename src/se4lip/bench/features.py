"""``se4lip bench features``: the paper's experiment. Only the features change.

For each kind of features and each seed a window learns anew to hear, with the same takes, the same
other voices, the same network, the same steps (`bench.hearing`); every head of the person, one a
renderer, is then driven by the same windows. They are asked to say held-out clips:

* of their own person, in his own voice;
* the same clips in voices that no training heard (`audio.revoice`): other voices, known lips;
* sentences of his lips that were re-timed to other voices (``--same-lips``);
* clips of other people and languages (``--others``), whose lips move otherwise, but at the same
  moments: there only the correlations of aperture and width mean something.

Lips are judged on all clips as landmarks of the person's mouth model, which no renderer changes
(`bench.lips`). Some clips of the first two sets are drawn by each head with every seed, tracked and
judged (`bench.drawn`). All that can be missing is looked for before anything is computed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from se4lip.artifacts.avatar import avatar_file, load_avatar
from se4lip.bench.asked import AskedSet, asked_sets, folds
from se4lip.bench.drawn import Place, Stage
from se4lip.bench.features_config import FeaturesConfig
from se4lip.bench.features_page import Comparison, write_page
from se4lip.bench.grid import write_grid
from se4lip.bench.heads import NamedHead, hearing_as, opened
from se4lip.bench.hearing import Hearing, Lesson, RealLips, lips_of_set, recipe_of
from se4lip.bench.judges import loaded
from se4lip.bench.kinds import NamedFeatures, resolved
from se4lip.bench.memory import Memory
from se4lip.bench.record import provenance
from se4lip.evaluation.video import EvaluateConfig
from se4lip.face.tracker import Tracker
from se4lip.io.dataset import open_dataset
from se4lip.io.files import writable_folder
from se4lip.train.avatar_material import takes_of
from se4lip.train.split import evenly
from se4lip.types import InputError


def compare_features(
    dataset: Path,
    heads: Sequence[Path],
    others: Sequence[Path],
    phones: Path | None,
    work: Path,
    results: Path,
    tracker: Tracker | None,
    config: FeaturesConfig,
    videos: Path | None = None,
    grid: Path | None = None,
    same_lips: Sequence[Path] = (),
    judges: EvaluateConfig | None = None,
    left_out: str = "",
    begun_with: tuple[Path, Path] | None = None,
    on_progress: Callable[[float], None] = lambda share: None,
    report: Callable[[str], None] = print,
) -> Path:
    """Learn, ask, draw and judge; write ``features-DATASET.md``; returns the page.

    ``heads`` are avatars of the person in ``dataset``, one a renderer. Without a ``tracker``
    nothing is drawn. ``grid`` is a folder for videos of all features saying the same sentence;
    ``left_out`` says what a quick run does without. ``begun_with`` are data set and head of another
    person: all features first learn to hear on them, and every window begins with its own of that.

    Raises:
        InputError: files that cannot be read, heads of different persons, features that are not
            here, or clips that cannot be asked about; all before anything is computed.
    """
    provenance()  # of the code that is running, before anybody edits it
    for folder in (work, results, *([grid] if grid else [])):
        writable_folder(folder)
    data, memory = open_dataset(dataset), Memory(work)
    named_heads = opened([avatar_file(head) for head in heads])
    person = named_heads[0].avatar.person
    first_lesson = None if begun_with is None else _lesson_of(*begun_with, memory, config)
    kinds = resolved(config.features, config.encoders)
    splits = folds(data, config)
    if tracker is not None and config.drawn_takes:
        for _, asked in splits:
            for take in asked:
                data.frames(take.clip, videos)  # says at once that a recording is gone
    other_sets = [open_dataset(path) for path in others]
    lent_sets = [open_dataset(path) for path in same_lips]
    sets = asked_sets(
        *(data, splits, other_sets, lent_sets, phones, memory, config.other_clips),
    )
    judge_panel = loaded(judges or EvaluateConfig())
    stages: list[tuple[Stage, list[Place]]] = []
    if tracker is not None and config.drawn_takes:
        for head in named_heads:
            shared = hearing_as(head, person)
            stage = Stage(shared, data, tracker, judge_panel, memory, videos)
            stages.append((stage, stage.places(sets[0], config.drawn_takes)))

    lessons = [Lesson(data, person, train, memory) for train, _ in splits]

    def hearings_of(named: NamedFeatures, seed: int) -> list[Hearing]:
        recipe, folder = recipe_of(config, seed), work / "hearings"
        begun = None
        if first_lesson is not None:
            begun = Hearing(first_lesson, named, recipe, folder, report)
        return [Hearing(one, named, recipe, folder, report, begun) for one in lessons]

    hearings = {
        named.name: [hearings_of(named, seed) for seed in range(config.seeds)] for named in kinds
    }
    heads_seeds = config.seeds if config.drawn_seeds is None else config.drawn_seeds
    drawing = [list(of_kind[:heads_seeds]) for of_kind in hearings.values()]
    steps = _Steps(
        len(kinds) * config.seeds,
        sum(len(places) * 2 for _, places in stages) * sum(map(len, drawing)),
        on_progress,
    )
    real = [RealLips(person, one) for one in sets]
    rows: list[dict[str, Any]] = []
    for named in kinds:
        for seed, by_fold in enumerate(hearings[named.name]):
            for one in real:
                found = lips_of_set(by_fold, one)
                rows.append(_row(None, named.name, seed, one.asked.name, found))
                report(_line(rows[-1]))
            steps.heard()
    for stage, places in stages:
        rows += _drawn(stage, places, sets[:2], drawing, steps)
    files = _grids(grid, named_heads, hearings, sets[0], stages, memory, report)
    comparison = Comparison(
        data=data,
        heads=[head.label for head in named_heads],
        kinds=kinds,
        config=config,
        judges=judge_panel,
        made=memory.told(),
        left_out=left_out,
        grids=files,
        begun_with=None if first_lesson is None else first_lesson.data.name,
    )
    return write_page(results, comparison, rows)


def _lesson_of(dataset: Path, head: Path, memory: Memory, config: FeaturesConfig) -> Lesson:
    """What another person's windows learn from.

    Raises: InputError when data set or head cannot be read, or nothing of it trains.
    """
    data, person = open_dataset(dataset), load_avatar(head).person
    takes = evenly(takes_of(data, "train"), config.train_takes)
    if not takes:
        raise InputError(f"{dataset} has no training takes: nobody can begin with what they teach")
    return Lesson(data, person, takes, memory)


def _drawn(
    stage: Stage,
    places: Sequence[Place],
    sets: Sequence[AskedSet],
    drawing: Sequence[Sequence[Sequence[Hearing]]],
    steps: _Steps,
) -> list[dict[str, Any]]:
    """A row for each set, kind of features and seed, of all takes."""
    every = [by_fold for of_kind in drawing for by_fold in of_kind]
    clips: dict[tuple[str, str, int], dict[str, Any]] = {}
    for place in places:
        for set_name, hearing, clip, found in stage.draw(place, sets, every, steps.drawn):
            key = (set_name, hearing.named.name, hearing.recipe.speech.seed)
            clips.setdefault(key, {})[clip] = found
    return [
        _row(stage.head.label, name, seed, what, of) for (what, name, seed), of in clips.items()
    ]


def _grids(
    folder: Path | None,
    heads: Sequence[NamedHead],
    hearings: dict[str, list[list[Hearing]]],
    own: AskedSet,
    stages: Sequence[tuple[Stage, list[Place]]],
    memory: Memory,
    report: Callable[[str], None],
) -> list[Path]:
    """A video of each head that says one clip with all features of the first seed."""
    if folder is None:
        return []
    files = []
    places = {stage.head.label: (stage, of[0]) for stage, of in stages}
    for head in heads:
        stage, place = places.get(head.label, (None, None))
        fold = 0 if place is None else place.fold
        asked = own.parts[fold][0 if place is None else place.index]
        first = {name: by_seed[0][fold] for name, by_seed in hearings.items()}
        take = None if place is None else place.take
        files.append(write_grid(folder, head, first, asked, memory, stage, take))
        report(f"{files[-1]}: {asked.name}")
    return files


class _Steps:
    """The share done; a window takes as long as a hundred drawn clips or so."""

    def __init__(self, hearings: int, drawn: int, tell: Callable[[float], None]) -> None:
        self.total, self.done, self.tell = 100 * hearings + drawn, 0, tell

    def heard(self) -> None:
        self._add(100)

    def drawn(self) -> None:
        self._add(1)

    def _add(self, count: int) -> None:
        self.done += count
        self.tell(self.done / max(1, self.total))


def _row(
    head: str | None, name: str, seed: int, what: str, clips: dict[str, Any]
) -> dict[str, Any]:
    return {"head": head, "features": name, "seed": seed, "set": what, "clips": clips}


def _line(row: dict[str, Any]) -> str:
    known: dict[str, list[float]] = {}
    for figures in row["clips"].values():
        for key, value in figures.items():
            if isinstance(value, float):
                known.setdefault(key, []).append(value)
    means = ", ".join(f"{key} {np.mean(values):.3f}" for key, values in known.items())
    return f"{row['features']}, seed {row['seed']}, {row['set']}: {means}"
