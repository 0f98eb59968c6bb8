"""The page of ``se4lip bench features``: tables with mean and spread, gains with intervals, and
what the paper claims beside what was measured."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from se4lip.bench import pictures
from se4lip.bench.asked import OWN, VOICES, is_portrait
from se4lip.bench.features_claims import claims
from se4lip.bench.features_sections import (
    LIPS_ALONE,
    Section,
    gain_of,
    gain_over_best,
    judge_of,
    knows,
    sections_of,
    shares_of,
    unjudged,
)
from se4lip.bench.features_text import (
    ABOUT_DRAWN,
    ABOUT_LIPS,
    BEGUN,
    PORTRAIT,
    TEXT,
    about_lag,
)
from se4lip.bench.figures import DRAWN, JUDGE_CONFIDENCE, LIPS, SYNC, Figure, at_lag, common_lag
from se4lip.bench.gains import LEAST_RECORDINGS, Rows, per_seed
from se4lip.bench.judges import Judges
from se4lip.bench.kinds import NamedFeatures
from se4lip.bench.record import as_list, circumstances, known, options, table, write_result
from se4lip.io.dataset import Dataset
from se4lip.train.devices import chosen_device


@dataclass(frozen=True)
class Comparison:
    """What was compared, and in which circumstances its figures were made."""

    data: Dataset
    heads: list[str]
    kinds: list[NamedFeatures]
    config: Any
    judges: Judges
    made: list[tuple[dict[str, Any], int]] = field(default_factory=list)
    left_out: str = ""
    grids: list[Path] = field(default_factory=list)
    begun_with: str | None = None


def write_page(results: Path, comparison: Comparison, rows: list[dict[str, Any]]) -> Path:
    """Write ``features-DATASET.md``, its plots and its figures."""
    sections = sections_of(rows)
    texts, told, shares = [], [], []
    for section in sections:
        text, gains, shared = _section(section, comparison)
        texts.append(text)
        told += gains
        shares += shared
    config = comparison.config
    made = circumstances(
        chosen_device("cpu"),
        seeds=", ".join(map(str, range(config.seeds))),
        options=options(config),
        heads=", ".join(comparison.heads),
    )
    name = f"features-{comparison.data.name}"
    if comparison.begun_with is not None:
        name += f"-after-{comparison.begun_with}"
    portrait = is_portrait(comparison.data)
    text = TEXT.format(
        dataset=comparison.data.name,
        quick=f"A quick run: {comparison.left_out}.\n\n" if comparison.left_out else "",
        seeds=config.seeds,
        steps=config.steps,
        takes="all training takes"
        if config.train_takes is None
        else f"at most {config.train_takes} takes",
        voices=config.voices,
        ours=comparison.kinds[0].name,
        least=LEAST_RECORDINGS,
        begun=BEGUN.format(of=comparison.begun_with) if comparison.begun_with else "",
        portrait=PORTRAIT.format(folds=config.folds) if portrait else "",
        one_seed="" if config.seeds > 1 else "\nWith one seed, intervals hold clips alone.\n",
        claims=claims(sections, told, shares),
        kinds=table(
            ["features", "who they are"], [[one.name, one.about] for one in comparison.kinds]
        ),
        missing=_missing(comparison, sections),
        sections="\n".join(texts),
        name=name,
        forest=f"![Gains by renderer]({name}-gains.png)\n\n" if told else "",
        grids="".join(f"Video of all features: `{file}`\n\n" for file in comparison.grids),
        circumstances=as_list(made),
        figures_made=_figures_made(comparison.made),
    )
    plots = {"bars": _bars(sections)}
    if told:
        plots["gains"] = _forest(told)
    plain = {
        "config": asdict(config),
        "circumstances": made,
        "figures_made": [{"figures": count, **one} for one, count in comparison.made],
        "features": {one.name: asdict(one.kind.identity) for one in comparison.kinds},
        "gains": [known(one) for one in told],
        "shares": [known(one) for one in shares],
        "rows": rows,
    }
    return write_result(results, name, text, plain, plots)


def _section(
    section: Section, comparison: Comparison
) -> tuple[str, list[dict[str, Any]], list[dict[str, Any]]]:
    """Its part of the page, its gains, and the shares of the real video's figures."""
    clips, recordings = len(section.clips), section.recordings
    title = f"## {section.label}: {section.what} ({clips} clips of {recordings} recordings)\n"
    about = ABOUT_LIPS if section.head is None else ABOUT_DRAWN
    parts = [title] if section.what not in (OWN, VOICES) else [title, about]
    lag = common_lag(section.rows) if section.head is None else None
    tables: list[tuple[str, Sequence[Figure]]] = [
        ("features", LIPS if section.head is None else DRAWN)
    ]
    if lag is not None:
        tables = [("features", (*LIPS[:2], *(at_lag(lag) if lag else ())))]
        parts.append(about_lag(lag))
    if section.head is not None:
        tables.append(("sync", SYNC))
        why = {name: _why_no_judge(rows, comparison.judges) for name, rows in section.rows.items()}
        section = unjudged(section, [name for name, reason in why.items() if reason])
        for reason in dict.fromkeys(filter(None, why.values())):
            of = ", ".join(name for name, one in why.items() if one == reason)
            parts.append(f"Second judge of {of}: not computed: {reason}.\n")
    told: list[dict[str, Any]] = []
    for head, figures in tables:
        shown = [one for one in figures if knows(section, one)]
        if shown:
            text, gains = _table(section, head, shown)
            parts.append(text)
            told += gains
    shares = [] if section.head is None else shares_of(section, tables[-1][1])
    if shares:
        lines = [[one["features"], one["label"], gain_of(one).share_text()] for one in shares]
        parts.append(table(["features", "figure", "share of the real video's"], lines) + "\n")
    return "\n".join(parts), told, shares


