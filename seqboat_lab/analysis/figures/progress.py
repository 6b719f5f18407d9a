"""How a search went: its hypervolume against what was spent, its workers, and where in the network attention is."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from seqboat_lab.analysis.figures.colours import DISTINCT, Row
from seqboat_lab.analysis.figures.pareto import finish
from seqboat_lab.analysis.figures.text import brief, link, plain
from seqboat_lab.analysis.pareto import completed, hypervolume_history, is_number

STATES = {"complete": "#009E73", "stopped": "#E69F00", "failed": "#D55E00", "requeued": "0.75"}
RATE = "val/activation_rate/"
SHORT_HOURS = 2  # a search that took less is shown in minutes
ROUNDING = 0.2  # seconds: times of trials are rounded
LAYERS = f"{RATE}layer_"


def hypervolume_figure(
    rows: Sequence[Row], objectives: Mapping[str, str], reference: Mapping[str, float] | None = None
) -> Figure:
    """How the front's hypervolume grew with the updates spent and with the hours; with the completed trials where
    rows know no times. `reference` as in `hypervolume_history`."""
    spent = spending(rows)
    if not spent:
        figure, axis = plt.subplots(figsize=(8, 3))
        history = hypervolume_history(rows, objectives, reference)
        _grow(axis, [float(n) for n in range(1, len(history) + 1)], history, "completed trials")
        axis.xaxis.get_major_locator().set_params(integer=True)  # type: ignore[call-arg]  # a MaxNLocator
        return finish(figure)
    figure, axes = plt.subplots(1, 2, figsize=(9, 3), sharey=True)
    ordered = [row for row, _, _ in spent]
    history = hypervolume_history(ordered, objectives, reference)
    done = {id(row) for row in completed(ordered, objectives)}
    unit, time = (1.0, "hours") if spent[-1][2] >= SHORT_HOURS else (60.0, "minutes")
    at = [(updates, unit * hours) for row, updates, hours in spent if id(row) in done]
    for n, (axis, name) in enumerate(zip(axes, ("updates of all trials", time), strict=True)):
        _grow(axis, [place[n] for place in at][: len(history)], history, name)
    axes[1].set_ylabel("")
    return finish(figure)


def spending(rows: Sequence[Row]) -> list[tuple[Row, float, float]]:
    """Trials that ended, in that order, each with the updates that all had taken by then, and the hours since the
    first began; empty if any row lacks its times."""
    ended = [row for row in rows if row["state"] in ("complete", "stopped", "failed")]
    spans = [span(row) for row in ended]
    if not ended or not all(spans):
        return []
    first = min(start for start, _ in spans)  # type: ignore[misc]  # none of them is None
    found, updates = [], 0.0
    for end, row in sorted(((s[1], row) for s, row in zip(spans, ended, strict=True) if s), key=lambda pair: pair[0]):
        steps, seeds = row.get("step"), row.get("seeds")
        updates += (float(steps) if is_number(steps) else 0.0) * (float(seeds) if is_number(seeds) and seeds else 1.0)
        found.append((row, updates, (end - first) / 3600))
    return found


def span(row: Row) -> tuple[float, float] | None:
    """When a trial began and ended, in seconds of its machine's clock; None if it is not known."""
    seconds = row.get("seconds")
    try:
        start = datetime.fromisoformat(str(row.get("started") or "")).timestamp()
    except (ValueError, OverflowError, OSError):
        return None
    return (start, start + float(seconds)) if is_number(seconds) and 0 <= seconds < 1e9 else None


def _grow(axis: Axes, places: Sequence[float], history: Sequence[float], name: str) -> None:
    axis.step([0.0, *places], [0.0, *history], where="post", color=DISTINCT[0])
    axis.set_xlabel(name)
    axis.set_ylabel("hypervolume")
    axis.grid(alpha=0.3)


def timeline_figure(rows: Sequence[Row]) -> Figure:
    """When each trial ran, one line a worker: as rows name them, else as many as ran at the same time."""
    spans = sorted(((s, row) for row in rows if (s := span(row))), key=lambda pair: pair[0])
    first = spans[0][0][0] if spans else 0.0
    lanes: dict[Any, float] = {}
    place: dict[Any, int] = {}
    figure, axis = plt.subplots(figsize=(9, 2))
    for (start, end), row in spans:
        worker = row.get("worker") or next(
            (lane for lane, until in lanes.items() if until <= start + ROUNDING), len(lanes)
        )
        lanes[worker] = end
        lane = place.setdefault(worker, len(place))
        (bar,) = axis.barh(lane, (end - start) / 60, 0.8, (start - first) / 60, color=STATES.get(row["state"], "0.75"),
                           edgecolor="white", lw=0.5)  # fmt: skip
        bar.set_url(link(row))
        if end - start > 0.02 * (spans[-1][0][1] - first):
            axis.annotate(str(row["number"]), ((start + end) / 2 / 60 - first / 60, lane), ha="center", va="center",
                          fontsize=6, color="white")  # fmt: skip
    for state, colour in STATES.items():
        if any(row["state"] == state for _, row in spans):
            axis.barh(0, 0, color=colour, label=state)
    figure.set_figheight(1.2 + 0.35 * max(1, len(place)))
    axis.set_yticks(range(len(place)), [f"worker {n + 1}" for n in range(len(place))])
    axis.set_xlabel("minutes since the first trial began")
    if spans:
        axis.legend(fontsize=8, loc="upper left", bbox_to_anchor=(1.01, 1))
    return finish(figure)


def layers_figure(rows: Sequence[Row]) -> Figure:
    """The activation rate of every layer, of each of these trials: one near 0 is a pure state space model."""
    layers = list(dict.fromkeys(key for row in rows for key in row if key.startswith(LAYERS)))
    figure, axis = plt.subplots(figsize=(9, 2.8))
    width = 0.8 / max(1, len(layers))
    palette = plt.colormaps["viridis"].resampled(max(2, len(layers)))
    for n, layer in enumerate(layers):
        rates = [float(row[layer]) if is_number(row.get(layer)) else 0.0 for row in rows]
        name = plain(layer.removeprefix(RATE).replace("_", " "))
        axis.bar(np.arange(len(rows)) + n * width, rates, width, color=palette(n), label=name)
    axis.set_xticks(np.arange(len(rows)) + 0.4 - width / 2, [f"trial {row['number']}" for row in rows], fontsize=8,
                    rotation=45 if len(rows) > 10 else 0)  # fmt: skip
    axis.set_ylabel(brief("val/activation_rate"))
    if 0 < len(layers) <= 12:
        axis.legend(fontsize=8, loc="upper left", bbox_to_anchor=(1.01, 1))
    axis.grid(alpha=0.3, axis="y")
    return finish(figure)
