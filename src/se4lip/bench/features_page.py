"""The page of ``se4lip bench features``: tables with mean and spread, gains with intervals."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from se4lip.artifacts.encoder import encoder_identity
from se4lip.bench import drawn, lips, pictures
from se4lip.bench.record import as_list, circumstances, options, table, write_result
from se4lip.io.dataset import Dataset
from se4lip.metrics.closure import ClosureCounts
from se4lip.metrics.comparison import Gain, paired_gain
from se4lip.train.devices import chosen_device

HIGHER = lips.FIGURES | drawn.FIGURES
_NAMES = {
    "aperture_correlation": "aperture r",
    "width_correlation": "width r",
    "lmd_px256": "LMD (px at 256)",
    "psnr_mouth_db": "PSNR of the mouth (dB)",
}
_TEXT = """# Which features make the better head

`se4lip bench features` on {dataset}. Every head keeps its looks and learns anew to hear: {seeds}
seed(s), {steps} steps each, {takes}, each also in {voices} other voice(s), the same for all
features. Means over clips; ± is the spread over seeds. Gains are of {ours} over the best other
features by that figure, paired by clip, with the interval of 95 % of 10,000 resamples of clips; for
LMD the gain is what is saved. A gain whose interval holds 0 is none.

No network judges here but where a second judge is named. "Drawn" clips went through renderer and
tracker; all others are landmarks of the head's own mouth model (`src/se4lip/bench/lips.py`). The
encoder of {ours} was trained on the training clips of grid_s1 (its card); other data sets are
people it never saw, whose lips can be compared only in how they move.

{sections}

![Figures by features]({name}-bars.png)

## How it was made

{circumstances}
"""


def write_page(
    results: Path,
    data: Dataset,
    heads: Sequence[Path],
    config: Any,
    rows: list[dict[str, Any]],
) -> Path:
    """Write ``features-DATASET.md``, its plot and its figures."""
    sections, gains, plots = [], [], {}
    for head in dict.fromkeys(row["head"] for row in rows):
        for what in dict.fromkeys(row["set"] for row in rows if row["head"] == head):
            chosen = [r for r in rows if r["head"] == head and r["set"] == what]
            means = {name: _by_clip(chosen, name) for name in config.features}
            figures = [
                key for key in _NAMES if any(key in m and _known(m[key]) for m in means.values())
            ]
            lines = [
                [name, *(_cell(chosen, name, key) for key in figures), _closures(chosen, name)]
                for name in means
            ]
            gain = {key: _gain(means, key, config.features[0]) for key in figures}
            told = [_told(*gain[key]) for key in figures]
            lines.append(["**gain over the best other**", *told, "-"])
            clips = len(chosen[0]["clips"])
            sections.append(f"## {head}: {what} ({clips} clips)\n")
            sections.append(
                table(["features", *(_NAMES[key] for key in figures), "closure F1"], lines) + "\n"
            )
            sections.append(_judged(chosen))
            gains += [
                {"head": head, "set": what, "figure": key, "over": rival, **asdict(one)}
                for key, (rival, one) in gain.items()
            ]
            plots[f"{head}\n{what}"] = [_bar(chosen, name) for name in config.features]
    ours = encoder_identity(None)
    made = circumstances(
        chosen_device("cpu"),
        encoder=f"{ours.name}, {ours.sha256[:12]}",
        seeds=", ".join(map(str, range(config.seeds))),
        options=options(config),
        heads=", ".join(str(head.name) for head in heads),
    )
    name = f"features-{data.name}"
    text = _TEXT.format(
        name=name,
        dataset=data.name,
        seeds=config.seeds,
        steps=config.steps,
        takes="all training takes" if config.train_takes is None else f"{config.train_takes} takes",
        voices=config.voices,
        ours=config.features[0],
        sections="\n".join(sections),
        circumstances=as_list(made),
    )
    plot = pictures.bars(config.features, plots, "correlation of aperture, mean over clips")
    plain = {"config": asdict(config), "circumstances": made, "gains": gains, "rows": rows}
    return write_result(results, name, text, plain, {"bars": plot})


def _by_clip(rows: list[dict[str, Any]], name: str) -> dict[str, np.ndarray]:
    """Each figure of each clip, the mean over seeds."""
    own = [row["clips"] for row in rows if row["features"] == name]
    found = {}
    for key in _NAMES:
        values = [
            [np.nan if clip.get(key) is None else clip[key] for clip in clips.values()]
            for clips in own
        ]
        if values and any(key in clip for clip in own[0].values()):
            found[key] = np.mean(np.array(values, float), axis=0)
    return found


def _seed_means(rows: list[dict[str, Any]], name: str, key: str) -> np.ndarray:
    means = []
    for row in rows:
        values = [clip.get(key) for clip in row["clips"].values()]
        known = [value for value in values if value is not None]
        if row["features"] == name and known:
            means.append(np.mean(known))
    return np.array(means)


def _cell(rows: list[dict[str, Any]], name: str, key: str) -> str:
    means = _seed_means(rows, name, key)
    if not len(means):
        return "-"
    spread = f" ± {means.std(ddof=1):.3f}" if len(means) > 1 else ""
    return f"{means.mean():.3f}{spread}"


def _judged(rows: list[dict[str, Any]]) -> str:
    """What the second sync judge says of drawn clips, all together, beside the real video."""
    lines = [
        [row["features"], *row["judge"]["drawn"], *row["judge"]["real"]]
        for row in rows
        if row.get("judge")
    ]
    if lines:
        head = ["second judge", "offset", "confidence", "real: offset", "real: confidence"]
        return table(head, lines) + "\n"
    silent = {row["no_judge"] for row in rows if row.get("no_judge")}
    return "".join(f"No second judge: {reason}.\n" for reason in sorted(silent))


def _closures(rows: list[dict[str, Any]], name: str) -> str:
    """F1 of closing on b, m, p and on nothing else, all clips together; the mean over seeds."""
    scores = []
    for row in rows:
        clips = [clip for clip in row["clips"].values() if clip.get("closed") is not None]
        if row["features"] == name and clips:
            counts = [int(sum(clip[k] for clip in clips)) for k in ("closed", "missed", "wrong")]
            scores.append(ClosureCounts(*counts).f1)
    return f"{np.mean(scores):.3f}" if scores else "-"


def _bar(rows: list[dict[str, Any]], name: str) -> tuple[float, float, float]:
    means = _seed_means(rows, name, "aperture_correlation")
    return (means.mean(), means.min(), means.max()) if len(means) else (np.nan, np.nan, np.nan)


def _gain(means: dict[str, dict[str, np.ndarray]], key: str, ours: str) -> tuple[str, Gain]:
    rivals = {n: np.nanmean(m[key]) for n, m in means.items() if n != ours and _known(m.get(key))}
    if not rivals or not _known(means[ours].get(key)):
        return "-", Gain(float("nan"), float("nan"), float("nan"), 0)
    best = (max if HIGHER[key] else min)(rivals, key=lambda name: rivals[name])
    return best, paired_gain(means[ours][key], means[best][key], HIGHER[key])


def _known(values: Any) -> bool:
    return values is not None and bool(np.isfinite(values).any())


def _told(rival: str, gain: Gain) -> str:
    if not gain.clips:
        return "-"
    return f"{gain.percent:+.1f} % over {rival} ({gain.low:+.1f} to {gain.high:+.1f})"
