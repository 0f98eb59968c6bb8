"""The figures of ``se4lip bench ambiguity``. For frames whose phones are known:

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

from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from se4lip.bench.kinds import COMPARED
from se4lip.metrics.comparison import (
    area_under_roc,
    explained_variance,
    fit_ridge,
    standardised,
    standards,
)
from se4lip.metrics.visemes import VISEME_OF, VISEMES

PHONE_NAMES = sorted(VISEME_OF)
VISEME_NAMES = list(VISEMES)
_WINDOW = (-4, 4)  # rows that a head is given (`head.speech_window`)
_PENALTIES = (1e-3, 1e-2, 1e-1, 1.0, 10.0)
# Of a row, for the window of eight, which would else be 8 times up to 1,024 numbers. Validation
# clips choose: with few axes Whisper's rows lose a quarter of their variance, with many log mel's
# overfit.
_AXES = (96, 192, 320)


@dataclass(frozen=True)
class AmbiguityConfig:
    """What is measured, and on how much.

    Attributes:
        features: Names, ours first.
        train_clips: As many, evenly spread, fit the linear maps.
        validation_clips: As many choose the maps' penalty.
        test_clips: As many are judged, all of the split by default.
        pairs: Of frames, for the areas under the curve.
        resamples: Of test clips, for the intervals.
        seed: Of pairs and resamples.
    """

    features: tuple[str, ...] = COMPARED
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


def judge(
    rows: dict[str, list[Float[np.ndarray, "T D"]]],
    frames: dict[str, Frames],
    config: AmbiguityConfig,
) -> dict[str, Any]:
    alone = {split: np.concatenate(found).astype(np.float64) for split, found in rows.items()}
    from_row, _ = _best_map(alone, frames)
    window, from_window = _best_window(rows, alone["train"], frames)
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
    look = np.array([VISEME_NAMES.index(VISEME_OF[name]) for name in PHONE_NAMES])
    apart = np.linalg.norm(test.lips[first] - test.lips[second], axis=1)
    near, far = np.quantile(apart, (0.25, 0.75))
    same_lips = np.where(apart <= near, 1, np.where(apart >= far, 0, -1))
    return first, second, look[test.phone[first]] == look[test.phone[second]], same_lips


def _best_map(
    x: dict[str, Float[np.ndarray, "N D"]], frames: dict[str, Frames]
) -> tuple[Any, float]:
    """The linear map to the lips whose penalty explains the validation clips best, with its R^2."""
    candidates = fit_ridge(x["train"], frames["train"].lips, _PENALTIES)
    held = frames["validation"].lips
    scored = [(explained_variance(one(x["validation"]), held), one) for one in candidates]
    score, best = max(scored, key=lambda pair: pair[0])
    return best, score


def _best_window(
    rows: dict[str, list[Float[np.ndarray, "T D"]]],
    train: Float[np.ndarray, "N D"],
    frames: dict[str, Frames],
) -> tuple[dict[str, Float[np.ndarray, "N 8D"]], Any]:
    """Rows ``[i - 4, i + 4)`` side by side, each on as many principal axes of standardised rows as
    explain the validation clips best, and the map from them."""
    mean, scale = standards(train)
    z = standardised(train, mean, scale)
    _, axes = np.linalg.eigh(z.T @ z)
    found = []
    for count in sorted({min(count, axes.shape[1]) for count in _AXES}):
        kept = axes[:, ::-1][:, :count]
        window = {
            split: np.concatenate(
                [_side_by_side(standardised(c, mean, scale) @ kept) for c in clips]
            )
            for split, clips in rows.items()
        }
        mapped, score = _best_map(window, frames)
        found.append((score, window, mapped))
    _, window, mapped = max(found, key=lambda one: one[0])
    return window, mapped


def _side_by_side(clip: Float[np.ndarray, "T D"]) -> Float[np.ndarray, "T 8D"]:
    at = np.arange(len(clip))[:, None] + np.arange(*_WINDOW)
    return clip[at.clip(0, len(clip) - 1)].reshape(len(clip), -1)


def _confusion(
    x: dict[str, Float[np.ndarray, "N D"]], frames: dict[str, Frames]
) -> tuple[Float[np.ndarray, "P V"], float, float]:
    """A linear classifier of phones, trained on half of the test clips and asked about the other,
    both ways: the share of each phone's frames taken for each viseme, how many frames are taken for
    the right viseme, and how many mistakes of phones stay in it."""
    test = frames["test"]
    look = np.array([VISEME_NAMES.index(VISEME_OF[name]) for name in PHONE_NAMES])
    counts = np.zeros((len(PHONE_NAMES), len(VISEME_NAMES)))
    wrong = inside = 0
    for half in (0, 1):
        known = test.phone >= 0
        learn, ask = (known & (test.clip % 2 == side) for side in (half, 1 - half))
        wanted = np.eye(len(PHONE_NAMES))[test.phone[learn]]
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
    present = [p for p in range(len(PHONE_NAMES)) if (test.phone == p).sum() >= 10]
    means = np.stack([standard[test.phone == p].mean(0) for p in present])
    means -= means.mean(0)
    u, size, _ = np.linalg.svd(means, full_matrices=False)
    return u[:, :2] * size[:2], present


def _cosine(a: Float[np.ndarray, "N D"], b: Float[np.ndarray, "N D"]) -> Float[np.ndarray, " N"]:
    size = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    return (a * b).sum(1) / np.maximum(size, 1e-12)
