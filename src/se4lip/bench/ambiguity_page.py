"""The page of ``se4lip bench ambiguity``."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from se4lip.bench import pictures
from se4lip.bench.ambiguity_figures import PHONE_NAMES, VISEME_NAMES, AmbiguityConfig
from se4lip.bench.record import as_list, circumstances, options, table, write_result
from se4lip.features.catalogue import OURS
from se4lip.io.dataset import Dataset
from se4lip.metrics.visemes import VISEME_OF
from se4lip.train.devices import chosen_device

_COLUMNS = {
    "auc_look_row": "AUC, same viseme",
    "auc_lips_row": "AUC, same lips",
    "auc_look_map": "AUC, same viseme, mapped",
    "auc_lips_map": "AUC, same lips, mapped",
    "r2_row": "R² of lips, one row",
    "r2_window": "R² of lips, eight rows",
    "viseme_right": "right viseme",
    "mistakes_in_viseme": "mistakes inside the viseme",
}
_TEXT = """# Do features tell what the lips tell?

`se4lip bench ambiguity` on {dataset}: {train} clips train the linear maps, {validation} choose
their penalty and how many main axes of eight rows they see, {test} held-out clips are judged.

{table}

In brackets: 95 % of {resamples} resamples of the test clips. The premise is judged by the first two
columns (the feature as it is) and by the third pair (what a linear map can make of it); what a head
can get out of it linearly by R². What the columns mean: `src/se4lip/bench/ambiguity_figures.py`.

![Areas under the curve and explained variance](ambiguity-bars.png)

The sounds in the plane: mean rows of each phone on their two main axes, coloured by viseme.

![Sounds in the plane](ambiguity-map.png)

Of each phone's frames, the share taken for each viseme by a linear classifier of phones.

![Phones taken for visemes](ambiguity-confusion.png)

## How it was made

{circumstances}
"""


def write_page(
    results: Path,
    data: Dataset,
    chosen: dict[str, list[str]],
    config: AmbiguityConfig,
    figures: dict[str, Any],
    maps: dict[str, Any],
    confused: dict[str, Any],
) -> Path:
    def cell(name: str, key: str) -> str:
        value, low, high = figures[name][key]
        return f"{value:.3f}" if low == high else f"{value:.3f} ({low:.3f} to {high:.3f})"

    rows = [[name, *(cell(name, key) for key in _COLUMNS)] for name in figures]
    made = circumstances(
        chosen_device("cpu"),
        encoder=f"{figures[OURS]['identity']['name']}, {figures[OURS]['identity']['sha256'][:12]}"
        if OURS in figures
        else "none",
        seed=config.seed,
        options=options(config),
    )
    text = _TEXT.format(
        dataset=data.name,
        **{split: len(names) for split, names in chosen.items()},
        resamples=config.resamples,
        table=table(["features", *_COLUMNS.values()], rows),
        circumstances=as_list(made),
    )
    shown = {key: _COLUMNS[key] for key in ("auc_look_row", "auc_lips_row", "r2_row", "r2_window")}
    present = next(iter(maps.values()))[1]
    names = [PHONE_NAMES[p] for p in present]
    looks = [VISEME_NAMES.index(VISEME_OF[name]) for name in names]
    drawn = {
        "bars": pictures.bars(
            list(figures),
            {label: [figures[name][key] for name in figures] for key, label in shown.items()},
            f"{data.name}, held-out clips",
            {label: 0.5 for label in shown.values() if label.startswith("AUC")},
        ),
        "map": pictures.maps({name: at for name, (at, _) in maps.items()}, names, looks),
        "confusion": pictures.confusions(
            {name: matrix[present] for name, matrix in confused.items()}, names, VISEME_NAMES
        ),
    }
    plain = {"config": asdict(config), "circumstances": made, "figures": figures}
    return write_result(results, "ambiguity", text, plain, drawn)
