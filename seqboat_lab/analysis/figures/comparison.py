"""Runs and sweeps over each other: curves of runs, fronts of sweeps."""

from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from seqboat_lab.analysis.confirmation import Candidate
from seqboat_lab.analysis.figures.colours import DISTINCT
from seqboat_lab.analysis.figures.pareto import Pair, add_legend, finish, pairs, step_of
from seqboat_lab.analysis.figures.text import brief, label, plain
from seqboat_lab.analysis.pareto import is_number, non_dominated, turn

MOST_PANELS = 3  # beside each other
LINES = ("-", "--", ":", "-.")


def style(n: int) -> dict[str, Any]:
    """Of the n-th run or sweep: ten colours, then the same with other lines."""
    return {"color": DISTINCT[n % len(DISTINCT)], "ls": LINES[n // len(DISTINCT) % len(LINES)]}


def curves_figure(curves: Mapping[str, Sequence[Mapping[str, Any]]], metrics: Sequence[str]) -> Figure:
    """Each metric over updates, a line a run.

    curves: name of a run -> its validations, each with `step` and metrics.
    """
    columns = min(MOST_PANELS, len(metrics))
    lines = -(-len(metrics) // columns)
    figure, axes = plt.subplots(lines, columns, figsize=(1.5 + 3.2 * columns, 0.4 + 2.6 * lines), squeeze=False)
    for axis in axes.flat[len(metrics) :]:
        axis.set_axis_off()
    for axis, metric in zip(axes.flat, metrics, strict=False):
        for n, (name, curve) in enumerate(curves.items()):
            points = [(v["step"], float(v[metric])) for v in curve if is_number(v.get(metric))]
            axis.plot(*zip(*points, strict=True) if points else ([], []), marker=".", label=plain(name), **style(n))
        axis.set_xlabel("update")
        axis.set_ylabel(brief(metric), fontsize=9)
        axis.grid(alpha=0.3)
    add_legend(axes[0, -1], figure.axes[0], (1.01, 1))
    return finish(figure)


def fronts_figure(
    sweeps: Mapping[str, Sequence[Candidate]],
    objectives: Mapping[str, str],
    split: str,
    runs: Sequence[Candidate] = (),
) -> Figure:
    """The fronts of sweeps over each other, with 95 % intervals where candidates have several runs.

    sweeps: name -> its candidates, those of the confirmed front or the completed trials; runs: drawn as diamonds.
    One objective: the best so far over the trials.
    """
    names = list(objectives)
    if len(names) == 1:
        return _best_so_far(sweeps, objectives, split, runs)

    def draw(axis: Axes, pair: Pair) -> None:
        x, y = (names.index(m) for m in pair)
        for n, (name, candidates) in enumerate(sweeps.items()):
            means = np.array([c.values.mean(0) for c in candidates]).reshape(-1, len(names))
            on = non_dominated(turn(means, objectives)) if len(means) else np.zeros(0, bool)
            colour = style(n)["color"]
            axis.scatter(means[~on, x], means[~on, y], s=10, color=colour, alpha=0.35)
            _draw_intervals(axis, [c for c, keep in zip(candidates, on, strict=True) if keep], x, y, colour)
            axis.scatter(means[on, x], means[on, y], s=45, color=colour, label=plain(name), zorder=3)
            if len(names) == 2 and on.any():
                front = means[on][np.argsort(means[on, x])]
                axis.step(front[:, x], front[:, y], where=step_of(objectives[pair[0]]), lw=1.2, **style(n))
        for run in runs:
            axis.plot(run.values[:, x].mean(), run.values[:, y].mean(), "D", color="black", ms=5)
            at = (run.values[:, x].mean(), run.values[:, y].mean())
            axis.annotate(plain(run.name), at, (5, 5), textcoords="offset points", fontsize=7)
        axis.margins(0.1)
        axis.grid(alpha=0.3)

    figure, corner = pairs(names, draw, split)
    add_legend(corner, figure.axes[0], (0.0 if len(names) > 2 else 1.01, 1))
    return finish(figure)


def _draw_intervals(axis: Axes, candidates: Sequence[Candidate], x: int, y: int, colour: str) -> None:
    for candidate in candidates:
        if len(candidate.values) > 1:
            at = candidate.estimates()
            axis.errorbar(at[x].mean, at[y].mean, at[y].half, at[x].half, "none", ecolor=colour, elinewidth=0.9,
                          capsize=2, alpha=0.8)  # fmt: skip


def _best_so_far(
    sweeps: Mapping[str, Sequence[Candidate]], objectives: Mapping[str, str], split: str, runs: Sequence[Candidate]
) -> Figure:
    ((metric, direction),) = objectives.items()
    figure, axis = plt.subplots(figsize=(8, 4))
    for n, (name, candidates) in enumerate(sweeps.items()):
        values = [float(c.values.mean()) for c in candidates]
        best = list(accumulate(values, max if direction == "maximize" else min))
        axis.step(range(1, len(best) + 1), best, where="post", label=plain(name), **style(n))
        axis.scatter(range(1, len(values) + 1), values, s=10, color=style(n)["color"], alpha=0.35)
    for run in runs:
        axis.axhline(run.values.mean(), color="black", ls=":", lw=1)
        axis.annotate(plain(run.name), (1, run.values.mean()), (-4, 2), xycoords=("axes fraction", "data"),
                      textcoords="offset points", ha="right", fontsize=7)  # fmt: skip
    axis.set_xlabel("trials")
    axis.set_ylabel(label(metric, split))
    axis.grid(alpha=0.3)
    add_legend(axis, axis, (1.01, 1))
    return finish(figure)
