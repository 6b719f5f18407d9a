"""A sweep's report: trials.csv, front.csv, pareto.png, hypervolume.png, report.html, and all of it in TensorBoard."""

import csv
import html
import io
import json
import shutil
from base64 import b64encode
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
from matplotlib.figure import Figure

from seqboat_lab.analysis.figures import hypervolume_figure, pareto_figure, short
from seqboat_lab.analysis.pareto import front_of, hypervolume_history, reference_point
from seqboat_lab.analysis.sweeps import read_sweep

HPARAMS_SUFFIX = ".hparams"
STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 1100px; margin: 2em auto; padding: 0 1em; color: #222 }
h1 { margin-bottom: 0 } .note { color: #666 } img { max-width: 100%; border: 1px solid #eee }
.scroll { overflow-x: auto } table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: 13px }
th, td { padding: 3px 9px; text-align: right; border-bottom: 1px solid #eee; white-space: nowrap }
th { background: #f6f6f6; cursor: pointer } tr.stopped, tr.requeued { color: #888 } tr.failed td { color: #b00 }
code { background: #f6f6f6; padding: 1px 4px }
"""
SORT = """
document.querySelectorAll('th').forEach(th => th.onclick = () => {
  const body = th.closest('table').tBodies[0], i = th.cellIndex, up = th.dataset.up = th.dataset.up == 1 ? 0 : 1;
  const key = tr => { const t = tr.cells[i].textContent; return isNaN(t) || t === '' ? t : Number(t) };
  [...body.rows].sort((a, b) => (key(a) > key(b) ? 1 : -1) * (up == 1 ? 1 : -1)).forEach(tr => body.append(tr));
});
"""


def write_report(
    directory: Path, rows: Sequence[dict[str, Any]], objectives: Mapping[str, str], searched: Sequence[str]
) -> None:
    """Writes the report of a sweep into its directory.

    Args:
        rows: one mapping per trial, with number, state, every objective and every searched field.
        objectives: metric -> "maximize" or "minimize".
        searched: names of the searched fields.
    """
    write_csv(directory / "trials.csv", rows)
    front = front_of(rows, objectives)
    write_csv(directory / "front.csv", front, like=rows)
    history = hypervolume_history(rows, objectives)
    reference = reference_point(rows, objectives).tolist() if history else None
    (directory / "hypervolume.json").write_text(json.dumps({"reference_signed": reference, "history": history}) + "\n")
    figures = {
        "pareto": pareto_figure(rows, objectives, colour_by=searched[0]),
        "hypervolume": hypervolume_figure(rows, objectives),
    }
    pictures = {}
    for name, figure in figures.items():
        pictures[name] = _png(figure)
        (directory / f"{name}.png").write_bytes(pictures[name])
    (directory / "report.html").write_text(_html(directory.name, rows, front, objectives, searched, history, pictures))
    write_tensorboard(directory, rows, objectives, searched, figures, history)
    for figure in figures.values():
        plt.close(figure)


def report(directory: Path) -> None:
    """Writes the report of the sweep in `directory` again, from its trials.csv."""
    sweep = read_sweep(directory)
    write_report(directory, sweep.rows, sweep.objectives, sweep.searched)


def write_csv(path: Path, rows: Sequence[Mapping[str, Any]], like: Sequence[Mapping[str, Any]] | None = None) -> None:
    """Rows as CSV, with all columns that any row has, or any of `like`."""
    columns = list(dict.fromkeys(key for row in (rows if like is None else like) for key in row))
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        writer.writerows(rows)


def write_tensorboard(
    directory: Path,
    rows: Sequence[Mapping[str, Any]],
    objectives: Mapping[str, str],
    searched: Sequence[str],
    figures: Mapping[str, Figure],
    history: Sequence[float],
) -> None:
    """The sweep in TensorBoard: figures and hypervolume in `directory`/tensorboard, and HParams beside the curves
    of every completed trial's run (as a run of their own they would double the number of runs)."""
    from torch.utils.tensorboard import SummaryWriter
    from torch.utils.tensorboard.summary import hparams

    shutil.rmtree(directory / "tensorboard", ignore_errors=True)
    with SummaryWriter(str(directory / "tensorboard")) as writer:
        for name, figure in figures.items():
            writer.add_figure(name, figure, close=False)
        for n, volume in enumerate(history, 1):
            writer.add_scalar("hypervolume", volume, n)
    for row in rows:
        run = directory / "trials" / f"{row['number']:04d}"
        if row["state"] != "complete" or not run.is_dir():
            continue
        for old in run.glob(f"*{HPARAMS_SUFFIX}"):
            old.unlink()
        with SummaryWriter(str(run), filename_suffix=HPARAMS_SUFFIX) as writer:
            metrics = {metric: row[metric] for metric in objectives}
            for summary in hparams({key: row[key] for key in searched}, metrics):
                writer.file_writer.add_summary(summary)


def _png(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, dpi=130)
    return buffer.getvalue()


def _html(
    name: str,
    rows: Sequence[Mapping[str, Any]],
    front: Sequence[Mapping[str, Any]],
    objectives: Mapping[str, str],
    searched: Sequence[str],
    history: Sequence[float],
    pictures: Mapping[str, bytes],
) -> str:
    counted = {state: sum(row["state"] == state for row in rows) for state in ("complete", "stopped", "failed")}
    counts = ", ".join(f"{n} {state}" for state, n in counted.items())
    columns = ["number", "state", *objectives, *searched, "step", "seconds"]
    sought = " and ".join(f"{direction} <code>{html.escape(m)}</code>" for m, direction in objectives.items())
    image = {
        key: f'<img alt="{key}" src="data:image/png;base64,{b64encode(p).decode()}">' for key, p in pictures.items()
    }
    failures = [row for row in rows if row["state"] == "failed"]
    volume = f"Final hypervolume {history[-1]:.4g}." if history else "No trial is complete yet."
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>sweep {html.escape(name)}</title><style>{STYLE}</style></head><body>
<h1>Sweep {html.escape(name)}</h1>
<p class="note">{counts}. Objectives: {sought}. Click a column's head to sort.</p>
{image["pareto"]}
<h2>Pareto front</h2>
<p class="note">Over completed trials only. Any of them runs again from its directory's <code>config.yaml</code>.</p>
{_table(front, [*columns, "run"])}
<h2>Hypervolume</h2>
<p class="note">{volume} The reference point is 0 for an accuracy, 1 for an activation rate, else the worst completed
value.</p>
{image["hypervolume"]}
<h2>All trials</h2>
<p class="note">Values of stopped trials are their last ones, and never part of the front.</p>
{_table(rows, columns)}
{"<h2>Failures</h2>" + _table(failures, ["number", "error", "run"]) if failures else ""}
<script>{SORT}</script></body></html>
"""


def _table(rows: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> str:
    def cell(value: Any) -> str:
        text = "" if value is None else f"{value:.4g}" if isinstance(value, float) else str(value)
        return f"<td>{html.escape(text)}</td>"

    head = "".join(f'<th title="{html.escape(c)}">{html.escape(short(c))}</th>' for c in columns)
    body = "".join(
        f'<tr class="{row["state"]}">' + "".join(cell(row.get(c)) for c in columns) + "</tr>" for row in rows
    )
    return f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'
