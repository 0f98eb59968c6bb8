"""``se4lip bench ambiguity``: do features of speech tell what the lips tell, and nothing else?

The paper's premise is that features of recognisers separate sounds that look alike and merge sounds
that do not. For frames of held-out clips whose phones are known from forced alignment:

* AUC, same look: of two frames of *different* phones in different clips, does their similarity tell
  whether the phones belong to one viseme?
* AUC, same lips: the same, but what looks alike is decided by the lips themselves (the nearest
  against the farthest quarter of pairs).
* R^2: how much of the lips' shape a linear map tells, from a frame's row alone and from the eight
  rows that a head is given.
* phones taken for others: a linear classifier's mistakes, and how many of them stay in the viseme.

Similarity is the cosine of columns brought to mean 0 and spread 1 on training frames: of the row
itself, and of the row as the eight rows' best linear map into lip space sees it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from se4lip.bench import pictures
from se4lip.bench.memory import Memory
from se4lip.bench.record import as_list, circumstances, options, table, write_result
from se4lip.face.contour import LIPS, lip_contour
from se4lip.features.base import SpeechFeatures
from se4lip.features.catalogue import OURS, load_features
from se4lip.io.dataset import Dataset, open_dataset
from se4lip.io.files import writable_folder
from se4lip.io.phones import read_phones
from se4lip.metrics.closure import SILENCES, Phone
from se4lip.metrics.comparison import (
    area_under_roc,
    explained_variance,
    fit_ridge,
    standardised,
    standards,
)
from se4lip.metrics.visemes import VISEME_OF, VISEMES
from se4lip.train.devices import chosen_device
from se4lip.train.split import clips_of, evenly
from se4lip.types import FRAME_RATE_HZ, InputError

_WINDOW = (-4, 4)  # rows that a head is given (`head.speech_window`)
_PENALTIES = (1e-3, 1e-2, 1e-1, 1.0, 10.0)
_AXES = 96  # of a row, kept for the window of eight: what more a row has, its neighbours share
_PHONE_NAMES = sorted(VISEME_OF)
_VISEME_NAMES = list(VISEMES)


@dataclass(frozen=True)
class AmbiguityConfig:
    """Attributes:
    features: Names, ours first.
    train_clips: As many, evenly spread, fit the linear maps.
    validation_clips: As many choose the maps' penalty.
    test_clips: As many are judged, all of the split by default.
    pairs: Of frames, for the areas under the curve.
    resamples: Of test clips, for the intervals.
    seed: Of pairs and resamples.
    """

    features: tuple[str, ...] = (
        OURS,
        "logmel",
        "mfcc",
        "whisper-tiny.en",
        "whisper-base",
        "phoneme",
    )
    train_clips: int = 186
    validation_clips: int = 24
    test_clips: int | None = None
    pairs: int = 100_000
    resamples: int = 200
    seed: int = 0

    def quick(self) -> AmbiguityConfig:
        features = tuple(name for name in self.features if not name.startswith("whisper"))
        return AmbiguityConfig(features, 60, 10, 24, 20_000, 50, self.seed)


@dataclass(frozen=True)
class Frames:
    """Frames of clips, one row each. ``phone`` is -1 in silence and where none is known."""

    clip: Int[np.ndarray, " N"]
    lips: Float[np.ndarray, "N 120"]
    phone: Int[np.ndarray, " N"]


def ambiguity(
    dataset: Path,
    phones: Path,
    work: Path,
    results: Path,
    config: AmbiguityConfig,
    on_progress: Callable[[float], None] = lambda share: None,
    report: Callable[[str], None] = print,
) -> Path:
    """Measure every kind of features and write ``ambiguity.md``; returns the page.

    Raises:
        InputError: no held-out clips, no alignments, or features that are not here.
    """
    for folder in (work, results):
        writable_folder(folder)
    data, memory = open_dataset(dataset), Memory(work)
    chosen = {
        "train": evenly(clips_of(data, "train"), config.train_clips),
        "validation": evenly(clips_of(data, "validation"), config.validation_clips),
        "test": evenly(_aligned(clips_of(data, "test"), phones), config.test_clips),
    }
    if not chosen["train"] or not chosen["validation"] or len(chosen["test"]) < 2:
        raise InputError(
            f"{data.path} has {len(chosen['test'])} test clips with a file in {phones}, but sounds "
            "of different clips are compared: prepare twenty recordings or more, and align two "
            "test clips or more (examples/align_grid.py)"
        )
    frames = {
        split: _frames(data, names, phones if split == "test" else None)
        for split, names in chosen.items()
    }
    figures, maps, confused = {}, {}, {}
    for i, name in enumerate(config.features):
        kind = load_features(name)
        judged = memory.figures(
            partial(_measure, data, memory, kind, chosen, frames, config),
            *("ambiguity 1", asdict(kind.identity), data.name, chosen),
            *(config.pairs, config.resamples, config.seed),
        )
        figures[name] = judged["figures"] | {"identity": asdict(kind.identity)}
        maps[name] = np.array(judged["map"]), judged["phones"]
        confused[name] = np.array(judged["confusion"])
        report(f"{name}: " + ", ".join(f"{k} {v[0]:.3f}" for k, v in judged["figures"].items()))
        on_progress((i + 1) / len(config.features))
    return _write(results, data, chosen, config, figures, maps, confused)


# --- what is judged -------------------------------------------------------------------------------


def _measure(
    data: Dataset,
    memory: Memory,
    kind: SpeechFeatures,
    chosen: dict[str, list[str]],
    frames: dict[str, Frames],
    config: AmbiguityConfig,
) -> dict[str, Any]:
    rows = {}
    for split, names in chosen.items():
        heard = memory.rows(kind, [data.clip(clip).speech.samples for clip in names])
        rows[split] = [
            _fitted(found, data.frame_count(clip)) for found, clip in zip(heard, names, strict=True)
        ]
    return _judge(rows, frames, config)


def _judge(
    rows: dict[str, list[Float[np.ndarray, "T D"]]],
    frames: dict[str, Frames],
    config: AmbiguityConfig,
) -> dict[str, Any]:
    alone = {split: np.concatenate(found).astype(np.float64) for split, found in rows.items()}
    window = _windows(rows, alone["train"])
    from_row = _best_map(alone, frames)
    from_window = _best_map(window, frames)
    seen = {"row": alone["test"], "window": window["test"]}
    lips = {"row": from_row(seen["row"]), "window": from_window(seen["window"])}
    test = frames["test"]
    standard = standardised(alone["test"], *standards(alone["train"]))
    spoken = np.flatnonzero(test.phone >= 0)
    pairs = _pairs(test, spoken, config)

    first, second, same_look, same_lips = pairs
    close = {
        what: _cosine(space[first], space[second])
        for what, space in (("row", standard), ("map", lips["window"]))
    }

    def measure(rows: Int[np.ndarray, " M"], pairs: Int[np.ndarray, " Q"]) -> dict[str, float]:
        decided = pairs[same_lips[pairs] >= 0]
        found = {}
        for what, near in close.items():
            found[f"auc_look_{what}"] = area_under_roc(near[pairs], same_look[pairs])
            found[f"auc_lips_{what}"] = area_under_roc(near[decided], same_lips[decided] == 1)
        for what, predicted in lips.items():
            found[f"r2_{what}"] = explained_variance(predicted[rows], test.lips[rows])
        return found

    value = measure(np.arange(len(test.clip)), np.arange(len(first)))
    rng = np.random.default_rng(config.seed)
    clips = test.clip.max() + 1
    spread = []
    for _ in range(config.resamples):
        weight = np.bincount(rng.integers(0, clips, clips), minlength=clips)
        kept = np.repeat(np.arange(len(test.clip)), weight[test.clip])
        times = weight[test.clip[first]] * weight[test.clip[second]]
        spread.append(measure(kept, np.repeat(np.arange(len(first)), times)))
    figures = {
        key: [value[key], *np.percentile([one[key] for one in spread], (2.5, 97.5)).tolist()]
        for key in value
    }
    confusion, right, stays = _confusion(window, frames)
    figures |= {"viseme_right": [right] * 3, "mistakes_in_viseme": [stays] * 3}
    at, phones = _plane(standard, test)
    return {
        "figures": figures,
        "map": at.tolist(),
        "phones": phones,
        "confusion": confusion.tolist(),
    }


def _pairs(test: Frames, spoken: Int[np.ndarray, " M"], config: AmbiguityConfig) -> tuple:
    """Frames of different phones in different clips; whether they share a viseme; whether their
    lips are near (1), far (0) or in between (-1)."""
    rng = np.random.default_rng(config.seed)
    first, second = (rng.choice(spoken, 2 * config.pairs) for _ in range(2))
    differ = (test.phone[first] != test.phone[second]) & (test.clip[first] != test.clip[second])
    first, second = first[differ][: config.pairs], second[differ][: config.pairs]
    look = np.array([_VISEME_NAMES.index(VISEME_OF[name]) for name in _PHONE_NAMES])
    apart = np.linalg.norm(test.lips[first] - test.lips[second], axis=1)
    near, far = np.quantile(apart, (0.25, 0.75))
    same_lips = np.where(apart <= near, 1, np.where(apart >= far, 0, -1))
    return first, second, look[test.phone[first]] == look[test.phone[second]], same_lips


def _best_map(x: dict[str, Float[np.ndarray, "N D"]], frames: dict[str, Frames]) -> Any:
    """The linear map to the lips whose penalty explains the validation clips best."""
    candidates = fit_ridge(x["train"], frames["train"].lips, _PENALTIES)
    held = frames["validation"].lips
    return max(candidates, key=lambda one: explained_variance(one(x["validation"]), held))


def _windows(
    rows: dict[str, list[Float[np.ndarray, "T D"]]], train: Float[np.ndarray, "N D"]
) -> dict[str, Float[np.ndarray, "N 8D"]]:
    """Rows ``[i - 4, i + 4)`` side by side, each on the principal axes of standardised rows."""
    mean, scale = standards(train)
    z = standardised(train, mean, scale)
    _, axes = np.linalg.eigh(z.T @ z)
    axes = axes[:, ::-1][:, :_AXES]
    found = {}
    for split, clips in rows.items():
        parts = []
        for clip in clips:
            turned = standardised(clip, mean, scale) @ axes
            at = np.arange(len(clip))[:, None] + np.arange(*_WINDOW)
            parts.append(turned[at.clip(0, len(clip) - 1)].reshape(len(clip), -1))
        found[split] = np.concatenate(parts)
    return found


def _confusion(
    x: dict[str, Float[np.ndarray, "N D"]], frames: dict[str, Frames]
) -> tuple[Float[np.ndarray, "P V"], float, float]:
    """A linear classifier of phones, trained on half of the test clips and asked about the other,
    both ways: the share of each phone's frames taken for each viseme, how many frames are taken for
    the right viseme, and how many mistakes of phones stay in it."""
    test = frames["test"]
    look = np.array([_VISEME_NAMES.index(VISEME_OF[name]) for name in _PHONE_NAMES])
    counts = np.zeros((len(_PHONE_NAMES), len(_VISEME_NAMES)))
    wrong = inside = 0
    for half in (0, 1):
        known = test.phone >= 0
        learn, ask = (known & (test.clip % 2 == side) for side in (half, 1 - half))
        wanted = np.eye(len(_PHONE_NAMES))[test.phone[learn]]
        taken = fit_ridge(x["test"][learn], wanted, (1.0,))[0](x["test"][ask]).argmax(1)
        real = test.phone[ask]
        np.add.at(counts, (real, look[taken]), 1)
        missed = taken != real
        wrong += int(missed.sum())
        inside += int((missed & (look[taken] == look[real])).sum())
    total = counts.sum(1, keepdims=True)
    right = counts[np.arange(len(look)), look].sum() / counts.sum()
    return counts / np.maximum(total, 1), float(right), inside / wrong if wrong else float("nan")


def _plane(
    standard: Float[np.ndarray, "N D"], test: Frames
) -> tuple[Float[np.ndarray, "P 2"], list[int]]:
    """Mean rows of the phones on their own two principal axes, and which phones they are."""
    present = [p for p in range(len(_PHONE_NAMES)) if (test.phone == p).sum() >= 10]
    means = np.stack([standard[test.phone == p].mean(0) for p in present])
    means -= means.mean(0)
    u, size, _ = np.linalg.svd(means, full_matrices=False)
    return u[:, :2] * size[:2], present


# --- material -------------------------------------------------------------------------------------


def _frames(data: Dataset, names: Sequence[str], phones: Path | None) -> Frames:
    clip, lips, phone = [], [], []
    for i, name in enumerate(names):
        track = data.clip(name).track
        lips.append(lip_contour(track)[:, : 3 * len(LIPS)])
        clip.append(np.full(len(track), i))
        known = np.full(len(track), -1)
        for one in [] if phones is None else read_phones(phones / f"{name}.txt"):
            plain = Phone(*one).plain
            if plain in VISEME_OF and plain not in SILENCES:
                middle = (np.arange(len(track)) + 0.5) / FRAME_RATE_HZ
                known[(middle >= one[1]) & (middle < one[2])] = _PHONE_NAMES.index(plain)
        phone.append(known)
    return Frames(np.concatenate(clip), np.concatenate(lips).astype(float), np.concatenate(phone))


def _fitted(rows: Float[np.ndarray, "T D"], frames: int) -> Float[np.ndarray, "T D"]:
    """As many rows as frames; the last one again where sound ends early."""
    return rows[np.arange(frames).clip(max=len(rows) - 1)]


def _aligned(names: Sequence[str], phones: Path) -> list[str]:
    return [name for name in names if (phones / f"{name}.txt").is_file()]


def _cosine(a: Float[np.ndarray, "N D"], b: Float[np.ndarray, "N D"]) -> Float[np.ndarray, " N"]:
    size = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    return (a * b).sum(1) / np.maximum(size, 1e-12)


# --- the page -------------------------------------------------------------------------------------

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
their penalty, {test} held-out clips are judged.

{table}

In brackets: 95 % of {resamples} resamples of the test clips. The premise is judged by the first two
columns (the feature as it is) and by the third pair (what a linear map can make of it); what a head
can get out of it linearly by R². What the columns mean: `src/se4lip/bench/ambiguity.py`.

![Areas under the curve and explained variance](ambiguity-bars.png)

The sounds in the plane: mean rows of each phone on their two main axes, coloured by viseme.

![Sounds in the plane](ambiguity-map.png)

Of each phone's frames, the share taken for each viseme by a linear classifier of phones.

![Phones taken for visemes](ambiguity-confusion.png)

## How it was made

{circumstances}
"""


def _write(
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
    names = [_PHONE_NAMES[p] for p in present]
    looks = [_VISEME_NAMES.index(VISEME_OF[name]) for name in names]
    drawn = {
        "bars": pictures.bars(
            list(figures),
            {label: [figures[name][key] for name in figures] for key, label in shown.items()},
            f"{data.name}, held-out clips",
            {label: 0.5 for label in shown.values() if label.startswith("AUC")},
        ),
        "map": pictures.maps({name: at for name, (at, _) in maps.items()}, names, looks),
        "confusion": pictures.confusions(
            {name: matrix[present] for name, matrix in confused.items()}, names, _VISEME_NAMES
        ),
    }
    plain = {"config": asdict(config), "circumstances": made, "figures": figures}
    return write_result(results, "ambiguity", text, plain, drawn)
