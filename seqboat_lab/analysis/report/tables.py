"""Tables of a report, once for all the forms that they are written in."""

import csv
import html
import io
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from seqboat_lab.analysis.figures.text import SIGN, number, short
from seqboat_lab.atomic import write_text

TEX = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    **{c: rf"\{c}" for c in "&%$#_{}"},
}


class Table(NamedTuple):
    """Rows as mappings, of which the columns are shown; `heads` names those whose key says too little.

    A row's `number` links to its run, a list of addresses in a cell is a list of links.
    """

    columns: list[str]
    rows: Sequence[Mapping[str, Any]]
    heads: Mapping[str, str] = {}

    def head(self, column: str) -> str:
        return self.heads.get(column, short(column))


class Links(list):
    """Pairs of a text and an address; no address: text only."""


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


def as_csv(table: Table) -> str:
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(table.columns)
    for row in table.rows:
        writer.writerow([_text(value) if isinstance(value, Links) else value for value in map(row.get, table.columns)])
    return text.getvalue()


def as_tex(table: Table) -> str:
    """For the package booktabs; numbers with four digits."""
    lines = [" & ".join(_tex(cell) for cell in map(table.head, table.columns)) + r" \\", r"\midrule"]
    lines += [" & ".join(_tex(_text(row.get(c))) for c in table.columns) + r" \\" for row in table.rows]
    body = "\n".join(lines)
    return f"\\begin{{tabular}}{{{'r' * len(table.columns)}}}\n\\toprule\n{body}\n\\bottomrule\n\\end{{tabular}}\n"


def as_html(table: Table, links: Mapping[str, str] = {}, name: str = "") -> str:
    """links: number of a trial -> address of its run."""
    head = "".join(
        f'<th tabindex="0" title="{html.escape(c)}">{html.escape(table.head(c))}</th>' for c in table.columns
    )
    body = "".join(_row(table, row, links) for row in table.rows)
    which = f' id="{name}"' if name else ""
    return f'<div class="scroll"><table{which}><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def _row(table: Table, row: Mapping[str, Any], links: Mapping[str, str]) -> str:
    trial = row.get("number")
    attributes = f' class="{html.escape(str(row["state"]))}"' if "state" in row else ""
    attributes += "" if trial is None else f' data-trial="{html.escape(str(trial))}"'
    cells = []
    for column in table.columns:
        value = row.get(column)
        if isinstance(value, Links):
            inner = ", ".join(_link(*pair) for pair in value)
        elif column == "number":
            inner = _link(_text(value), links.get(str(value)))
        else:
            inner = html.escape(_text(value) if value not in (None, "") else "")
        cells.append(f"<td>{inner}</td>")
    return f"<tr{attributes}>{''.join(cells)}</tr>"


def _link(text: str, address: str | None) -> str:
    return f'<a href="{html.escape(address)}">{html.escape(text)}</a>' if address else html.escape(text)


def _text(value: Any) -> str:
    return ", ".join(text for text, _ in value) if isinstance(value, Links) else number(value)


def _tex(text: str) -> str:
    text = "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)
    escaped = re.sub(r"[\\~^&%$#_{}]", lambda found: TEX[found[0]], text)
    return escaped.replace(SIGN, r"$\pm$")
