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
from seqboat_lab.analysis.pareto import completed, front_of, hypervolume_history, is_number, kept_reference
from seqboat_lab.analysis.sweeps import read_sweep
from seqboat_lab.atomic import write_bytes, write_text
from seqboat_lab.config.checks import UserError

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
    directory: Path,
    rows: Sequence[dict[str, Any]],
    objectives: Mapping[str, str],
    searched: Sequence[str],
    choices: Mapping[str, Sequence[Any]] | None = None,
    reference: Mapping[str, float] | None = None,
) -> None:
    """Writes the report of a sweep into its directory. Raises `UserError` where it cannot be written.

    Args:
        rows: one mapping per trial, with number, state, every objective and every searched field.
        objectives: metric -> "maximize" or "minimize".
        searched: names of the searched fields.
        choices: the values of those that have choices: it is told which were never tried.
        reference: the hypervolume's reference point, or the part of it that is known, as `kept_reference` takes it.
    """
    try:
        _write(directory, rows, objectives, searched, choices or {}, reference or {})
    except OSError as error:
        where = error.filename or directory
        raise UserError(f"{where}: the report cannot be written ({error.strerror or error})") from None


def _write(
    directory: Path,
    rows: Sequence[dict[str, Any]],
    objectives: Mapping[str, str],
    searched: Sequence[str],
    choices: Mapping[str, Sequence[Any]],
    known: Mapping[str, float],
) -> None:
    write_csv(directory / "trials.csv", rows, first=("number", "state", *objectives, *searched))
    front = front_of(rows, objectives)
    write_csv(directory / "front.csv", front, like=rows, first=("number", "state", *objectives, *searched))
    reference = kept_reference(rows, objectives, known)
    history = hypervolume_history(rows, objectives, reference)
    kept = {"reference": reference, "history": history}
    write_text(directory / "hypervolume.json", json.dumps(kept, allow_nan=False) + "\n")
    figures = {
        "pareto": pareto_figure(rows, objectives, colour_by=searched[0] if searched else None),
        "hypervolume": hypervolume_figure(rows, objectives, reference),
    }
    try:
        pictures = {name: _png(figure) for name, figure in figures.items()}
        for name, picture in pictures.items():
            write_bytes(directory / f"{name}.png", picture)
        missing = never_tried(rows, choices)
        page = _html(directory.name, rows, front, objectives, searched, history, reference, missing, pictures)
        write_text(directory / "report.html", page)
        write_tensorboard(directory, rows, objectives, searched, figures, history)
    finally:
        for figure in figures.values():
            plt.close(figure)


def report(directory: Path) -> None:
    """Writes the report of the sweep in `directory` again, from its trials.csv."""
    sweep = read_sweep(directory)
    write_report(directory, sweep.rows, sweep.objectives, sweep.searched, sweep.choices, sweep.reference)


def never_tried(rows: Sequence[Mapping[str, Any]], choices: Mapping[str, Sequence[Any]]) -> dict[str, list[Any]]:
    """For each field with choices, those that no trial had; fields without such are left out."""
    missing = {}
    for key, values in choices.items():
        tried = [row.get(key) for row in rows]
        if left := [value for value in values if value is not None and value not in tried]:
            missing[key] = left
    return missing


def write_csv(
    path: Path,
    rows: Sequence[Mapping[str, Any]],
    like: Sequence[Mapping[str, Any]] | None = None,
    first: Sequence[str] = (),
) -> None:
    """Rows as CSV, with the columns `first` and all that any row has, or any of `like`."""
    columns = list(dict.fromkeys([*first, *(key for row in (rows if like is None else like) for key in row)]))
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, columns)
    writer.writeheader()
    writer.writerows(rows)
    write_text(path, text.getvalue())


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
            writer.add_figure(f"figures/{name}", figure, close=False)  # one tag can show one kind only
        for n, volume in enumerate(history, 1):
            writer.add_scalar("hypervolume", volume, n)
    for row in completed(rows, objectives):
        run = directory / "trials" / f"{row['number']:04d}"
        if not run.is_dir():
            continue
        for old in run.glob(f"*{HPARAMS_SUFFIX}"):
            old.unlink()
        with SummaryWriter(str(run), filename_suffix=HPARAMS_SUFFIX) as writer:
            metrics = {metric: row[metric] for metric in objectives}
            for summary in hparams({key: _hparam(row.get(key)) for key in searched}, metrics):
                writer.file_writer.add_summary(summary)


def _hparam(value: Any) -> Any:
    return value if isinstance(value, (bool, float, str)) or is_number(value) else str(value)


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
    reference: Mapping[str, float],
    missing: Mapping[str, Sequence[Any]],
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
    worst = ", ".join(f"<code>{html.escape(m)}</code> {value:.4g}" for m, value in reference.items())
    none_yet = "Too few trials are complete for it."
    volume = f"Final hypervolume {history[-1]:.4g}, above the reference point {worst}." if history else none_yet
    untried = "; ".join(f"{key} = {', '.join(map(str, values))}" for key, values in missing.items())
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>sweep {html.escape(name)}</title><style>{STYLE}</style></head><body>
<h1>Sweep {html.escape(name)}</h1>
<p class="note">{counts}. Objectives: {sought}. Click a column's head to sort.</p>
{image["pareto"]}
<h2>Pareto front</h2>
<p class="note">Over completed trials only. Any of them runs again from its directory's <code>config.yaml</code>.</p>
{_table(front, [*columns, "run"])}
<h2>Hypervolume</h2>
<p class="note">{volume} The reference point is what the sweep fixes, the worst possible share (of 0 and 1), or the
worst of the first completed trials, and stays what it was when a sweep goes on.</p>
{image["hypervolume"]}
<h2>All trials</h2>
{f'<p class="note">Never tried: {html.escape(untried)}.</p>' if untried else ""}
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
        f'<tr class="{html.escape(str(row["state"]))}">' + "".join(cell(row.get(c)) for c in columns) + "</tr>"
        for row in rows
    )
    return f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'
