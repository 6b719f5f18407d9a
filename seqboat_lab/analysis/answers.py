"""What the sweeps of a question found, as kept in docs/answers: for its notebook and its page."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from seqboat_lab.analysis.markdown import markdown_table
from seqboat_lab.analysis.paired import paired_differences, told
from seqboat_lab.analysis.statistics import LEVEL, estimate, holm, p_value
from seqboat_lab.config.checks import ConfigError

if TYPE_CHECKING:
    import pandas as pd


class Answer(NamedTuple):
    """A question's tables, and how they were made."""

    directory: Path
    made: dict[str, Any]
    """`command`, `machine`, `code`, `runs`, `seeds`, `seconds` (wall-clock, of all runs together), and of each of the
    `tasks` its `experiment`, `metric`, `direction` (maximize or minimize) and `updates`."""

    def table(self, name: str) -> pd.DataFrame:
        """`runs`: a row a run (`task`, the searched fields, what its last validation found). `curves`: a row a
        validation. Others: see the notebook. Raises `ConfigError` if it was not kept."""
        import pandas

        path = self.directory / f"{name}.csv.gz"
        if not path.is_file():
            raise ConfigError(str(path), f"does not exist; `make answer Q={self.directory.name}` makes it")
        return pandas.read_csv(path)

    @property
    def provenance(self) -> str:
        """One line: command, machine, seeds, code."""
        made = self.made
        return (
            f"`{made['command']}`: {made['runs']} runs, together {made['seconds'] / 3600:.1f} hours, seeds "
            f"{', '.join(map(str, made['seeds']))}, on {made['machine']}; code {made['code']}."
        )

    def updates(self) -> str:
        """How long each task was trained."""
        return ", ".join(f"{task} {about['updates']:,}" for task, about in self.made["tasks"].items())


def root() -> Path:
    """The directory that has docs/: that of `SEQBOAT_RESULTS`, or the one that this process works in, or above it."""
    here = Path.cwd()
    return Path(os.environ.get("SEQBOAT_RESULTS") or (here if (here / "docs").is_dir() else here.parent))


def read_answer(question: str) -> Answer:
    """The kept results of a question. Raises `ConfigError` if there are none."""
    directory = root() / "docs" / "answers" / question
    try:
        made = json.loads((directory / "made.json").read_text())
    except (OSError, ValueError):
        raise ConfigError(str(directory), f"has no results; `make answer Q={question}` makes them") from None
    return Answer(directory, made)


def mean_and_half(values: Any, digits: int = 1, scale: float = 1.0) -> str:
    """Values over seeds as `mean ± half width of the 95 % interval` (Student's t), times `scale`."""
    found = estimate([scale * float(value) for value in values if value == value])
    if not found.runs:
        return "-"
    return f"{found.mean:.{digits}f}" + (f" ± {found.half:.{digits}f}" if found.runs > 1 else "")


class Column(NamedTuple):
    """A column of `summary`: what it shows of a group's runs."""

    name: str
    values: str
    scale: float = 1.0
    digits: int = 1


def summary(runs: pd.DataFrame, by: dict[str, str], columns: Sequence[Column]) -> str:
    """A Markdown table: a row for every setting of the columns `by` (each with its heading), in the table's order, with
    mean and interval over its runs; a column that no run of a setting has a value of is left empty."""
    rows = []
    for setting, group in runs.groupby(list(by), sort=False):
        cells = [f"{value:g}" if isinstance(value, float) else str(value) for value in setting]
        rows.append([*cells, *(mean_and_half(group[c.values], c.digits, c.scale) for c in columns)])
    return markdown_table([*by.values(), *(column.name for column in columns)], rows)


def sentences(
    runs: pd.DataFrame, metric: str, field: str, against: Any, unit: str, scale: float, maximize: bool = True
) -> dict[Any, str]:
    """What pairs of runs that share the seed say of the settings of `field` beside `against` (see `paired.told`)."""
    rows = runs.to_dict("records")
    found = paired_differences(rows, metric, field, against, [field, "seed"])
    return told(found, against, unit, scale, maximize)


def enough(runs: pd.DataFrame, metric: str, field: str, maximize: bool = True) -> Any:
    """The smallest setting of `field`, a number, that pairs of runs (same seed) cannot tell from the setting with the
    best mean (p >= 0.05, Holm-corrected for as many comparisons as there are settings)."""
    means = runs.groupby(field)[metric].mean()
    best = means.idxmax() if maximize else means.idxmin()
    found = paired_differences(runs.to_dict("records"), metric, field, best, [field, "seed"])
    adjusted = dict(zip(found, holm([p_value(each) for each in found.values()]), strict=True))
    return min([best, *(setting for setting, p in adjusted.items() if not p < 1 - LEVEL)])
