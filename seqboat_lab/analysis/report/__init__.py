"""A sweep's report: tables, pictures, a page that explains itself, and all of it in TensorBoard."""

import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
from matplotlib.figure import Figure

from seqboat_lab.analysis.figures.text import short
from seqboat_lab.analysis.pareto import front_of, hypervolume_history, is_number, kept_reference
from seqboat_lab.analysis.report.contents import Contents, read_contents
from seqboat_lab.analysis.report.page import page
from seqboat_lab.analysis.report.svg import inline_svg, svg
from seqboat_lab.analysis.report.tables import as_csv, as_tex, write_csv
from seqboat_lab.analysis.report.tensorboard import write_tensorboard
from seqboat_lab.analysis.sweeps import never_tried, read_sweep
from seqboat_lab.atomic import write_bytes, write_text
from seqboat_lab.config.checks import UserError, choose

__all__ = ["FORMATS", "never_tried", "report", "write_csv", "write_report"]
FORMATS = ("pdf", "svg", "tex", "csv")
PAPER = "paper"
"""The directory inside of a sweep's that takes figures and tables in the formats asked for."""
KEPT = ("pareto", "confirmed", "hypervolume")
"""Pictures that lie beside the report, and are in TensorBoard."""


def write_report(
    directory: Path,
    rows: Sequence[dict[str, Any]],
    objectives: Mapping[str, str],
    searched: Sequence[str],
    choices: Mapping[str, Sequence[Any]] | None = None,
    reference: Mapping[str, float] | None = None,
    formats: Sequence[str] = (),
    colour_by: str | None = None,
) -> None:
    """Writes the report of a sweep into its directory. Raises `UserError` where it cannot be written, `ConfigError`
    for a damaged confirm.json or references.json and what cannot be asked for.

    Args:
        rows: one mapping per trial, with number, state, every objective and every searched field.
        objectives: metric -> "maximize" or "minimize".
        searched: names of the searched fields.
        choices: the values of those that have choices: it is told which were never tried.
        reference: the hypervolume's reference point, or the part of it that is known, as `kept_reference` takes it.
        formats: of `FORMATS`: every figure and table in these, too, under paper/.
        colour_by: the column that colours the front; None = the searched field that decides.
    """
    for name in formats:
        choose("--format", name, FORMATS, "format")
    if colour_by is not None:
        columns = dict.fromkeys([*searched, *(key for row in rows for key, v in row.items() if is_number(v))])
        whole = [key for key in searched if short(key) == colour_by]
        colour_by = whole[0] if len(whole) == 1 else choose("--colour-by", colour_by, columns, "column of trials.csv")
    try:
        kept = kept_reference(rows, objectives, reference or {})
        contents = read_contents(directory, rows, objectives, searched, choices or {}, kept, colour_by)
        _write(directory, contents, formats)
    except OSError as error:
        where = error.filename or directory
        raise UserError(f"{where}: the report cannot be written ({error.strerror or error})") from None


def _write(directory: Path, contents: Contents, formats: Sequence[str]) -> None:
    rows, objectives, searched = contents.rows, contents.objectives, contents.searched
    columns = ("number", "state", *objectives, *searched)
    write_csv(directory / "trials.csv", rows, first=columns)
    write_csv(directory / "front.csv", front_of(rows, objectives), like=rows, first=columns)
    history = hypervolume_history(rows, objectives, contents.reference)
    kept = {"reference": contents.reference, "history": history}
    write_text(directory / "hypervolume.json", json.dumps(kept, allow_nan=False) + "\n")
    pictures: dict[str, bytes] = {}
    drawn: dict[str, str] = {}
    for name, draw in contents.figures().items():
        figure = draw()
        try:
            drawn[name] = _inline(name, figure, contents.links)
            if name in KEPT:
                pictures[name] = _png(figure)
                write_bytes(directory / f"{name}.png", pictures[name])
            for form in formats:
                _write_figure(directory / PAPER / f"{name}.{form}", figure)
        finally:
            plt.close(figure)
    tables = contents.tables()
    for name, table in tables.items():
        for form, text in (("csv", as_csv), ("tex", as_tex)):
            if form in formats:
                write_text(directory / PAPER / f"{name}.{form}", text(table))
    write_text(directory / "report.html", page(directory.name, contents, drawn, tables, history))
    write_tensorboard(directory, rows, objectives, searched, pictures, history)


def report(directory: Path, formats: Sequence[str] = (), colour_by: str | None = None) -> None:
    """Writes the report of the sweep in `directory` again, from the files it left."""
    sweep = read_sweep(directory)
    known = (sweep.choices, sweep.reference)
    write_report(directory, sweep.rows, sweep.objectives, sweep.searched, *known, formats, colour_by)


def _write_figure(path: Path, figure: Figure) -> None:
    if path.suffix == ".pdf":
        write_bytes(path, _saved(figure, "pdf"))
    elif path.suffix == ".svg":
        write_text(path, svg(figure))


def _png(figure: Figure) -> bytes:
    return _saved(figure, "png", dpi=130)


def _inline(name: str, figure: Figure, links: Mapping[str, str]) -> str:
    return inline_svg(name, figure, links)


def _saved(figure: Figure, form: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    with plt.rc_context({"pdf.fonttype": 42}):  # text that journals take, and that can be found
        figure.savefig(buffer, format=form, **options)
    return buffer.getvalue()
