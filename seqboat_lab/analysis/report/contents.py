"""What a report is about: everything that is read or computed once, and the figures and tables made of it."""

import os
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from seqboat_lab.analysis import figures
from seqboat_lab.analysis.confirmation import Candidate, Confirmation, optimism, read_confirmation, read_references
from seqboat_lab.analysis.figures.progress import LAYERS, span, spending
from seqboat_lab.analysis.figures.text import brief, with_error
from seqboat_lab.analysis.importance import deciding, importance
from seqboat_lab.analysis.pareto import completed, front_of, hypervolume_history, is_number
from seqboat_lab.analysis.report.tables import Links, Table
from seqboat_lab.analysis.sweeps import find_run
from seqboat_lab.config.checks import ConfigError
from seqboat_lab.config.files import read_yaml

MOST_FIELDS = 8
"""Searched fields that slices and parallel coordinates show: the most important ones."""

Row = dict[str, Any]


@dataclass(frozen=True)
class Contents:
    directory: Path
    rows: Sequence[Row]
    objectives: Mapping[str, str]
    searched: Sequence[str]
    choices: Mapping[str, Sequence[Any]]
    reference: Mapping[str, float]
    settings: Mapping[str, Any]
    """sweep.yaml, or nothing."""
    confirmation: Confirmation | None
    references: list[Candidate]
    importances: Mapping[str, Mapping[str, float]]
    """Objective -> field -> share."""
    colour_by: str | None
    links: Mapping[str, str]
    """Number of a trial -> its run's directory as seen from the report, of the runs that are there."""
    versions: list[str]
    """Code versions of the runs."""

    @property
    def front(self) -> list[Row]:
        return [dict(row) for row in front_of(self.rows, self.objectives)]

    def figures(self) -> dict[str, Callable[[], Figure]]:
        """Those that these trials give something to draw for, in the order of the page."""
        rows, objectives = self.rows, self.objectives
        complete = completed(rows, objectives)
        by_weight = sorted(self.searched, key=lambda k: -sum(s.get(k, 0) for s in self.importances.values()))
        fields = [key for key in self.searched if key in by_weight[:MOST_FIELDS]]
        layers = [row for row in self.front if any(is_number(row.get(k)) for k in row if k.startswith(LAYERS))]
        shown: dict[str, tuple[object, Callable[[], Figure]]] = {  # what there has to be, and how it is drawn
            "confirmed": (self.confirmation and self.confirmation.candidates, self._draw_confirmed),
            "pareto": (True, partial(figures.pareto_figure, rows, objectives, self.colour_by, self.references)),
            "importance": (self.importances, partial(figures.importance_figure, self.importances)),
            "slices": (complete and fields, partial(figures.slices_figure, rows, objectives, fields)),
            "parallel": (complete[1:] and fields, partial(figures.parallel_figure, rows, objectives, fields)),
            "hypervolume": (True, partial(figures.hypervolume_figure, rows, objectives, self.reference)),
            "timeline": (any(map(span, rows)), partial(figures.timeline_figure, rows)),
            "layers": (layers, partial(figures.layers_figure, layers)),
        }
        return {name: draw for name, (possible, draw) in shown.items() if possible}

    def _draw_confirmed(self) -> Figure:
        assert self.confirmation is not None  # else nobody asks for it
        return figures.confirmed_figure(self.confirmation, self.objectives, self.rows)

    def tables(self) -> dict[str, Table]:
        errors = [f"{m}_se" for m in self.objectives]
        known = {key for row in self.rows for key in row}
        extra = [key for key in ("seeds", "feasible") if key in known]
        objectives = [k for m, se in zip(self.objectives, errors, strict=True) for k in (m, se) if k == m or k in known]
        columns = ["number", "state", *objectives, *self.searched, *extra, "step", "seconds"]
        heads = {
            "number": "trial",
            **dict(zip(errors, [f"± {m.rsplit('/', 1)[-1]}" for m in self.objectives], strict=True)),
        }
        found = {"front": Table(columns, self.front, heads), "trials": Table(columns, self.rows, heads)}
        if self.confirmation:
            found["confirmed"] = self._confirmed(self.confirmation)
        if self.references:
            found["references"] = self._references()
        if self.importances:
            shares = [{"field": key, **{m: s[key] for m, s in self.importances.items()}} for key in self._weights()]
            found["importance"] = Table(["field", *self.importances], shares, {m: brief(m) for m in self.importances})
        if growth := self._growth():
            heads = {"number": "trial"}
            found["hypervolume"] = Table(["number", "updates", "hours", "hypervolume"], growth, heads)
        return found

    def _weights(self) -> list[str]:
        keys = next(iter(self.importances.values()))
        return sorted(keys, key=lambda key: -sum(shares[key] for shares in self.importances.values()))

    def _confirmed(self, confirmation: Confirmation) -> Table:
        """Means with intervals, chances, the search's values: the front first, then by chance, then references."""
        split = confirmation.split
        chances = confirmation.probabilities(self.objectives)
        lost = optimism(confirmation.candidates, self.rows, self.objectives)
        front = [c.name for c in confirmation.front(self.objectives)]
        searched = {row["number"]: row for row in self.rows}

        def place(candidate: Candidate) -> tuple[float, float]:
            on = candidate.name in front
            return (front.index(candidate.name), 0) if on else (len(front), -chances.get(candidate.name, 0.0))

        ordered = sorted(confirmation.candidates, key=place)
        rows = []
        for candidate in [*ordered, *confirmation.references]:
            row: Row = {"number": candidate.trial, "candidate": candidate.name, "n": len(candidate.values)}
            for n, (metric, at) in enumerate(zip(self.objectives, candidate.estimates(), strict=True)):
                row[metric] = with_error(at.mean, at.half)
                row[f"search {metric}"] = searched.get(candidate.trial, {}).get(metric)
                row[f"curse {metric}"] = lost[candidate.name][n] if candidate.name in lost else None
            row["chance"] = f"{chances[candidate.name]:.2f}" if candidate.name in chances else None
            where = zip(candidate.seeds, candidate.directories, strict=True)
            row["runs"] = Links((str(seed), address_of(self.directory, run)) for seed, run in where)
            rows.append(row)
        heads = {"n": "runs", "chance": "P(on the front)", "runs": "seeds"}
        heads |= {m: brief(m, split) for m in self.objectives}
        heads |= {f"search {m}": f"in the search, {_bare(m)}" for m in self.objectives}
        heads |= {f"curse {m}": f"too good by, {_bare(m)}" for m in self.objectives}
        curse = [key for m in self.objectives for key in (f"search {m}", f"curse {m}")]
        return Table(["candidate", *self.objectives, "chance", *curse, "n", "runs"], rows, heads)

    def _references(self) -> Table:
        rows = []
        for reference in self.references:
            at = reference.estimates()
            where = zip(reference.seeds, reference.directories, strict=True)
            row: Row = {"reference": reference.name, "n": len(reference.values)}
            row |= {metric: value.mean for metric, value in zip(self.objectives, at, strict=True)}
            row["runs"] = Links((str(seed), address_of(self.directory, run)) for seed, run in where)
            rows.append(row)
        heads = {"n": "runs", "runs": "seeds", **{m: brief(m) for m in self.objectives}}
        return Table(["reference", *self.objectives, "n", "runs"], rows, heads)

    def _growth(self) -> list[Row]:
        spent = spending(self.rows)
        ordered = [row for row, _, _ in spent]
        done = {id(row) for row in completed(ordered, self.objectives)}
        history = hypervolume_history(ordered, self.objectives, self.reference)
        ended = [(row, updates, hours) for row, updates, hours in spent if id(row) in done]
        return [
            {"number": row["number"], "updates": updates, "hours": hours, "hypervolume": volume}
            for (row, updates, hours), volume in zip(ended, history, strict=False)
        ]


