"""Figures for print: one column of a paper wide, readable there, told apart by the colour-blind and in grey."""

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from seqboat_lab.analysis.answers import root
from seqboat_lab.analysis.figures.colours import DISTINCT
from seqboat_lab.analysis.statistics import estimate

COLUMN = 3.35
"""Inches: a column of a two-column paper."""
MARKERS = "osD^vP*Xhd<>p"
STYLE: Any = {"font.size": 8, "axes.titlesize": 8, "axes.labelsize": 8, "legend.fontsize": 6.5, "xtick.labelsize": 7,
         "ytick.labelsize": 7, "lines.linewidth": 1.1, "lines.markersize": 3.5, "pdf.fonttype": 42,
         "figure.dpi": 144, "axes.spines.top": False, "axes.spines.right": False, "legend.frameon": False}  # fmt: skip


def panels(rows: int = 1, columns: int = 1, height: float = 2.1, **shared: Any) -> tuple[Figure, list[Axes]]:
    """A figure of one column's width, each row `height` inches high, and its axes, row by row."""
    plt.rcParams.update(STYLE)
    figure, axes = plt.subplots(
        rows, columns, figsize=(COLUMN, rows * height), constrained_layout=True, squeeze=False, **shared
    )
    return figure, list(axes.flat)


def style(place: int) -> dict[str, Any]:
    """Colour, marker and dash of the line at this place, from 0."""
    dashes = ("-", "--", ":")[place // len(DISTINCT) % 3]
    return {"color": DISTINCT[place % len(DISTINCT)], "marker": MARKERS[place % len(MARKERS)], "linestyle": dashes}


def line(axis: Axes, x: Iterable[float], values: Iterable[Iterable[float]], place: int, name: str | None) -> None:
    """Means over seeds of `values` (a list of runs for every x) with 95 % intervals (Student's t)."""
    found = [estimate(list(each)) for each in values]
    halves = [each.half if each.half == each.half else 0.0 for each in found]
    axis.errorbar(list(x), [each.mean for each in found], yerr=halves, capsize=1.5, elinewidth=0.7, label=name,
                  **style(place))  # fmt: skip


def lines(axis: Axes, table: pd.DataFrame, x: str, y: str, by: str, scale: float = 1.0) -> None:
    """`line` of column y against column x for every value of column `by`, in the table's order."""
    for place, value in enumerate(table[by].drop_duplicates()):
        groups = table[table[by] == value].dropna(subset=[y]).groupby(x)[y]
        if len(groups):
            line(axis, list(groups.groups), [scale * group for _, group in groups], place, str(value))


def keep(figure: Figure, name: str) -> None:
    """Writes the figure as PDF (to `SEQBOAT_FIGURES`, else runs/figures beside docs/) and shows it."""
    directory = Path(os.environ.get("SEQBOAT_FIGURES") or root() / "runs" / "figures")
    directory.mkdir(parents=True, exist_ok=True)
    figure.savefig(directory / f"{name}.pdf", metadata={"CreationDate": None})
    plt.show()
