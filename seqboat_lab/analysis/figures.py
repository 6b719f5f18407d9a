"""Figures of a sweep."""

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib.pyplot as plt
from matplotlib.figure import Figure

from seqboat_lab.analysis.pareto import front_of, hypervolume_history

LABELS = {
    "val/accuracy": "validation accuracy",
    "val/activation_rate": "activation rate (share of tokens that use attention)",
    "val/bpc": "validation bits per byte",
    "cost/flops_per_token": "matmul FLOPs per token",
}


def label(metric: str) -> str:
    return LABELS.get(metric, metric)


def short(key: str | None) -> str:
    """`model.configurator.temperature_scale` -> `temperature_scale`."""
    return (key or "").rsplit(".", 1)[-1]


def pareto_figure(
    rows: Sequence[Mapping[str, Any]], objectives: Mapping[str, str], colour_by: str | None = None
) -> Figure:
    """Completed trials in the plane of two objectives, their front, and stopped trials apart.

    The first objective runs along y, the second along x; with more than two, the first two are drawn.
    `colour_by` names a searched field that colours the points, one colour a value.
    """
    y, x = (list(objectives) * 2)[:2]
    figure, axis = plt.subplots(figsize=(8, 5))
    complete = [row for row in rows if row["state"] == "complete"]
    stopped = [row for row in rows if row["state"] == "stopped" and row[x] is not None]

    def scatter(points: Sequence[Mapping[str, Any]], **style: Any) -> None:
        axis.scatter([row[x] for row in points], [row[y] for row in points], **style)

    values = sorted({row.get(colour_by) for row in complete}, key=lambda v: (str(type(v)), v))
    if len(values) > 10:  # a continuous field: a scale instead of a colour per value
        scatter(complete, c=[row[colour_by] for row in complete], cmap="viridis", label="complete", zorder=2)
        figure.colorbar(axis.collections[-1], label=short(colour_by))
    else:
        shades = plt.colormaps["viridis"].resampled(max(len(values), 2))
        for n, value in enumerate(values):
            name = f"{short(colour_by)} {value}" if colour_by else "complete"
            scatter([row for row in complete if row.get(colour_by) == value], color=shades(n), label=name, zorder=2)
    if stopped:
        scatter(stopped, marker="x", color="0.6", label="stopped early\n(last value)")
    front = sorted(front_of(rows, objectives), key=lambda row: row[x])
    if front:
        where = "post" if objectives[x] == "minimize" else "pre"
        axis.step([row[x] for row in front], [row[y] for row in front], where=where, color="tab:red", lw=1, zorder=1)
        scatter(front, s=120, facecolors="none", edgecolors="tab:red", label="Pareto front")
    aside = {"minimize": (-6, "right", "top"), "maximize": (6, "left", "bottom")}
    (dx, ha, _), (dy, _, va) = aside[objectives[x]], aside[objectives[y]]
    for row in front:  # the number goes where something better would be, and so nothing is
        where = (row[x], row[y])
        axis.annotate(str(row["number"]), where, (dx, dy), textcoords="offset points", ha=ha, va=va, fontsize=8)
    axis.margins(0.1)
    axis.set_xlabel(label(x))
    axis.set_ylabel(label(y))
    axis.grid(alpha=0.3)
    if complete or stopped:
        axis.legend(loc="upper left", bbox_to_anchor=(1.01 if len(values) <= 10 else 1.2, 1), fontsize=8)
    figure.tight_layout()
    return figure


def hypervolume_figure(rows: Sequence[Mapping[str, Any]], objectives: Mapping[str, str]) -> Figure:
    """How the front's hypervolume grew with the completed trials."""
    figure, axis = plt.subplots(figsize=(7, 3))
    history = hypervolume_history(rows, objectives)
    axis.step(range(1, len(history) + 1), history, where="post")
    axis.xaxis.get_major_locator().set_params(integer=True)
    axis.set_xlabel("completed trials")
    axis.set_ylabel("hypervolume")
    axis.grid(alpha=0.3)
    figure.tight_layout()
    return figure