def _bare(metric: str) -> str:
    return brief(metric).removeprefix("validation ")


def read_contents(
    directory: Path,
    rows: Sequence[Row],
    objectives: Mapping[str, str],
    searched: Sequence[str],
    choices: Mapping[str, Sequence[Any]],
    reference: Mapping[str, float],
    colour_by: str | None,
) -> Contents:
    """With what else lies in the sweep's directory. Raises `ConfigError` for a damaged confirm.json or
    references.json."""
    settings: Mapping[str, Any] = {}
    with suppress(ConfigError, RecursionError):  # rows may come without a directory that a sweep made
        settings = read_yaml(directory / "sweep.yaml")
    space = settings.get("space")
    space = {k: v for k, v in space.items() if isinstance(v, dict)} if isinstance(space, dict) else {}
    importances = importance(rows, objectives, {key: space[key] for key in searched if key in space})
    addresses = {str(row["number"]): address_of(directory, row.get("run") or "") for row in rows}
    return Contents(
        directory, rows, objectives, searched, choices, reference, settings,
        read_confirmation(directory, objectives), read_references(directory, objectives), importances,
        colour_by or deciding(importances) or next(iter(searched), None),
        {number: address for number, address in addresses.items() if address},
        _versions(directory),
    )  # fmt: skip


def address_of(directory: Path, run: Any) -> str | None:
    """A run's directory as the report in `directory` links to it; None if it is not there."""
    found = find_run(directory, run)
    return None if found is None else f"{Path(os.path.relpath(found, directory)).as_posix()}/"


def _versions(directory: Path) -> list[str]:
    """What the runs' config.yaml say of the code, the commonest first."""
    found: Counter[str] = Counter()
    for path in directory.glob("trials/*/config.yaml"):
        with suppress(OSError), path.open(errors="replace") as file:
            line = file.readline()
            if line.startswith("# "):
                found[line.removeprefix("# ").strip()] += 1
    return [version for version, _ in found.most_common()]
