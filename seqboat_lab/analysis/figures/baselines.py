"""Baselines beside SeqBoat: quality against cost, and cost against length."""

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from seqboat_lab.analysis.baselines import Best
from seqboat_lab.analysis.figures.text import label, plain

MARKS = "osD^vPX<>hpd"


def style(mixer: str, mixers: Sequence[str]) -> dict[str, Any]:
    """Colour and marker of a mixer, the same in every panel; seqboat a black star."""
    if mixer == "seqboat":
        return {"color": "black", "marker": "*", "label": mixer}
    n = [each for each in mixers if each != "seqboat"].index(mixer)
    return {"color": f"C{n % 10}", "marker": MARKS[n % len(MARKS)], "label": plain(mixer)}


def quality_figure(
    found: Sequence[Best], front: Sequence[Mapping[str, Any]], metric: str, direction: str, title: str = ""
) -> Figure:
    """Each mixer's quality at its best learning rate, mean and 95 % interval over seeds, against FLOPs per token
    and against seconds of the run; beside them the front that a search over SeqBoat's own fields found, if any.

    Args:
        front: rows with quality, forward_flops, seconds and steps.
    """
    figure, axes = plt.subplots(1, 2, figsize=(11, 4.2), sharey=True, constrained_layout=True)
    mixers = sorted(best.mixer for best in found)
    for axis, cost in zip(axes, ("forward_flops", "seconds"), strict=True):
        for best in found:
            at = best.forward_flops if cost == "forward_flops" else best.seconds.mean
            half = best.quality.half if best.quality.runs > 1 else 0.0
            axis.errorbar(at, best.quality.mean, yerr=half, capsize=3, linestyle="none", **style(best.mixer, mixers))
        _draw_front(axis, front, cost)
        axis.grid(alpha=0.3)
        axis.set_xlabel("FLOPs per token, forward" if cost == "forward_flops" else "seconds of the run")
    axes[0].set_ylabel(label(metric))
    if direction == "minimize":
        axes[0].invert_yaxis()  # better is up
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside right upper", fontsize=8)
    figure.suptitle(plain(title), fontsize=10)
    return figure


def _draw_front(axis: Axes, front: Sequence[Mapping[str, Any]], cost: str) -> None:
    points = sorted((row[cost], row["quality"]) for row in front if row.get(cost) is not None)
    if points:
        line = "--" if cost == "forward_flops" else "none"  # it is a front of FLOPs, not of seconds
        updates = ", ".join(f"{steps:,}" for steps in sorted({row["steps"] for row in front}))
        name = f"seqboat, searched ({updates} updates)"
        axis.plot(*zip(*points, strict=True), linestyle=line, marker=".", color="0.4", label=name)


LENGTH_PANELS = {
    "forward": "seconds, forward",
    "step": "seconds, training step",
    "token": "seconds of a streamed token",
    "state_bytes": "bytes that a stream carries",
}


def lengths_figure(rows: Sequence[Mapping[str, Any]]) -> Figure:
    """Time of a forward pass, a training step and a streamed token, and what a stream carries, by length."""
    figure, axes = plt.subplots(1, len(LENGTH_PANELS), figsize=(15, 4.2), constrained_layout=True)
    mixers = sorted({row["mixer"] for row in rows})
    for axis, (name, text) in zip(axes, LENGTH_PANELS.items(), strict=True):
        for mixer in mixers:
            points = sorted((r["length"], r[name]) for r in rows if r["mixer"] == mixer and r.get(name) is not None)
            if points:
                axis.loglog(*zip(*points, strict=True), markersize=4, lw=1, **style(mixer, mixers))
        axis.set_title(text, fontsize=10)
        axis.set_xlabel("tokens")
        axis.grid(alpha=0.3)
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside right upper", fontsize=8)
    return figure
