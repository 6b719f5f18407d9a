"""The confirmed front: what candidates reach with seeds that the search never saw."""

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from seqboat_lab.analysis.confirmation import Candidate, Confirmation
from seqboat_lab.analysis.figures.colours import Row
from seqboat_lab.analysis.figures.pareto import FRONT, Pair, add_legend, draw_references, finish, pairs, step_of
from seqboat_lab.analysis.figures.text import label, plain
from seqboat_lab.analysis.pareto import is_number, turn
from seqboat_lab.analysis.statistics import attainment

GRID = 300  # places along the second objective where the attainment surface is drawn
LEVELS = (0.025, 0.5, 0.975)
ON, OFF = "#0072B2", "0.6"


def confirmed_figure(confirmation: Confirmation, objectives: Mapping[str, str], rows: Sequence[Row] = ()) -> Figure:
    """Means over new seeds with 95 % intervals in every direction, and from where in the search they come.

    Two objectives: with the attainment surface, its median and where 95 % of the resampled fronts are. More of
    them: a matrix of pairs, without it. One: a line for each candidate.
    """
    names = list(objectives)
    if len(names) == 1:
        return _lines(confirmation, objectives)
    searched = {row["number"]: row for row in rows}

    def draw(axis: Axes, pair: Pair) -> None:
        x, y = (names.index(m) for m in pair)
        if len(names) == 2:
            _draw_attainment(axis, confirmation, objectives)
        _draw_candidates(axis, confirmation, objectives, x, y)
        for candidate in confirmation.candidates:
            row = searched.get(candidate.trial)
            if row is not None and all(is_number(row.get(m)) for m in pair):
                end = candidate.values.mean(0)[[x, y]]
                axis.annotate("", end, (float(row[pair[0]]), float(row[pair[1]])),
                              arrowprops={"arrowstyle": "->", "color": "0.55", "lw": 0.8, "ls": "--"})  # fmt: skip
                axis.plot(float(row[pair[0]]), float(row[pair[1]]), "o", mfc="none", mec="0.55", ms=6)
        draw_references(axis, confirmation.references, x, y, intervals=True)
        axis.margins(0.1)
        axis.grid(alpha=0.3)

    figure, corner = pairs(names, draw, confirmation.split)
    corner.plot([], [], "o", mfc="none", mec="0.55", ms=6, label="in the search (one split, one choice)")
    if len(names) > 2:
        figure.axes[0].plot([], [], "o", mfc="none", mec="0.55", ms=6, label="in the search")
    add_legend(corner, figure.axes[0], (0.0 if len(names) > 2 else 1.01, 1))
    return finish(figure)


def _draw_candidates(axis: Axes, confirmation: Confirmation, objectives: Mapping[str, str], x: int, y: int) -> None:
    front = [c.name for c in confirmation.front(objectives)]
    told = set()
    for candidate in confirmation.candidates:
        on = candidate.name in front
        name = "confirmed front, 95 % interval" if on else "confirmed, not on the front"
        _draw_candidate(axis, candidate, x, y, ON if on else OFF, None if name in told else name)
        told.add(name)


def _draw_candidate(axis: Axes, candidate: Candidate, x: int, y: int, colour: str, name: str | None) -> None:
    at = candidate.estimates()
    bars = np.nan_to_num([at[x].half, at[y].half])
    axis.errorbar(at[x].mean, at[y].mean, bars[1], bars[0], "none", ecolor=colour, elinewidth=1, capsize=2, zorder=2)
    url = f"trial:{candidate.trial}"
    axis.scatter([at[x].mean], [at[y].mean], color=colour, label=name, urls=[url], zorder=3)
    axis.annotate(str(candidate.trial), (at[x].mean, at[y].mean), (5, 5), textcoords="offset points", fontsize=8)


def _draw_attainment(axis: Axes, confirmation: Confirmation, objectives: Mapping[str, str]) -> None:
    """Median and 95 % of the resampled fronts; what none of that share attains is left open."""
    samples = confirmation.samples(objectives)
    if samples is None:
        return
    second = samples[..., 1]
    at = np.linspace(second.min(), second.max(), GRID)
    surfaces = attainment(samples, at, LEVELS)
    first, x = ({name: direction} for name, direction in objectives.items())
    shown = turn(at[:, None], x)[:, 0]
    best, median, sure = (turn(s[:, None], first)[:, 0] for s in surfaces)
    edge = turn(np.array([[samples[..., 0].min()]]), first)[0, 0]
    low = np.where(np.isfinite(sure), sure, edge)
    where = np.isfinite(best)
    step = step_of(next(iter(x.values())))
    axis.fill_between(shown[where], low[where], best[where], color=FRONT, alpha=0.12, lw=0, step=step,
                      label="attainment surface, 95 %")  # fmt: skip
    known = np.isfinite(median)
    axis.plot(shown[known], median[known], color=FRONT, lw=1, label="median attainment")


def _lines(confirmation: Confirmation, objectives: Mapping[str, str]) -> Figure:
    """One objective: candidates below each other, best first, each run a dot."""
    (metric,) = objectives
    everyone = [*confirmation.candidates, *confirmation.references]
    everyone.sort(key=lambda c: turn(c.values.mean(0), objectives)[0])
    figure, axis = plt.subplots(figsize=(8, 1.5 + 0.35 * len(everyone)))
    for n, candidate in enumerate(everyone):
        (at,) = candidate.estimates()
        colour = "black" if candidate.trial is None else ON
        axis.scatter(candidate.values[:, 0], [n] * len(candidate.values), s=12, color="0.7")
        url = None if candidate.trial is None else f"trial:{candidate.trial}"
        axis.errorbar(at.mean, n, xerr=np.nan_to_num(at.half), color=colour, capsize=3, elinewidth=1.2)
        axis.scatter([at.mean], [n], color=colour, urls=[url], zorder=3)
    axis.set_yticks(range(len(everyone)), [plain(c.name) for c in everyone])
    axis.set_xlabel(f"{label(metric, confirmation.split)}, mean and 95 % interval")
    axis.grid(alpha=0.3, axis="x")
    return finish(figure)
