"""The front of a search: two objectives as a plane, more as a matrix of pairs, one as its best so far."""

from collections.abc import Callable, Mapping, Sequence
from itertools import accumulate
from typing import Any, Literal

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from seqboat_lab.analysis.confirmation import Candidate
from seqboat_lab.analysis.figures.colours import Row, Shade, shades
from seqboat_lab.analysis.figures.text import brief, label, link, plain, short
from seqboat_lab.analysis.pareto import completed, front_of, is_number

FRONT = "tab:red"
Pair = tuple[str, str]


def pareto_figure(
    rows: Sequence[Row],
    objectives: Mapping[str, str],
    colour_by: str | None = None,
    references: Sequence[Candidate] = (),
) -> Figure:
    """Completed trials by their objectives, with their front, and stopped trials apart.

    Two objectives span a plane, the first along y, with the front as a staircase. More of them are drawn pair by
    pair: the front is the one over all of them, so that its trials may lie anywhere in a pair's plane. A single one
    is drawn over the trials' numbers, with the best so far.
    `colour_by` names a field that colours the points. Trials with several seeds have bars of one standard error.
    """
    names = list(objectives)
    groups, scale = shades(completed(rows, objectives), colour_by)
    if len(names) == 1:
        figure, corner = plt.subplots(figsize=(8, 5))
        _draw_progress(corner, rows, objectives, groups, references)
    else:
        figure, corner = pairs(names, lambda axis, pair: _draw_pair(axis, rows, objectives, pair, groups, references))
    if scale:
        figure.colorbar(scale, ax=figure.axes, label=plain(short(colour_by)))
    if scale and len(names) <= 2:  # the scale has the place beside the plane
        figure.legend(*corner.get_legend_handles_labels(), loc="outside upper left", ncols=4, fontsize=8)
    else:
        add_legend(corner, figure.axes[0], (0.0 if len(names) > 2 else 1.01, 1))
    return finish(figure, scale is not None)


def pairs(names: Sequence[str], draw: Callable[[Axes, Pair], None], split: str = "val") -> tuple[Figure, Axes]:
    """One plane for two objectives, else the lower triangle of a matrix: `draw(axis, (x, y))` in each; and the axes
    where a legend has room."""
    if len(names) == 2:
        figure, axis = plt.subplots(figsize=(8, 5))
        draw(axis, (names[1], names[0]))
        axis.set_xlabel(label(names[1], split))
        axis.set_ylabel(label(names[0], split))
        return figure, axis
    n = len(names) - 1
    figure, axes = plt.subplots(n, n, figsize=(1.5 + 3.6 * n, 3.1 * n), squeeze=False)
    for i, y in enumerate(names[1:]):
        for j, x in enumerate(names[:-1]):
            if j > i:
                axes[i, j].set_axis_off()
                continue
            draw(axes[i, j], (x, y))
            axes[i, j].set_xlabel(brief(x, split) if i == n - 1 else "", fontsize=8)  # once a row and column
            axes[i, j].set_ylabel(brief(y, split) if j == 0 else "", fontsize=8)
    return figure, axes[0, -1]


def add_legend(corner: Axes, drawn: Axes, at: tuple[float, float]) -> None:
    """In the empty corner of a matrix, else beside the plane; nothing if nothing is named."""
    handles, texts = drawn.get_legend_handles_labels()
    if handles:
        corner.legend(handles, texts, loc="upper left", bbox_to_anchor=at, fontsize=8)


def finish(figure: Figure, has_scale: bool = False) -> Figure:
    if has_scale:  # a tight layout has no place for a scale beside several axes
        figure.set_layout_engine("constrained")
    else:
        figure.tight_layout()
    return figure


def step_of(direction: str) -> Literal["pre", "post"]:
    """How a staircase over values with this direction is drawn."""
    return "post" if direction == "minimize" else "pre"


def _draw_pair(
    axis: Axes,
    rows: Sequence[Row],
    objectives: Mapping[str, str],
    pair: Pair,
    groups: Sequence[Shade],
    references: Sequence[Candidate],
) -> None:
    x, y = pair

    def scatter(points: Sequence[Row], **style: Any) -> None:
        urls = [link(row) for row in points]
        axis.scatter([float(row[x]) for row in points], [float(row[y]) for row in points], urls=urls, **style)

    _draw_errors(axis, completed(rows, objectives), x, y)
    for group in groups:
        scatter(group.rows, label=group.name, zorder=2, **group.style)
    _draw_stopped(rows, pair, scatter)
    _draw_infeasible(rows, objectives, scatter)
    front = sorted(front_of(rows, objectives), key=lambda row: row[x])
    if front and len(objectives) == 2:
        places = [row[x] for row in front], [row[y] for row in front]
        axis.step(*places, where=step_of(objectives[x]), color=FRONT, lw=1, zorder=1)
    if front:
        name = "Pareto front" if len(objectives) == 2 else f"Pareto front of all {len(objectives)}"
        scatter(front, s=120, facecolors="none", edgecolors=FRONT, label=name)
    aside = {"minimize": (-6, "right", "top"), "maximize": (6, "left", "bottom")}
    (dx, ha, _), (dy, _, va) = aside[objectives[x]], aside[objectives[y]]
    for row in front:  # the number goes where something better would be, and so (in a plane) nothing is
        point = (row[x], row[y])
        axis.annotate(str(row["number"]), point, (dx, dy), textcoords="offset points", ha=ha, va=va, fontsize=8)
    names = list(objectives)
    draw_references(axis, references, names.index(x), names.index(y))
    axis.margins(0.1)
    axis.grid(alpha=0.3)


