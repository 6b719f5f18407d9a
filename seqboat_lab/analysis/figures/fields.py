"""What the searched fields do: their importance, slices of the search, parallel coordinates."""

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from seqboat_lab.analysis.figures.colours import DISTINCT, Row, is_ordered, is_wide
from seqboat_lab.analysis.figures.pareto import FRONT, finish
from seqboat_lab.analysis.figures.text import brief, link, plain, short
from seqboat_lab.analysis.pareto import completed, front_of, is_number

MOST_COLUMNS = 3  # slices beside each other
MOST_TICKS = 12  # names along an axis
SHORTEST_NAME = 24


def importance_figure(importances: Mapping[str, Mapping[str, float]]) -> Figure:
    """Which share of what decides each objective belongs to each field, the most important field on top."""
    keys = list(next(iter(importances.values()), {}))
    keys.sort(key=lambda key: sum(shares[key] for shares in importances.values()))
    figure, axis = plt.subplots(figsize=(8, 1.2 + 0.28 * len(keys) * max(1, len(importances))))
    height = 0.8 / max(1, len(importances))
    for n, (metric, shares) in enumerate(importances.items()):
        places = np.arange(len(keys)) + (len(importances) / 2 - n - 0.5) * height
        axis.barh(
            places, [shares[k] for k in keys], height * 0.9, color=DISTINCT[n % len(DISTINCT)], label=brief(metric)
        )
    axis.set_yticks(range(len(keys)), [plain(short(key)) for key in keys])
    axis.set_xlim(0, 1)
    axis.set_xlabel("importance (PED-ANOVA, shares of 1)")
    axis.legend(fontsize=8, loc="lower right")
    axis.grid(alpha=0.3, axis="x")
    return finish(figure)


def slices_figure(rows: Sequence[Row], objectives: Mapping[str, str], searched: Sequence[str]) -> Figure:
    """Each objective against each searched field, over completed trials; the front's in red rings."""
    complete, front = completed(rows, objectives), front_of(rows, objectives)
    panels = [(key, metric) for key in searched for metric in objectives]
    columns = max(1, len(objectives) if len(objectives) > 1 else min(MOST_COLUMNS, len(searched)))
    lines = max(1, -(-len(panels) // columns))
    figure, axes = plt.subplots(lines, columns, figsize=(9.5, 0.4 + 2.5 * lines), squeeze=False)
    for axis in axes.flat[len(panels) :]:
        axis.set_axis_off()
    for axis, (key, metric) in zip(axes.flat, panels, strict=False):
        place = Places(axis, [row.get(key) for row in complete], "x")
        for group, style in ((complete, {"s": 16, "color": DISTINCT[0]}),
                             (front, {"s": 70, "facecolors": "none", "edgecolors": FRONT})):  # fmt: skip
            here = [row for row in group if row.get(key) is not None]
            axis.scatter([place.of(row[key]) for row in here], [float(row[metric]) for row in here],
                         urls=[link(row) for row in here], **style)  # fmt: skip
        axis.set_xlabel(plain(short(key)), fontsize=9)
        axis.set_ylabel(brief(metric), fontsize=8)
        axis.tick_params(labelsize=8)
        axis.grid(alpha=0.3)
    return finish(figure)


def are_whole(numbers: Sequence[Any]) -> bool:
    """Do these stand apart enough to be named each?"""
    return all(float(v).is_integer() for v in numbers)


class Places:
    """Where along an axis values of a field go: numbers in their scale, everything else side by side."""

    def __init__(self, axis: Axes, values: Sequence[Any], which: str):
        present = [v for v in values if v is not None]
        self.ordered = is_ordered(present)
        self.names = [] if self.ordered else sorted({_name(v) for v in present})
        set_scale, ticks = getattr(axis, f"set_{which}scale"), getattr(axis, f"set_{which}ticks")
        few = sorted(set(present), key=float) if self.ordered and len(set(present)) <= MOST_TICKS else []
        wide = self.ordered and is_wide(present)
        if wide:
            set_scale("log")
        if few and (wide or len(few) <= MOST_TICKS // 2) and are_whole(few):
            ticks(few, [f"{v:.3g}" for v in few])
            ticks([], minor=True)
        if self.names:
            every = -(-len(self.names) // MOST_TICKS)
            rotation = {"rotation": 30, "ha": "right"} if sum(map(len, self.names)) > SHORTEST_NAME else {}
            shown = [plain(name)[:SHORTEST_NAME] for name in self.names[::every]]
            ticks(range(0, len(self.names), every), shown, **(rotation if which == "x" else {}))

    def of(self, value: Any) -> float:
        return float(value) if self.ordered else float(self.names.index(_name(value)))


def parallel_figure(rows: Sequence[Row], objectives: Mapping[str, str], searched: Sequence[str]) -> Figure:
    """Parallel coordinates: a line a completed trial through its fields and objectives, the front's on top."""
    complete, front = completed(rows, objectives), front_of(rows, objectives)
    keys = [*searched, *objectives]
    figure, axis = plt.subplots(figsize=(max(8.0, 1.4 * len(keys)), 4.2))
    heights = {key: _normalised([row.get(key) for row in complete]) for key in keys}
    numbers = {row["number"] for row in front}
    for n, row in enumerate(complete):
        at = [heights[key][0][n] for key in keys]
        on = row["number"] in numbers
        style: Any = {"color": FRONT, "lw": 1.6, "zorder": 3} if on else {"color": "0.6", "lw": 0.8, "alpha": 0.6}
        (line,) = axis.plot(range(len(keys)), at, **style)
        line.set_url(link(row))
    for n, key in enumerate(keys):
        axis.axvline(n, color="0.3", lw=0.8, zorder=1)
        for height, text in heights[key][1]:
            axis.annotate(text, (n, height), (3, 0), textcoords="offset points", fontsize=7, va="center",
                          bbox={"fc": "white", "ec": "none", "alpha": 0.7, "pad": 0.5}, zorder=4)  # fmt: skip
    heads = [plain(short(k)) if k in searched else brief(k).replace(" ", "\n", 1) for k in keys]
    axis.set_xticks(range(len(keys)), heads, fontsize=8)
    axis.set_xlim(-0.1, len(keys) - 0.5)
    axis.set_ylim(-0.06, 1.06)
    axis.set_yticks([])
    for side in ("left", "right", "top", "bottom"):
        axis.spines[side].set_visible(False)
    return finish(figure)


def _normalised(values: Sequence[Any]) -> tuple[list[float], list[tuple[float, str]]]:
    """Heights from 0 to 1, NaN where there is no value, and labels with theirs."""
    present = [v for v in values if v is not None]
    if is_ordered(present):
        transform = np.log if is_wide(present) else np.asarray
        numbers = [float(v) for v in present]
        low, high = transform(min(numbers)), transform(max(numbers))
        span = float(high - low) if high > low and np.isfinite(high - low) else 1.0
        heights = [float(transform(float(v)) - low) / span if is_number(v) else np.nan for v in values]
        few = len(set(numbers)) <= MOST_TICKS // 2 and are_whole(numbers)
        marks = sorted(set(numbers)) if few else [min(numbers), max(numbers)]
        return heights, [(float(transform(v) - low) / span, f"{v:.3g}") for v in marks]
    names = sorted({_name(v) for v in present})
    span = max(1, len(names) - 1)
    heights = [np.nan if v is None else names.index(_name(v)) / span for v in values]
    every = -(-len(names) // MOST_TICKS) if names else 1
    return heights, [(n / span, plain(name)[:SHORTEST_NAME]) for n, name in list(enumerate(names))[::every]]


def _name(value: Any) -> str:
    return str(value)
