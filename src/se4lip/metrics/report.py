"""What was measured, beside what could not be and why: never a blank, never a stand-in."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

import numpy as np
from jaxtyping import Float

from se4lip.types import InputError

Better = Literal["higher", "lower", "near 0", "near the real one"]
V = TypeVar("V")

# What figures are called, and which are better, wherever they are told.
FIGURES: dict[str, tuple[str, Better]] = {
    "psnr_db": ("PSNR, dB", "higher"),
    "ssim": ("SSIM", "higher"),
    "psnr_mouth_db": ("PSNR of the mouth, dB", "higher"),
    "ssim_mouth": ("SSIM of the mouth", "higher"),
    "face_seen": ("frames with a face", "higher"),
    "lpips": ("LPIPS", "lower"),
    "lpips_alex": ("LPIPS (alex)", "lower"),
    "lpips_vgg": ("LPIPS (vgg)", "lower"),
    "lmd_px256": ("LMD, px of a 256-px face", "lower"),
    "lmd_head_aligned_px256": ("LMD, head motion removed", "lower"),
    "aperture_correlation": ("correlation of lip aperture", "higher"),
    "width_correlation": ("correlation of lip width", "higher"),
    "blendshape_error": ("blendshape error, action-unit proxy", "lower"),
    "jitter_px256": ("lip jitter, px/frame²", "near the real one"),
    "silent_motion_px256": ("lip motion in silence, px/frame", "near the real one"),
    "silent_moving_share": ("silent frames in which the mouth moves, share", "lower"),
    "silent_moving_share_told": ("the same by the head's own codes, share", "lower"),
    "closure_f1": ("closure on b, m, p: F1", "higher"),
    "closure_recall": ("closure on b, m, p: recall", "higher"),
    "closure_precision": ("closure on b, m, p: precision", "higher"),
    "sync_offset_frames": ("SE4Lip sync: offset, frames", "near 0"),
    "sync_confidence": ("SE4Lip sync: confidence", "higher"),
    "sync_distance": ("SE4Lip sync: distance", "lower"),
    "sync_lead": ("SE4Lip sync: lead, standard errors", "higher"),
    "sync_within_one_frame": ("SE4Lip sync: within one frame, share", "higher"),
    "judge_offset_frames": ("second judge: offset, frames", "near 0"),
    "judge_confidence": ("second judge: confidence", "higher"),
    "judge_distance": ("second judge: distance", "lower"),
    "syncnet_offset_frames": ("SyncNet: offset, frames", "near 0"),
    "lse_c": ("LSE-C, SyncNet's confidence", "higher"),
    "lse_d": ("LSE-D, SyncNet's distance", "lower"),
}


def mean_known(values: Iterable[float] | Float[np.ndarray, "..."], infinite: bool = False) -> float:
    """Of those that are known, NaN if none is. A frame without an error has an infinite PSNR; it
    counts only if ``infinite`` may be the answer."""
    found = np.asarray(values if isinstance(values, np.ndarray) else list(values), np.float64)
    found = found[~np.isnan(found) if infinite else np.isfinite(found)]
    return float(found.mean()) if len(found) else math.nan


@dataclass(frozen=True)
class Value:
    """A number, or the reason why there is none."""

    number: float | None
    why: str = ""

    @staticmethod
    def of(measure: Callable[[], float]) -> Value:
        """What ``measure`` says; the text of an InputError, or a word on NaN, is the reason."""
        try:
            number = float(measure())
        except InputError as error:
            return Value(None, str(error))
        if math.isnan(number):
            return Value(None, "nothing in these videos to measure it on")
        if math.isinf(number):
            return Value(None, "infinite: a picture equals the real one")
        return Value(number)


@dataclass(frozen=True)
class Figure:
    """One row of the table. ``real`` is the real video under the same judge, the ceiling; None
    where both videos are compared, or there is no real one."""

    key: str
    label: str
    better: Better
    predicted: Value
    real: Value | None


def judged(
    ours: V,
    real: V | None,
    rows: Iterable[tuple[str, Callable[[V], float]]],
) -> Iterator[Figure]:
    """Figures that each video has by itself."""
    for key, measure in rows:
        theirs = None if real is None else Value.of(functools.partial(measure, real))
        yield Figure(key, *FIGURES[key], Value.of(functools.partial(measure, ours)), theirs)


def compared(
    ours: V,
    real: V | None,
    rows: Iterable[tuple[str, Callable[[V, V], float]]],
) -> Iterator[Figure]:
    """Figures of how far ``ours`` is from ``real``."""
    for key, measure in rows:
        value = Value(None, "needs --reference")
        if real is not None:
            value = Value.of(functools.partial(measure, ours, real))
        yield Figure(key, *FIGURES[key], value, None)


@dataclass(frozen=True)
class Report:
    """Every figure of one predicted video."""

    predicted: str
    real: str | None
    frames: int
    figures: tuple[Figure, ...]
    notes: tuple[str, ...] = ()

    def __getitem__(self, key: str) -> Figure:
        return next(figure for figure in self.figures if figure.key == key)

    def plain(self) -> dict[str, Any]:
        """JSON values; a figure without a number has ``null`` and its reason."""
        figures: dict[str, Any] = {}
        for figure in self.figures:
            entry: dict[str, Any] = {"label": figure.label, "better": figure.better}
            for name, value in (("predicted", figure.predicted), ("real", figure.real)):
                if value is not None:
                    entry[name] = value.number
                    if value.why:
                        entry[f"{name}_not_computed"] = value.why
            figures[figure.key] = entry
        return {
            "predicted": self.predicted,
            "real": self.real,
            "frames": self.frames,
            "figures": figures,
            "notes": list(self.notes),
        }

    def missing(self) -> list[str]:
        """One sentence for every reason why figures of the predicted video are not computed."""
        reasons: dict[str, list[str]] = {}
        for figure in self.figures:
            if figure.predicted.why:
                reasons.setdefault(figure.predicted.why, []).append(figure.label)
        return [f"not computed: {'; '.join(labels)}: {why}" for why, labels in reasons.items()]
