"""report.html: one file that needs no network, with figures that know their trials and tables that sort."""

import html
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from seqboat_lab.analysis.confirmation import Confirmation
from seqboat_lab.analysis.figures.progress import spending
from seqboat_lab.analysis.figures.text import brief, number, with_error
from seqboat_lab.analysis.pareto import completed, is_number
from seqboat_lab.analysis.report.contents import Contents
from seqboat_lab.analysis.report.tables import Table, as_html
from seqboat_lab.analysis.statistics import estimate
from seqboat_lab.analysis.sweeps import never_tried
from seqboat_lab.config.explain import as_yaml

HERE = Path(__file__).parent
STYLE, SCRIPT = ((HERE / name).read_text(encoding="utf-8") for name in ("style.css", "script.js"))
CAPTIONS = {
    "pareto": "The search's own values. A point is a trial: hover for its fields, click for its run. Diamonds are "
    "reference points, bars one standard error where a trial ran with several seeds.",
    "importance": "Which field decides whether a trial is among the better half in an objective: PED-ANOVA over the "
    "completed trials, less what chance gives. With few trials it is a hint and no measurement.",
    "slices": "Each objective against each field, over completed trials; rings are the front.",
    "parallel": "A line is a completed trial; the front is red.",
    "hypervolume": "",
    "timeline": "Each bar is a trial.",
    "layers": "A layer near 0 has become a pure state space model.",
}


MEANS = "Means over new seeds with 95 % intervals (Student's t)"
CONFIRMED = {
    1: f"{MEANS}, the best on top; small dots are runs, black ones reference points.",
    2: f"{MEANS} in both directions; numbers are trials. Arrows come from where the search saw them. The attainment "
    "surface is that of the resampled fronts (bootstrap over seeds): what 97.5 %, 50 % and 2.5 % of them attain. "
    "Diamonds are reference points.",
    3: f"{MEANS} in every direction; numbers are trials. Arrows come from where the search saw them. Diamonds are "
    "reference points.",
}
"""By the number of objectives; more than three are told as three."""


def escape(value: Any) -> str:
    return html.escape(str(value))


def page(
    name: str, contents: Contents, drawn: Mapping[str, str], tables: Mapping[str, Table], history: Sequence[float]
) -> str:
    """The whole page; `drawn`: figures as SVG."""
    sections = {
        "Confirmed front": _confirmed(contents, drawn, tables),
        "Front of the search": _front(contents, drawn, tables),
        "What decides": _figures(drawn, "importance", "slices", "parallel"),
        "Progress": _progress(contents, drawn, history),
        "Layers": _figures(drawn, "layers"),
        "All trials": _trials(contents, tables),
        "Failures": _failures(contents),
        "The search": _search(contents),
    }
    shown = {title: body for title, body in sections.items() if body}
    links = "".join(f'<a href="#{_id(title)}">{title}</a>' for title in shown)
    bodies = "\n".join(f'<h2 id="{_id(title)}">{title}</h2>\n{body}' for title, body in shown.items())
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>sweep {escape(name)}</title><style>{STYLE}</style></head><body>
<h1>Sweep {escape(name)}</h1>
<p class="note">Objectives: {_sought(contents)}. Click a column's head to sort.</p>
<nav>{links}</nav>
{_facts(contents, history)}
{bodies}
<script>{SCRIPT}</script></body></html>
"""


def _id(title: str) -> str:
    return title.lower().replace(" ", "-")


def _sought(contents: Contents) -> str:
    return " and ".join(f"{direction} <code>{escape(m)}</code>" for m, direction in contents.objectives.items())


def _facts(contents: Contents, history: Sequence[float]) -> str:
    rows, settings = contents.rows, contents.settings
    counted = {state: sum(row["state"] == state for row in rows) for state in ("complete", "stopped", "failed")}
    spent = spending(rows)
    seconds = sum(float(row["seconds"]) for row in rows if is_number(row.get("seconds")))
    facts = {
        "trials": ", ".join(f"{n} {state}" for state, n in counted.items() if n) or "none",
        "budget": f"{settings['trials']} trials" if "trials" in settings else "",
        "updates": f"{spent[-1][1]:,.0f}" if spent else "",
        "duration": _hours(spent[-1][2]) if spent else "",
        "of all trials": _hours(seconds / 3600) if spent else "",
        "hypervolume": f"{history[-1]:.4g}" if history else "",
        "candidates confirmed": str(len(contents.confirmation.candidates)) if contents.confirmation else "none",
    }
    shown = "".join(f"<div><dt>{key}</dt><dd>{escape(value)}</dd></div>" for key, value in facts.items() if value)
    return f"<dl>{shown}</dl>"


def _hours(hours: float) -> str:
    minutes = hours * 60
    return f"{minutes:.1f} min" if minutes < 120 else f"{hours:.1f} h"


def _figures(drawn: Mapping[str, str], *names: str) -> str:
    return "".join(_figure(drawn, name, CAPTIONS[name]) for name in names)


def _figure(drawn: Mapping[str, str], name: str, caption: str) -> str:
    if name not in drawn:
        return ""
    return f'<figure id="figure-{name}">{drawn[name]}<figcaption>{caption}</figcaption></figure>'


def _confirmed(contents: Contents, drawn: Mapping[str, str], tables: Mapping[str, Table]) -> str:
    confirmation = contents.confirmation
    if confirmation is None:
        return ""
    table = tables["confirmed"]
    return f"""<p class="note">Candidates ran again with seeds that the search never saw, measured on the
{escape(confirmation.split)} split. P(on the front): how often a candidate is on it when its runs are drawn again
(bootstrap over seeds, among those with two runs or more).</p>
{_figure(drawn, "confirmed", CONFIRMED[min(3, len(contents.objectives))])}
{_curse(contents, confirmation, table.rows)}{as_html(table, contents.links)}"""


def _curse(contents: Contents, confirmation: Confirmation, rows: Sequence[Mapping[str, Any]]) -> str:
    """What the points of the search's front lost, on average; nothing if none of them ran again."""
    on_front = {row["number"] for row in contents.front}
    again = [row for row in rows if row["number"] in on_front]
    if not again:
        return ""
    lost = {m: estimate([row[f"curse {m}"] for row in again]) for m in contents.objectives}
    said = [f"{with_error(at.mean, at.half)} in {brief(m).removeprefix('validation ')}" for m, at in lost.items()]
    points = "1 point" if len(again) == 1 else f"{len(again)} points"
    how = f"95 % intervals over points; negative: worse{_split_note(confirmation)}"
    return f"""<p>The winner's curse: on average over the {points} of the search's front that ran again, the search
showed them better than they are by {escape(" and ".join(said))} ({how}).</p>"""


