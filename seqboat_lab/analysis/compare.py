"""Runs and sweeps beside each other: metrics, differences in their settings, curves, and fronts over each other."""

import html
import json
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib.pyplot as plt
import numpy as np
from rich.console import Console
from rich.table import Table as RichTable
from rich.text import Text

from seqboat_lab.analysis.confirmation import Candidate, Confirmation, read_confirmation
from seqboat_lab.analysis.figures.comparison import curves_figure, fronts_figure
from seqboat_lab.analysis.figures.progress import spending
from seqboat_lab.analysis.figures.text import brief, number
from seqboat_lab.analysis.pareto import completed, hypervolume_history, is_number, kept_reference
from seqboat_lab.analysis.report.page import SCRIPT, STYLE
from seqboat_lab.analysis.report.svg import inline_svg
from seqboat_lab.analysis.report.tables import Table, as_html
from seqboat_lab.analysis.sweeps import Sweep, read_sweep
from seqboat_lab.atomic import write_text
from seqboat_lab.config.checks import ConfigError
from seqboat_lab.config.files import read_yaml, to_dict
from seqboat_lab.training.run_config import run_config

MOST_CURVES = 6  # metrics that are drawn


class Run(NamedTuple):
    directory: Path
    settings: dict[str, Any]
    """Every field by its full key."""
    curve: list[dict[str, Any]]
    """Its validations, each with `step` and metrics."""

    @property
    def metrics(self) -> dict[str, float]:
        """Those of its last validation."""
        return {key: value for key, value in self.curve[-1].items() if is_number(value)} if self.curve else {}


def compare(directories: Sequence[Path], out: Path) -> None:
    """Prints the tables and writes them, with figures, as a page. Raises `ConfigError` for what cannot be compared."""
    if len(directories) < 2:
        raise ConfigError(
            "compare", f"{directories[0]} alone has nothing to be compared with; expected two directories"
        )
    sweeps = {str(d): read_sweep(d) for d in directories if (d / "trials.csv").exists()}
    runs = {str(d): read_run(d) for d in directories if str(d) not in sweeps}
    objectives = _common_objectives(sweeps)
    confirmed = {name: read_confirmation(sweep.directory, objectives) for name, sweep in sweeps.items()}
    tables = _tables(sweeps, runs, objectives)
    figures = {}
    if len(runs) > 1 and (metrics := _curve_metrics(runs)):
        figures["curves"] = curves_figure({name: run.curve for name, run in runs.items()}, metrics)
    if sweeps:
        figures["fronts"] = fronts_figure(*_fronts(sweeps, runs, objectives, confirmed))
    try:
        pictures = {name: inline_svg(name, figure, {}) for name, figure in figures.items()}
    finally:
        for figure in figures.values():
            plt.close(figure)
    write_text(out, _page(tables, pictures))
    for title, table in tables.items():
        _print(title, table)


def read_run(directory: Path) -> Run:
    """A run's settings and validations. Raises `ConfigError` where there is no run."""
    settings = dict(_flat(to_dict(run_config(directory))))
    curve = []
    with suppress(OSError):
        for line in (directory / "validations.jsonl").read_text(errors="replace").splitlines():
            with suppress(ValueError):  # a line that was cut off
                values = json.loads(line)
                if isinstance(values, dict) and isinstance(values.get("step"), int):
                    curve.append(values)
    return Run(directory, settings, curve)


def _common_objectives(sweeps: Mapping[str, Sweep]) -> dict[str, str]:
    """Raises `ConfigError` if these sweeps searched for different things."""
    found: dict[str, str] = {}
    for name, sweep in sweeps.items():
        if found and dict(sweep.objectives) != found:
            other = ", ".join(f"{m}: {d}" for m, d in sweep.objectives.items())
            raise ConfigError(
                name, f"has other objectives ({other}) than {next(iter(sweeps))}; compare sweeps with the same"
            )
        found = found or dict(sweep.objectives)
    return found


def _fronts(
    sweeps: Mapping[str, Sweep],
    runs: Mapping[str, Run],
    objectives: Mapping[str, str],
    confirmed: Mapping[str, Confirmation | None],
) -> tuple[dict[str, list[Candidate]], Mapping[str, str], str, list[Candidate]]:
    """What is drawn over each other: confirmed values where every sweep has them on the same split, else those of the
    searches, which single runs are comparable with."""
    splits = {c.split if c and c.candidates else None for c in confirmed.values()}
    if len(splits) == 1 and (split := splits.pop()) is not None:
        return {name: c.candidates for name, c in confirmed.items() if c}, objectives, split, []
    points = {
        name: [_point(f"trial {row['number']}", row, objectives) for row in completed(sweep.rows, objectives)]
        for name, sweep in sweeps.items()
    }
    known = [run for run in runs.values() if all(m in run.metrics for m in objectives)]
    return points, objectives, "val", [_point(run.directory.name, run.metrics, objectives) for run in known]


