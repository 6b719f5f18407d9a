"""Figures of a sweep."""

from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import Any, Literal, NamedTuple

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from seqboat_lab.analysis.pareto import completed, feasible, front_of, hypervolume_history, is_number

LABELS = {
    "val/accuracy": "validation accuracy",
    "val/activation_rate": "activation rate (share of tokens that use attention)",
    "val/bpc": "validation bits per byte",
    "cost/flops_per_token": "forward FLOPs per token",
}
MOST_COLOURS = 10  # that an eye tells apart; a field with more numbers gets a scale
MOST_NAMES = 24  # lines of a legend
LONGEST = 60  # characters of a text in a figure

Row = Mapping[str, Any]


def label(metric: str) -> str:
    """What an axis says of a metric."""
    return plain(LABELS.get(metric, metric))


def short(key: str | None) -> str:
    """`model.configurator.temperature_scale` -> `temperature_scale`."""
    return (key or "").rsplit(".", 1)[-1] or (key or "")


def plain(value: Any) -> str:
    """A user's text as matplotlib shows it letter by letter: `$` starts no formula, and one line is enough."""
    text = "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in str(value))
    text = text if len(text) <= LONGEST else f"{text[: LONGEST - 3]}..."
    return text.replace("$", r"\$")


class Shade(NamedTuple):
    """Trials drawn alike."""

    name: str | None
    rows: list[Row]
    style: dict[str, Any]


def pareto_figure(rows: Sequence[Row], objectives: Mapping[str, str], colour_by: str | None = None) -> Figure:
    """Completed trials by their objectives, with their front, and stopped trials apart.

    Two objectives span a plane, the first along y, with the front as a staircase. More of them are drawn pair by
    pair: the front is the one over all of them, so that its trials may lie anywhere in a pair's plane. A single one
    is drawn over the trials' numbers, with the best so far.
    `colour_by` names a searched field that colours the points, one colour a value.
    """
    names = list(objectives)
    shades, scale = _shades(completed(rows, objectives), colour_by)
    if len(names) == 1:
        figure, axis = plt.subplots(figsize=(8, 5))
        _draw_progress(axis, rows, objectives, shades)
        corner = axis
    else:
        n = len(names) - 1
        figure, axes = plt.subplots(n, n, figsize=(8, 5) if n == 1 else (1.5 + 3.6 * n, 3.1 * n), squeeze=False)
        for i, y in enumerate(names[:-1] if n == 1 else names[1:]):
            for j, x in enumerate(names[1:] if n == 1 else names[:-1]):
                if j > i:
                    axes[i, j].set_axis_off()
                    continue
                _draw_pair(axes[i, j], rows, objectives, (x, y), shades)
                axes[i, j].set_xlabel(label(x) if i == n - 1 else "", fontsize=10 if n == 1 else 8)
                axes[i, j].set_ylabel(label(y) if j == 0 else "", fontsize=10 if n == 1 else 8)
                if n > 1:  # less room, and each name stands once a row and column
                    axes[i, j].xaxis.label.set_text(axes[i, j].get_xlabel().partition(" (")[0])
                    axes[i, j].yaxis.label.set_text(axes[i, j].get_ylabel().partition(" (")[0])
        corner = axes[0, -1]
    if scale:
        figure.colorbar(scale, ax=figure.axes, label=plain(short(colour_by)))
    handles, texts = figure.axes[0].get_legend_handles_labels()
    if handles:  # in the empty corner of a matrix, else beside the plane
        aside = (0.0 if len(names) > 2 else 1.3 if scale else 1.01, 1)
        corner.legend(handles, texts, loc="upper left", bbox_to_anchor=aside, fontsize=8)
    return _finish(figure, scale is not None)


def _shades(complete: Sequence[Row], colour_by: str | None) -> tuple[list[Shade], Any]:
    """Groups of trials by the value of a field, and the colour scale if it has too many numbers for a legend."""
    viridis = plt.colormaps["viridis"]
    if colour_by is None:
        return [Shade("complete", list(complete), {"color": viridis(0.0)})] if complete else [], None
    values: dict[tuple[str, str], Any] = {(str(type(v)), str(v)): v for v in (row.get(colour_by) for row in complete)}
    numeric = all(is_number(v) and not isinstance(v, bool) for v in values.values())
    if len(values) > MOST_COLOURS and numeric:
        numbers = [float(v) for v in values.values()]
        scale = plt.cm.ScalarMappable(plt.Normalize(min(numbers), max(numbers)), viridis)
        colours = [scale.to_rgba(float(row[colour_by])) for row in complete]  # type: ignore[arg-type]  # numbers, too
        return [Shade("complete", list(complete), {"c": colours})], scale
    ordered = sorted(values, key=lambda key: (float(values[key]) if numeric else 0.0, key))
    palette, shades = viridis.resampled(max(len(values), 2)), []
    for n, key in enumerate(ordered):
        name = plain(f"{short(colour_by)} {values[key]}") if n < MOST_NAMES else None
        name = f"and {len(ordered) - MOST_NAMES} more" if n == MOST_NAMES else name
        group = [row for row in complete if (str(type(row.get(colour_by))), str(row.get(colour_by))) == key]
        shades.append(Shade(name, group, {"color": palette(n)}))
    return shades, None