def _split_note(confirmation: Confirmation) -> str:
    if confirmation.split == "val":
        return ""
    if all(candidate.validation is not None for candidate in confirmation.candidates):
        return "; both on the validation split"
    return f"; the way from the validation to the {escape(confirmation.split)} split is part of it"


def _front(contents: Contents, drawn: Mapping[str, str], tables: Mapping[str, Table]) -> str:
    caveat = "" if contents.confirmation else " Nothing here has run with new seeds: its best points are lucky ones."
    colour = f" Coloured by <code>{escape(contents.colour_by)}</code>." if contents.colour_by else ""
    references = ""
    if "references" in tables:
        references = f"<h3>Reference points</h3>{as_html(tables['references'], contents.links)}"
    return f"""<p class="note">Over completed trials only.{caveat}{colour} Any of them runs again from its directory's
<code>config.yaml</code>.</p>
{_figures(drawn, "pareto")}{as_html(tables["front"], contents.links)}{references}"""


def _progress(contents: Contents, drawn: Mapping[str, str], history: Sequence[float]) -> str:
    worst = ", ".join(f"<code>{escape(m)}</code> {value:.4g}" for m, value in contents.reference.items())
    none_yet = "Too few trials are complete for it."
    volume = f"Final hypervolume {history[-1]:.4g}, above the reference point {worst}." if history else none_yet
    return f"""<p class="note">{volume} The reference point is what the sweep fixes, the worst possible share (of 0 and
1), or the worst of the first completed trials, and stays what it was when a sweep goes on.</p>
{_figures(drawn, "hypervolume", "timeline")}"""


def _trials(contents: Contents, tables: Mapping[str, Table]) -> str:
    untried = never_tried(contents.rows, contents.choices)
    listed = "; ".join(f"{key} = {', '.join(map(str, values))}" for key, values in untried.items())
    return f"""{f'<p class="note">Never tried: {escape(listed)}.</p>' if listed else ""}
<p class="note">Values of stopped trials are their last ones, and never part of the front.</p>
{as_html(tables["trials"], contents.links, "trials")}"""


def _failures(contents: Contents) -> str:
    failures = [row for row in contents.rows if row["state"] == "failed"]
    columns = ["number", "error", "run"]
    return as_html(Table(columns, failures, {"number": "trial"}), contents.links) if failures else ""


def _search(contents: Contents) -> str:
    """Space, settings and code."""
    settings = contents.settings
    known = settings.get("space")
    space = known if isinstance(known, dict) else {}
    complete = completed(contents.rows, contents.objectives)
    fields = []
    for key in contents.searched:
        spec = space.get(key)
        best = {f"importance {m}": shares.get(key) for m, shares in contents.importances.items()}
        tried = len({str(row.get(key)) for row in complete})
        fields.append({"field": key, "values": _values(spec), "tried": tried, **best})
    heads = {f"importance {m}": f"importance, {brief(m)}" for m in contents.importances} | {"tried": "values tried"}
    columns = ["field", "values", "tried", *(f"importance {m}" for m in contents.importances)]
    elsewhere = ("space", "objectives", "experiment_fields")
    rest = {k: v for k, v in settings.items() if k not in elsewhere and v not in (None, {}, [])}
    lines = [{"setting": key, "value": _shown(value)} for key, value in rest.items()]
    lines += [{"setting": "code", "value": version} for version in contents.versions]
    settings_table = as_html(Table(["setting", "value"], lines), name="settings") if lines else ""
    return f"{as_html(Table(columns, fields, heads), name='space')}<h3>Settings</h3>{settings_table}"


def _shown(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key}: {_shown(inner)}" for key, inner in value.items())
    return number(value) if isinstance(value, (float, str)) else as_yaml(value)


def _values(spec: Any) -> str:
    if not isinstance(spec, dict):
        return ""
    if spec.get("choices"):
        return ", ".join(map(_shown, spec["choices"]))
    ends = f"{number(spec.get('low'))} to {number(spec.get('high'))}"
    step = f", in steps of {number(spec['step'])}" if spec.get("step") else ""
    return ends + step + (", logarithmic" if spec.get("log") else "")
