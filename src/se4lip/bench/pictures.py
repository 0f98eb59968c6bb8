"""Plots of experiments: bars with spread, maps of sounds, confusions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float

from se4lip.evaluation.plots import Picture, drawn

_COLUMNS = 5  # axes beside each other


def bars(
    names: Sequence[str],
    groups: Mapping[str, Sequence[tuple[float, float, float]]],
    title: str,
    floor: Mapping[str, float] | None = None,
) -> Picture:
    """One group of axes for each figure, one bar for each name: value, low and high end of its
    interval. The first name is ours and has its own colour. Axes begin at the figure's ``floor``,
    which is what chance reaches, else at 0, or below the lowest value: bars hang from either."""

    def draw(figure: Any) -> None:
        every = figure.subplots(rows, columns, squeeze=False).ravel()
        figure.suptitle(title)
        for axes in every[len(groups) :]:
            axes.axis("off")
        for axes, (label, values) in zip(every, groups.items(), strict=False):
            height = np.array([value for value, _, _ in values])
            low = height - np.array([low for _, low, _ in values])
            high = np.array([high for _, _, high in values]) - height
            colours = ["tab:blue"] + ["0.65"] * (len(names) - 1)
            error = np.nan_to_num(np.clip([low, high], 0, None))
            base = (floor or {}).get(label, 0.0)
            axes.bar(names, height - base, bottom=base, color=colours, yerr=error, capsize=3)
            lowest = np.nanmin([base, *(height - error[0])])
            axes.set_ylim(bottom=lowest - 0.1 * (base - lowest))
            if lowest < base:
                axes.axhline(base, color="black", linewidth=0.8)
            axes.set_title(label, fontsize=10)
            axes.tick_params(axis="x", rotation=60)

    columns = min(_COLUMNS, len(groups))
    rows = -(-len(groups) // columns)
    return drawn(draw, (3.2 * columns, 4.2 * rows))


def forest(
    groups: Mapping[str, Sequence[tuple[str, float, float, float]]],
    title: str,
    reach: float = 60.0,
) -> Picture:
    """Gains in percent with their intervals, one group of axes for each renderer, one line for each
    figure: label, gain, low and high end. Without an interval the point is hollow. What lies
    farther than ``reach`` is drawn at the edge, as an arrow head."""

    def draw(figure: Any) -> None:
        every = np.atleast_1d(figure.subplots(1, len(groups), squeeze=False)[0])
        figure.suptitle(title)
        for axes, (name, lines) in zip(every, groups.items(), strict=True):
            axes.axvline(0, color="black", linewidth=0.8)
            for at, (_, value, low, high) in enumerate(lines):
                known = np.isfinite([low, high]).all()
                shown, left, right = np.clip([value, low, high], -reach, reach)
                if known:
                    axes.plot([left, right], [at, at], color="tab:blue", linewidth=1.5)
                face = "tab:blue" if known else "white"
                mark = "o" if abs(value) <= reach else "<>"[int(value > 0)]
                axes.plot([shown], [at], mark, color="tab:blue", markerfacecolor=face, markersize=5)
            axes.set_yticks(range(len(lines)), [label for label, *_ in lines], fontsize=8)
            axes.set(xlim=(-1.05 * reach, 1.05 * reach), ylim=(len(lines) - 0.5, -0.5))
            axes.set_xlabel("gain, %")
            # a name may be longer than axes that leave room for their lines' labels
            axes.set_title(name, fontsize=10, loc="right")

    tallest = max(map(len, groups.values()))
    return drawn(draw, (5.2 * len(groups), 1.6 + 0.26 * tallest))


def maps(
    points: dict[str, Float[np.ndarray, "P 2"]], labels: Sequence[str], classes: Sequence[int]
) -> Picture:
    """Sounds in the plane, one map a feature, coloured by how they look."""

    def draw(figure: Any) -> None:
        columns = min(3, len(points))
        rows = -(-len(points) // columns)
        every = figure.subplots(rows, columns, squeeze=False).ravel()
        palette = figure_palette(max(classes) + 1)
        for axes, (name, at) in zip(every, points.items(), strict=False):
            colours = [palette[one] for one in classes]
            axes.scatter(at[:, 0], at[:, 1], c=colours, s=8)
            for (x, y), label, colour in zip(at, labels, colours, strict=True):
                axes.annotate(label, (x, y), color=colour, fontsize=9, fontweight="bold")
            axes.set(title=name, xticks=[], yticks=[])
        for axes in every[len(points) :]:
            axes.axis("off")

    columns = min(3, len(points))
    return drawn(draw, (4.2 * columns, 3.9 * -(-len(points) // columns)))


def confusions(
    matrices: dict[str, Float[np.ndarray, "P V"]], rows: Sequence[str], columns: Sequence[str]
) -> Picture:
    """For each feature, the share of each sound's frames that is taken for each look."""

    def draw(figure: Any) -> None:
        every = figure.subplots(1, len(matrices), squeeze=False)[0]
        for axes, (name, matrix) in zip(every, matrices.items(), strict=True):
            axes.imshow(matrix, cmap="Blues", vmin=0, vmax=1, aspect="auto")
            axes.set_xticks(range(len(columns)), columns, rotation=90, fontsize=7)
            axes.set_yticks(range(len(rows)), rows, fontsize=7)
            axes.set(title=name, xlabel="taken for")

    return drawn(draw, (3.4 * len(matrices), 0.16 * len(rows) + 2))


def figure_palette(count: int) -> list[tuple[float, float, float]]:
    """Colours that differ, as many as asked for."""
    import colorsys

    return [colorsys.hsv_to_rgb(i / count, 0.9, 0.5 + 0.35 * (i % 2)) for i in range(count)]