def _draw_pair(
    axis: Axes, rows: Sequence[Row], objectives: Mapping[str, str], pair: tuple[str, str], shades: Sequence[Shade]
) -> None:
    x, y = pair

    def scatter(points: Sequence[Row], **style: Any) -> None:
        axis.scatter([float(row[x]) for row in points], [float(row[y]) for row in points], **style)

    for shade in shades:
        scatter(shade.rows, label=shade.name, zorder=2, **shade.style)
    stopped = [row for row in rows if row["state"] == "stopped" and is_number(row.get(x)) and is_number(row.get(y))]
    if stopped:
        scatter(stopped, marker="x", color="0.6", label="stopped early\n(last value)")
    front = sorted(front_of(rows, objectives), key=lambda row: row[x])
    if front and len(objectives) == 2:
        where: Literal["pre", "post"] = "post" if objectives[x] == "minimize" else "pre"
        axis.step([row[x] for row in front], [row[y] for row in front], where=where, color="tab:red", lw=1, zorder=1)
    if front:
        name = "Pareto front" if len(objectives) == 2 else f"Pareto front of all {len(objectives)}"
        scatter(front, s=120, facecolors="none", edgecolors="tab:red", label=name)
    aside = {"minimize": (-6, "right", "top"), "maximize": (6, "left", "bottom")}
    (dx, ha, _), (dy, _, va) = aside[objectives[x]], aside[objectives[y]]
    for row in front:  # the number goes where something better would be, and so (in a plane) nothing is
        point = (row[x], row[y])
        axis.annotate(str(row["number"]), point, (dx, dy), textcoords="offset points", ha=ha, va=va, fontsize=8)
    axis.margins(0.1)
    axis.grid(alpha=0.3)


def _draw_progress(axis: Axes, rows: Sequence[Row], objectives: Mapping[str, str], shades: Sequence[Shade]) -> None:
    (metric,) = objectives

    def scatter(points: Sequence[Row], **style: Any) -> None:
        axis.scatter([row["number"] for row in points], [float(row[metric]) for row in points], **style)

    for shade in shades:
        scatter(shade.rows, label=shade.name, zorder=2, **shade.style)
    stopped = [row for row in rows if row["state"] == "stopped" and is_number(row.get(metric))]
    if stopped:
        scatter(stopped, marker="x", color="0.6", label="stopped early\n(last value)")
    complete = sorted(completed(rows, objectives), key=lambda row: row["number"])
    complete = feasible(complete)
    best = list(accumulate((row[metric] for row in complete), max if objectives[metric] == "maximize" else min))
    if best:
        axis.step([row["number"] for row in complete], best, where="post", color="tab:red", lw=1, label="best so far")
        scatter(front_of(rows, objectives), s=120, facecolors="none", edgecolors="tab:red", label="best")
    axis.xaxis.get_major_locator().set_params(integer=True)  # type: ignore[call-arg]  # a MaxNLocator
    axis.margins(0.1)
    axis.set_xlabel("trial")
    axis.set_ylabel(label(metric))
    axis.grid(alpha=0.3)


def hypervolume_figure(
    rows: Sequence[Row], objectives: Mapping[str, str], reference: Mapping[str, float] | None = None
) -> Figure:
    """How the front's hypervolume grew with the completed trials; `reference` as in `hypervolume_history`."""
    figure, axis = plt.subplots(figsize=(7, 3))
    history = hypervolume_history(rows, objectives, reference)
    axis.step(range(1, len(history) + 1), history, where="post")
    axis.xaxis.get_major_locator().set_params(integer=True)  # type: ignore[call-arg]  # a MaxNLocator
    axis.set_xlabel("completed trials")
    axis.set_ylabel("hypervolume")
    axis.grid(alpha=0.3)
    return _finish(figure)


def _finish(figure: Figure, has_scale: bool = False) -> Figure:
    if not has_scale:  # a scale beside several axes has no place in a tight layout
        figure.tight_layout()
    return figure
