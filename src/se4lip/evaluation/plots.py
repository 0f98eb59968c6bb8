"""Pictures of measurements. Matplotlib comes with the extra ``prepare``; arrays go out, io
saves."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float, UInt8

from se4lip.metrics.landmarks import correlation
from se4lip.metrics.sync import SyncReading
from se4lip.types import FRAME_RATE_HZ, InputError

if TYPE_CHECKING:
    from se4lip.evaluation.languages import Voice

Picture = UInt8[np.ndarray, "H W 3"]


def sync_picture(
    timeline: list[SyncReading | None], reading: SyncReading | None, title: str
) -> Picture:
    """Offset and confidence of every second, and the offset of the whole as a line."""

    def draw(figure: Any) -> None:
        offsets, sure = figure.subplots(2, 1, sharex=True, height_ratios=(2, 1))
        at = [second + 0.5 for second, one in enumerate(timeline) if one]
        known = [one for one in timeline if one]
        offsets.axhspan(-1.5, 1.5, color="0.92")
        if reading is not None:
            offsets.axhline(reading.offset_frames, color="tab:blue", lw=1)
        offsets.plot(at, [one.offset_frames for one in known], "o", ms=4, color="tab:blue")
        offsets.set(ylim=(-16, 16), ylabel="sound late by (frames)")
        offsets.set_title(_drawable(title))
        sure.bar(at, [one.confidence for one in known], width=0.8, color="0.6")
        sure.set(xlabel="time (s)", ylabel="confidence", xlim=(0, max(1, len(timeline))))

    return drawn(draw, (8, 4))


def matrix_picture(similarity: Float[np.ndarray, "T T"], title: str) -> Picture:
    """The similarity of every moment of speech with every moment of lips."""

    def draw(figure: Any) -> None:
        axes = figure.subplots()
        image = axes.imshow(similarity, cmap="magma", origin="lower", interpolation="nearest")
        axes.set(xlabel="lips (frame)", ylabel="speech (frame)", title=_drawable(title))
        figure.colorbar(image, label="cosine")

    return drawn(draw, (5.5, 4.5))


def languages_picture(voices: Sequence[Voice]) -> Picture:
    """How well each voice's closures and roundings are found, with their 95 % intervals."""

    def draw(figure: Any) -> None:
        at = np.arange(len(voices))[::-1]
        for axes, name, title in zip(
            figure.subplots(1, 2, sharey=True),
            ("closing_auc", "rounding_auc"),
            ("lips nearer on b, m, p", "mouth narrower on o, u than on e, i"),
            strict=True,
        ):
            values = np.array([getattr(voice, name) for voice in voices])
            low = values - [getattr(voice, f"{name}_low") for voice in voices]
            high = [getattr(voice, f"{name}_high") for voice in voices] - values
            axes.axvline(0.5, color="0.8")
            axes.errorbar(values, at, xerr=np.maximum([low, high], 0), fmt="o", ms=4, capsize=2)
            axes.set(xlim=(0.3, 1.02), xlabel="probability (0.5: chance)", title=title)
            axes.set_yticks(at, [_drawable(voice.name) for voice in voices])

    return drawn(draw, (8, 1.2 + 0.25 * len(voices)))


@dataclass(frozen=True)
class Curve:
    """How far the lips of one take are apart, in face widths; NaN where no face was seen."""

    name: str
    rendered: Float[np.ndarray, " T"]
    real: Float[np.ndarray, " T"]


def curves_picture(curves: Sequence[Curve]) -> Picture:
    """Rendered against real lips over time, one take under the other, on one scale."""
    known = np.concatenate([np.concatenate((one.rendered, one.real)) for one in curves])
    known = known[np.isfinite(known)]
    top = 110 * float(known.max(initial=0.01))

    def draw(figure: Any) -> None:
        rows = figure.subplots(len(curves), 1, squeeze=False)[:, 0]
        for axes, one in zip(rows, curves, strict=True):
            at = np.arange(len(one.real)) / FRAME_RATE_HZ
            axes.plot(at, 100 * one.real, color="0.6", lw=2.5, label="real")
            axes.plot(at, 100 * one.rendered, color="tab:blue", lw=1.2, label="rendered")
            r = correlation(one.rendered, one.real)
            told = "" if np.isnan(r) else f", correlation {r:.2f}"
            axes.set(ylim=(0, top), xlim=(0, max(at[-1], 0.04)))
            axes.set_title(_drawable(f"{one.name}{told}"), loc="left", fontsize=9)
        rows[0].legend(loc="upper right", fontsize=8, ncols=2, frameon=False)
        rows[-1].set(xlabel="time (s)")
        figure.supylabel("lips apart (% of the face's width)", fontsize=10)

    return drawn(draw, (8, 0.8 + 1.3 * len(curves)))


def _drawable(name: str) -> str:
    """A file's name without what no font can draw: bytes that are no UTF-8."""
    return name.encode("utf-8", "replace").decode()


def need_matplotlib() -> None:
    """Raises: InputError when pictures of measurements cannot be drawn: ask before measuring."""
    try:
        import matplotlib.figure  # noqa: F401
    except ImportError as error:
        raise InputError(
            "pictures of measurements need matplotlib: pip install '.[prepare]' in se4lip's "
            "checkout"
        ) from error


def drawn(draw: Callable[[Any], None], inches: tuple[float, float]) -> Picture:
    need_matplotlib()
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.text import Text

    figure = Figure(figsize=inches, dpi=110, layout="constrained")
    draw(figure)
    for text in figure.findobj(Text):  # names of files may hold dollars, and are no formulas
        text.set_parse_math(False)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()
