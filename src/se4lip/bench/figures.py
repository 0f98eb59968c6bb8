"""The figures of ``se4lip bench features``: how they are added up, and what they are called."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from jaxtyping import Float

from se4lip.bench import judged
from se4lip.bench.gains import Rows, Statistic
from se4lip.bench.lips import CLOSURES, LAGS


@dataclass(frozen=True)
class Figure:
    """``real``: the same of the real video, where there is one."""

    key: str
    label: str
    statistic: Statistic
    real: Statistic | None = None
    digits: int = 3


def _mean_of(key: str, index: int | None, clip: Mapping[str, Any]) -> np.ndarray | None:
    value = clip.get(key)
    if value is not None and index is not None:
        value = value[index]
    return None if value is None else np.array([value, 1.0])


def _mean(total: Float[np.ndarray, "*B 2"]) -> Float[np.ndarray, "*B"]:
    with np.errstate(divide="ignore", invalid="ignore"):
        return total[..., 0] / total[..., 1]


def mean(key: str, higher: bool = True, index: int | None = None) -> Statistic:
    """The mean over clips of one of their figures."""
    return Statistic(partial(_mean_of, key, index), _mean, higher)


def _closed(prefix: str, clip: Mapping[str, Any]) -> np.ndarray | None:
    counts = [clip.get(f"{prefix}{name}") for name in CLOSURES]
    return None if None in counts else np.array(counts, float)


def _f1(total: Float[np.ndarray, "*B 3"]) -> Float[np.ndarray, "*B"]:
    closed, missed, wrong = np.moveaxis(np.asarray(total, float), -1, 0)
    with np.errstate(divide="ignore", invalid="ignore"):
        return 2 * closed / (2 * closed + missed + wrong)


def closure_f1(prefix: str = "") -> Statistic:
    """F1 of closing on b, m, p and on nothing else, all clips together."""
    return Statistic(partial(_closed, prefix), _f1, True)


def _kept(key: str, clip: Mapping[str, Any]) -> np.ndarray | None:
    return judged.as_vector(clip[key]) if clip.get(key) else None


def _reading(field: str, total: np.ndarray) -> np.ndarray:
    return getattr(judged.read(total), field)


def sync(field: str, key: str, higher: bool) -> Statistic:
    """A reading of the second judge, all clips together."""
    return Statistic(partial(_kept, key), partial(_reading, field), higher)


def _both(key: str, label: str, higher: bool, digits: int = 3) -> Figure:
    return Figure(key, label, mean(key, higher), mean(f"real_{key}", higher), digits)


LIPS = (
    Figure("aperture_correlation", "aperture r", mean("aperture_correlation")),
    Figure("width_correlation", "width r", mean("width_correlation")),
    Figure("lmd_px256", "LMD (px at 256)", mean("lmd_px256", False)),
    Figure("closure_f1", "closure F1", closure_f1(), closure_f1("real_")),
)
DRAWN = (
    Figure("face_seen", "frames with a face", mean("face_seen"), mean("real_face_seen")),
    *LIPS,
    Figure("psnr_mouth_db", "PSNR of the mouth (dB)", mean("psnr_mouth_db")),
    Figure("lpips", "LPIPS", mean("lpips", False)),
)
JUDGE_OFFSET = Figure(
    "judge_offset_frames",
    "offset (frames)",
    sync("offset_frames", "judge", True),
    sync("offset_frames", "real_judge", True),
    digits=1,
)
JUDGE_CONFIDENCE = Figure(
    "judge_confidence",
    "confidence",
    sync("confidence", "judge", True),
    sync("confidence", "real_judge", True),
)
SYNC = (
    JUDGE_OFFSET,
    Figure(
        "judge_distance",
        "distance",
        sync("distance", "judge", False),
        sync("distance", "real_judge", False),
    ),
    JUDGE_CONFIDENCE,
    _both("lse_c", "LSE-C", True),
    _both("lse_d", "LSE-D", False),
)
SHARED = ("judge_confidence", "lse_c")  # of which the share of the real video's is told
GAINLESS = ("judge_offset_frames", "face_seen")  # of which more or less is no gain


def at_lag(lag: int) -> tuple[Figure, ...]:
    """Correlations of lips of unknown sync, at a lag that all features share."""
    index = LAGS.index(lag)
    return tuple(
        Figure(f"{shape}_at_lag", f"{shape} r, lag {lag:+d}", mean(f"{shape}_by_lag", True, index))
        for shape in ("aperture", "width")
    )


def common_lag(rows: Mapping[str, Rows]) -> int | None:
    """The lag in frames at which the aperture of all features together, each counting once,
    correlates best with the real one; None of sets whose sync is known."""
    means = []
    for of_feature in rows.values():
        known = [
            [np.nan if value is None else value for value in clip["aperture_by_lag"]]
            for of_seed in of_feature
            for clip in of_seed.values()
            if clip.get("aperture_by_lag")
        ]
        if known and np.isfinite(np.array(known, float)).any(0).all():
            means.append(np.nanmean(np.array(known, float), axis=0))
    return LAGS[int(np.mean(means, axis=0).argmax())] if means else None