def _draw_errors(axis: Axes, rows: Sequence[Row], x: str | None, y: str) -> None:
    """One standard error in both directions, of those that have one; x None: over the trials' numbers."""
    ends = [float(row[x]) if x else row["number"] for row in rows], [float(row[y]) for row in rows]
    bars = [[_error(row, metric) for row in rows] for metric in (x, y)]
    if any(map(any, bars)):
        axis.errorbar(*ends, xerr=bars[0], yerr=bars[1], fmt="none", ecolor="0.6", elinewidth=0.8, zorder=1)


def _error(row: Row, metric: str | None) -> float:
    value = row.get(f"{metric}_se")
    return float(value) if is_number(value) and value >= 0 else 0.0


def _draw_stopped(rows: Sequence[Row], metrics: Sequence[str], scatter: Callable[..., None]) -> None:
    stopped = [row for row in rows if row["state"] == "stopped" and all(is_number(row.get(m)) for m in metrics)]
    if stopped:
        scatter(stopped, marker="x", color="0.6", label="stopped early\n(last value)")


def _draw_infeasible(rows: Sequence[Row], objectives: Mapping[str, str], scatter: Callable[..., None]) -> None:
    broken = [row for row in completed(rows, objectives) if row.get("feasible") is False]
    if broken:
        scatter(broken, marker="x", s=70, color="black", lw=0.8, zorder=3, label="breaks a constraint")


def draw_references(
    axis: Axes, references: Sequence[Candidate], x: int | None, y: int, intervals: bool = False
) -> None:
    """Labelled diamonds at the means over their runs; x None: lines across.

    intervals: bars are 95 % intervals, as those of confirmed candidates; else one standard error, as a trial's.
    """
    for reference in references:
        at = reference.estimates()
        name = plain(reference.name)
        if x is None:
            axis.axhline(at[y].mean, color="black", ls=":", lw=1)
            place = (1, at[y].mean)
            axis.annotate(name, place, (-4, 2), xycoords=("axes fraction", "data"), textcoords="offset points",
                          ha="right", fontsize=8)  # fmt: skip
            continue
        bars = np.nan_to_num([at[n].half if intervals else at[n].error for n in (x, y)])
        axis.errorbar(at[x].mean, at[y].mean, bars[1], bars[0], "D", color="black", ms=5, elinewidth=0.8, capsize=2,
                      zorder=4)  # fmt: skip
        axis.annotate(name, (at[x].mean, at[y].mean), (0, -7), textcoords="offset points", ha="center", va="top",
                      fontsize=8, fontstyle="italic")  # fmt: skip


def _draw_progress(
    axis: Axes,
    rows: Sequence[Row],
    objectives: Mapping[str, str],
    groups: Sequence[Shade],
    references: Sequence[Candidate],
) -> None:
    (metric,) = objectives

    def scatter(points: Sequence[Row], **style: Any) -> None:
        numbers, urls = [row["number"] for row in points], [link(row) for row in points]
        axis.scatter(numbers, [float(row[metric]) for row in points], urls=urls, **style)

    complete = sorted(completed(rows, objectives), key=lambda row: row["number"])
    _draw_errors(axis, complete, None, metric)
    for group in groups:
        scatter(group.rows, label=group.name, zorder=2, **group.style)
    _draw_stopped(rows, [metric], scatter)
    _draw_infeasible(rows, objectives, scatter)
    possible = [row for row in complete if row.get("feasible") is not False]
    best = list(accumulate((row[metric] for row in possible), max if objectives[metric] == "maximize" else min))
    if best:
        axis.step([row["number"] for row in possible], best, where="post", color=FRONT, lw=1, label="best so far")
        scatter(front_of(rows, objectives), s=120, facecolors="none", edgecolors=FRONT, label="best")
    draw_references(axis, references, None, 0)
    axis.xaxis.get_major_locator().set_params(integer=True)  # type: ignore[call-arg]  # a MaxNLocator
    axis.margins(0.1)
    axis.set_xlabel("trial")
    axis.set_ylabel(label(metric))
    axis.grid(alpha=0.3)
