"""Reads finished sweeps back from the files they left."""

import csv
import math
from pathlib import Path
from typing import Any, NamedTuple

from seqboat_lab.config.checks import ConfigError
from seqboat_lab.config.files import read_yaml


class Sweep(NamedTuple):
    """A sweep as notebooks and reports see it."""

    directory: Path
    rows: list[dict[str, Any]]
    """One per trial: number, state, objectives, searched fields, final metrics; numbers are numbers."""
    objectives: dict[str, str]
    """Metric -> direction."""
    searched: list[str]
    """The searched fields."""


def read_sweep(directory: str | Path) -> Sweep:
    """The sweep in `directory` (`runs/sweeps/<name>`). Raises `ConfigError` if there is none."""
    directory = Path(directory)
    trials = directory / "trials.csv"
    if not trials.is_file():
        raise ConfigError(str(trials), "does not exist; run `seqboat sweep` first")
    settings = read_yaml(directory / "sweep.yaml")
    with trials.open(newline="") as file:
        rows = [{key: _value(text) for key, text in row.items()} for row in csv.DictReader(file)]
    return Sweep(directory, rows, settings["objectives"], list(settings["space"]))


def newest_sweep(root: str | Path = "runs/sweeps") -> Path:
    """The directory of the sweep whose trials.csv was written last. Raises `ConfigError` if there is none."""
    found = sorted(Path(root).glob("*/trials.csv"), key=lambda path: path.stat().st_mtime)
    if not found:
        raise ConfigError(str(root), "holds no finished sweep; run `make sweep` first")
    return found[-1].parent


def _value(text: str) -> Any:
    if text == "":
        return None
    for number in (int, float):
        try:
            value = number(text)
        except ValueError:
            continue
        return value if math.isfinite(value) else None
    return text