def _table(
    section: Section, head: str, figures: Sequence[Figure]
) -> tuple[str, list[dict[str, Any]]]:
    lines = [[name, *(_cell(rows, one) for one in figures)] for name, rows in section.rows.items()]
    if any(one.real for one in figures):
        first = next(iter(section.rows.values()))
        real = [_cell(first, one, real=True) for one in figures]
        if any(cell != "-" for cell in real):
            lines.append(["the real video", *real])
    told = []
    for name in section.compared:
        cells = []
        for one in figures:
            rival, found = gain_over_best(section, name, one)
            cells.append("-" if rival is None else f"{found} over {rival}")
            if rival is not None:
                told.append(
                    {"head": section.head, "set": section.what, "features": name}
                    | {"figure": one.key, "label": one.label, "over": rival, **asdict(found)}
                )
        lines.append([f"**gain of {name}**", *cells])
    return table([head, *(one.label for one in figures)], lines) + "\n", told


def _cell(rows: list[dict[str, dict[str, Any]]], figure: Figure, real: bool = False) -> str:
    statistic = figure.real if real else figure.statistic
    if statistic is None:
        return "-"
    means = per_seed(rows, statistic)
    means = means[means == means]
    if not len(means):
        return "-"
    spread = f" ± {means.std(ddof=1):.{figure.digits}f}" if len(means) > 1 and not real else ""
    return f"{means.mean():.{figure.digits}f}{spread}"


def _why_no_judge(rows: Rows, judges: Judges) -> str:
    """Empty, or why the second judge may not judge the clips of one kind of features: those of the
    seed in which least speech is seen."""
    kept = [
        sum(clip["judge"]["frames"] for clip in of_seed.values() if clip.get("judge"))
        for of_seed in rows
    ]
    if judges.second is not None and not any(kept):
        return "the clips are shorter than what it looks at, or show no face"
    judged = [clip for of_seed in rows for clip in of_seed.values() if clip.get("judge")]
    return judges.may_judge(min(kept), min((clip["frames"] for clip in judged), default=0))


def _missing(comparison: Comparison, sections: Sequence[Section]) -> str:
    if not any(section.head for section in sections):
        return "Nothing was drawn: sync, PSNR and LPIPS are not computed.\n"
    said = [
        f"{name} is not computed: {why}.\n"
        for name, why in comparison.judges.why.items()
        if name not in ("gate", "second judge")
    ]
    return "".join(said)


def _figures_made(made: Sequence[tuple[dict[str, Any], int]]) -> str:
    lines = []
    for one, count in made:
        versions = ", ".join(f"{k} {v}" for k, v in one.get("versions", {}).items())
        where = ", ".join(str(one[key]) for key in ("commit", "processor", "python") if key in one)
        lines.append(
            f"- {count} sets of figures: commit {where}{', ' if versions else ''}{versions}"
        )
    return "\n".join(lines)


def _bars(sections: Sequence[Section]) -> pictures.Picture:
    """Correlation of aperture, and the judge's confidence where there is one."""
    groups = {}
    names = list(sections[0].rows)
    for section in sections:
        for figure in (LIPS[0], JUDGE_CONFIDENCE):
            if knows(section, figure):
                groups[f"{section.label}\n{section.what}\n{judge_of(figure)}"] = [
                    _bar(section.rows.get(name, []), figure) for name in names
                ]
    return pictures.bars(names, groups, "mean; the line is the range over seeds")


def _bar(rows: Sequence[Any], figure: Figure) -> tuple[float, float, float]:
    means = per_seed(rows, figure.statistic)
    return (means.mean(), means.min(), means.max()) if len(means) else (float("nan"),) * 3


def _forest(told: Sequence[dict[str, Any]]) -> pictures.Picture:
    groups: dict[str, list[tuple[str, float, float, float]]] = {}
    for one in told:
        line = f"{one['features']}, {one['set']}: {one['label']}"
        groups.setdefault(one["head"] or LIPS_ALONE, []).append(
            (line, one["percent"], one["low"], one["high"])
        )
    title = "gain over the best other features, 95 % of resamples (hollow: too few recordings)"
    return pictures.forest(groups, title)