def _point(name: str, values: Mapping[str, Any], objectives: Mapping[str, str]) -> Candidate:
    return Candidate(name, None, np.array([[float(values[m]) for m in objectives]]), [], [])


def _tables(sweeps: Mapping[str, Sweep], runs: Mapping[str, Run], objectives: Mapping[str, str]) -> dict[str, Table]:
    found = {}
    if runs:
        names = list(dict.fromkeys(m for run in runs.values() for m in run.metrics if "/layer_" not in m))
        rows = [{"metric": metric, **{name: run.metrics.get(metric) for name, run in runs.items()}} for metric in names]
        found["Metrics of the runs, at their last validation"] = Table(["metric", *runs], rows, {n: n for n in runs})
        found["Differences in the runs' fields"] = _differences({n: run.settings for n, run in runs.items()})
    if sweeps:
        found["Sweeps"] = _sweep_table(sweeps, objectives)
        settings = {n: dict(_flat(read_yaml(s.directory / "sweep.yaml"))) for n, s in sweeps.items()}
        found["Differences in the sweeps' fields"] = _differences(settings)
    return {title: table for title, table in found.items() if table.rows}


def _differences(settings: Mapping[str, Mapping[str, Any]]) -> Table:
    keys = dict.fromkeys(key for values in settings.values() for key in values)
    rows: list[dict[str, Any]] = []
    for key in keys:
        values = {name: _shown(known.get(key, "")) for name, known in settings.items()}
        if len(set(values.values())) > 1:
            rows.append({"field": key, **values})
    return Table(["field", *settings], rows, {name: name for name in settings})


def _sweep_table(sweeps: Mapping[str, Sweep], objectives: Mapping[str, str]) -> Table:
    """Hypervolumes are above one reference point: the natural bound, or the worst of all that completed."""
    everyone = [row for sweep in sweeps.values() for row in completed(sweep.rows, objectives)]
    open_ended = {m: d for m, d in objectives.items() if everyone and not kept_reference([], {m: d}, {})}
    worst = {m: _best(everyone, m, "minimize" if d == "maximize" else "maximize") for m, d in open_ended.items()}
    reference = kept_reference([], objectives, worst)
    rows = []
    for name, sweep in sweeps.items():
        spent, history = spending(sweep.rows), hypervolume_history(sweep.rows, objectives, reference)
        row: dict[str, Any] = {"sweep": name}
        row |= {s: sum(row["state"] == s for row in sweep.rows) for s in ("complete", "stopped", "failed")}
        row |= {m: _best(completed(sweep.rows, objectives), m, d) for m, d in objectives.items()}
        row |= {"hypervolume": history[-1] if history else None, "updates": f"{spent[-1][1]:,.0f}" if spent else None}
        rows.append(row)
    heads = {m: f"best {brief(m)}" for m in objectives}
    return Table(["sweep", "complete", "stopped", "failed", *objectives, "hypervolume", "updates"], rows, heads)


def _best(rows: Sequence[Mapping[str, Any]], metric: str, direction: str) -> Any:
    return (max if direction == "maximize" else min)((row[metric] for row in rows), default=None)


def _curve_metrics(runs: Mapping[str, Run]) -> list[str]:
    names = dict.fromkeys(key for run in runs.values() for values in run.curve for key in values)
    return [name for name in names if name.startswith("val/") and name.count("/") == 1][:MOST_CURVES]


def _flat(values: Mapping[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    found: list[tuple[str, Any]] = []
    for key, value in values.items():
        inner = isinstance(value, Mapping) and value
        found += _flat(value, f"{prefix}{key}.") if inner else [(f"{prefix}{key}", value)]
    return found


def _shown(value: Any) -> str:
    return number(value) if isinstance(value, float) else "" if value is None else str(value)


def _page(tables: Mapping[str, Table], pictures: Mapping[str, str]) -> str:
    figures = "".join(f'<figure id="figure-{name}">{picture}</figure>' for name, picture in pictures.items())
    sections = "".join(f"<h2>{html.escape(title)}</h2>{as_html(table)}" for title, table in tables.items())
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>comparison</title><style>{STYLE}</style></head><body>
<h1>Comparison</h1>
{figures}{sections}
<script>{SCRIPT}</script></body></html>
"""


def _print(title: str, table: Table) -> None:
    shown = RichTable(title=Text(title), title_justify="left")  # `Text`: no markup in a user's names
    for n, column in enumerate(table.columns):
        shown.add_column(Text(table.head(column)), justify="right" if n else "left", overflow="fold")
    for row in table.rows:
        shown.add_row(*(Text(number(row.get(column))) for column in table.columns))
    Console(width=None if sys.stdout.isatty() else 150).print(shown)
