"""Reads finished sweeps back from the files they left."""

import csv
import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from seqboat_lab.analysis.pareto import is_number
from seqboat_lab.config.checks import ConfigError
from seqboat_lab.config.files import read_yaml

STATES = ("complete", "stopped", "failed", "running", "waiting", "requeued")
TEXT = ("state", "started", "run", "error", "worker")
"""Columns of trials.csv that are text whatever they look like."""
RUN_PARTS = 2  # of a run's path lie in its sweep's directory: trials/0012


class Sweep(NamedTuple):
    """A sweep as notebooks and reports see it."""

    directory: Path
    rows: list[dict[str, Any]]
    """One per trial: number, state, objectives, searched fields, final metrics; numbers are numbers."""
    objectives: dict[str, str]
    """Metric -> direction."""
    searched: list[str]
    """The searched fields."""
    choices: dict[str, list[Any]]
    """The values of those that have choices; lists and mappings as JSON."""
    reference: dict[str, float]
    """The hypervolume's reference point as the last report kept it, with what the sweep file fixes."""


def read_sweep(directory: str | Path) -> Sweep:
    """The sweep in `directory` (`runs/sweeps/<name>`). Raises `ConfigError` if there is none, or a damaged one."""
    directory = Path(directory)
    trials, settings = directory / "trials.csv", directory / "sweep.yaml"
    if not _is_file(trials):
        shown = str(trials) if len(str(trials)) < 300 else f"...{str(trials)[-80:]}"
        raise ConfigError(shown, "does not exist; run `seqboat sweep` first")
    try:
        config = read_yaml(settings)
    except RecursionError:
        raise ConfigError(str(settings), "is nested too deeply for a sweep") from None
    objectives, space = (_section(config, name, settings) for name in ("objectives", "space"))
    for metric, direction in objectives.items():
        if direction not in ("maximize", "minimize"):
            raise ConfigError(str(settings), f"objectives.{metric} is {direction!r}; expected maximize or minimize")
    choices = {key: _labels(spec["choices"]) for key, spec in space.items() if spec.get("choices")}
    fixed = config.get("reference")
    known = {**_kept(directory), **(fixed if isinstance(fixed, dict) else {})}
    reference = {metric: value for metric, value in known.items() if metric in objectives and is_number(value)}
    return Sweep(directory, _read_rows(trials, objectives, space, choices), objectives, list(space), choices, reference)


def never_tried(rows: Sequence[Mapping[str, Any]], choices: Mapping[str, Sequence[Any]]) -> dict[str, list[Any]]:
    """For each field with choices, those that no trial had; fields without such are left out."""
    missing = {}
    for key, values in choices.items():
        tried = [row.get(key) for row in rows]
        if left := [value for value in values if value is not None and value not in tried]:
            missing[key] = left
    return missing


def find_run(directory: Path, run: Any) -> Path | None:
    """Where a run's directory is, by its path in the tables of the sweep in `directory`, which may have been moved or
    copied as a whole. None if it is not there."""
    parts = Path(str(run)).parts
    with suppress(OSError, ValueError):  # a name that no file can have
        if len(parts) >= RUN_PARTS and (inside := directory / Path(*parts[-RUN_PARTS:])).is_dir():
            return inside
        if parts and Path(str(run)).is_dir():
            return Path(str(run))
    return None


def newest_sweep(root: str | Path = "runs/sweeps") -> Path:
    """The directory of the sweep whose trials.csv was written last. Raises `ConfigError` if there is none."""
    found = sorted(Path(root).glob("*/trials.csv"), key=lambda path: path.stat().st_mtime)
    if not found:
        raise ConfigError(str(root), "holds no finished sweep; run `make sweep` first")
    return found[-1].parent


def _section(config: Mapping[str, Any], name: str, path: Path) -> dict[str, Any]:
    section: Any = config.get(name)
    fits = isinstance(section, dict) and section and all(isinstance(key, str) for key in section)
    if not fits or (name == "space" and not all(isinstance(spec, dict) for spec in section.values())):
        raise ConfigError(str(path), f"has no {name}, or damaged ones; it is no sweep.yaml that a sweep left")
    return section


def _labels(choices: Any) -> list[Any]:
    listed = choices if isinstance(choices, list) else [choices]
    return [json.dumps(c) if isinstance(c, (list, dict)) else c for c in listed]


def _read_rows(
    path: Path, objectives: Mapping[str, str], searched: Mapping[str, Any], choices: Mapping[str, Sequence[Any]]
) -> list[dict[str, Any]]:
    try:
        with path.open(newline="", encoding="utf-8") as file:
            read = csv.DictReader(file, strict=True)
            columns, rows = read.fieldnames or [], list(read)
    except (OSError, ValueError, csv.Error) as error:
        raise ConfigError(str(path), f"cannot be read as a table: {error}") from None
    needed = ("number", "state", *objectives, *searched)
    if missing := [column for column in needed if column not in columns]:
        raise ConfigError(str(path), f"has no column {', '.join(missing)}; it is no table that a sweep left")
    found = []
    for line, row in enumerate(rows, 2):
        if None in row or None in row.values():
            raise ConfigError(str(path), f"has another number of cells than its head in row {line}")
        values = {key: _value(key, text, choices.get(key, ())) for key, text in row.items()}
        if not isinstance(values["number"], int) or values["state"] not in STATES:
            raise ConfigError(str(path), f"has {row['state'][:40]!r} as the state of trial {row['number'][:40]!r}")
        for metric in objectives:
            kinds = (int, float) if values["state"] == "complete" else (int, float, type(None))
            if not isinstance(values[metric], kinds):
                raise ConfigError(str(path), f"has {row[metric][:40]!r} as {metric} of trial {values['number']}")
        found.append(values)
    return found


def _value(column: str, text: str, choices: Sequence[Any]) -> Any:
    if text == "":
        return None
    for choice in choices:
        if str(choice) == text:
            return choice
    if column in TEXT:
        return text
    if column == "feasible":
        return text == "True"
    for number in (int, float):
        try:
            value = number(text)
        except ValueError:
            continue
        return value if is_number(value) else None
    return text


def _kept(directory: Path) -> dict[str, Any]:
    """The reference point that the last report wrote, if there is one."""
    try:
        kept = json.loads((directory / "hypervolume.json").read_bytes())["reference"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return {}
    return kept if isinstance(kept, dict) else {}


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):  # a name that no file can have
        return False
