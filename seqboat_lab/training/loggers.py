"""Where a run's logged values go: metrics.csv, TensorBoard, and the trackers of the extras.

The first two take back what a resumed run will do again; trackers are sent it twice, with the same numbers.
"""

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.loggers.logger import Logger
from lightning.pytorch.utilities.rank_zero import rank_zero_only

from seqboat_lab.atomic import write_text
from seqboat_lab.config import ExperimentConfig
from seqboat_lab.training.callbacks.charts import custom_scalars
from seqboat_lab.training.checkpoints import Checkpoint
from seqboat_lab.training.trackers import TRACKERS, begin_tracking, make_tracker

Row = dict[str, Any]
"""`step`, and the values logged there."""


class MetricsCsv(Logger):
    """`metrics.csv`: a row for everything logged at once, all that is logged of update u at the step u.

    Unlike Lightning's CSV logger, it never loses rows to a kill: a new column replaces the file at once.
    """

    def __init__(self, run_dir: Path, resumed: Checkpoint | None = None):
        super().__init__()
        self.path, self.columns = run_dir / "metrics.csv", ["step"]
        self.kept = [] if resumed is None else [row for row in read_rows(self.path) if _done(row, resumed)]
        self.begun = False

    @property
    def name(self) -> str:
        return "csv"

    @property
    def version(self) -> str:
        return ""

    @property
    def experiment(self) -> None:
        """It shows no pictures."""

    def log_hyperparams(self, *_: Any, **__: Any) -> None:
        """config.yaml has them."""

    @rank_zero_only
    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        row = {"step": step, **metrics}
        if not self.begun:
            self._rewrite([*self.kept, row])
            self.begun = True
        elif any(name not in self.columns for name in row):
            self._rewrite([*read_rows(self.path), row])
        else:
            with self.path.open("a", newline="") as file:
                csv.DictWriter(file, self.columns).writerow(row)

    def _rewrite(self, rows: list[Row]) -> None:
        self.columns = list(dict.fromkeys([*self.columns, *(name for row in rows for name in row)]))
        text = io.StringIO(newline="")
        writer = csv.DictWriter(text, self.columns)
        writer.writeheader()
        writer.writerows(rows)
        write_text(self.path, text.getvalue())


def read_rows(path: Path) -> list[Row]:
    """The rows of a metrics.csv, each with what it has; what is damaged, such as a line cut off, is left out."""
    if not path.exists():
        return []
    text = path.read_bytes().decode(errors="replace").replace("\0", "")
    whole = io.StringIO(text[: text.rfind("\n") + 1], newline="")
    rows = [{name: value for name, value in row.items() if name and value} for row in csv.DictReader(whole)]
    return [row for row in rows if row.get("step", "").isdecimal()]


def _done(row: Row, checkpoint: Checkpoint) -> bool:
    step = int(row["step"])
    return checkpoint.covers(step) or (step == checkpoint.step and "train/loss" in row)


class Curves(TensorBoardLogger):
    """TensorBoard, save that a resumed run takes back what it is about to show again."""

    def __init__(self, run_dir: Path, resumed: Checkpoint | None = None):
        # all that is logged of update u has the step u
        self.again = None if resumed is None else resumed.step + (not resumed.validation_due)
        super().__init__(str(run_dir), name="", version="", default_hp_metric=False, purge_step=self.again)

    def show_again(self, rows: list[Row]) -> None:
        """Of the rows kept in metrics.csv, those that were taken back with the validation of the same step."""
        for row in rows:
            if self.again is not None and int(row["step"]) >= self.again:
                self.log_metrics({name: float(value) for name, value in row.items() if name != "step"}, self.again)


def make_loggers(config: ExperimentConfig, run_dir: Path, resumed: Checkpoint | None = None) -> list[Logger]:
    """Those of `trainer.loggers`; nothing is written yet. Raises `ConfigError` if a tracker is not installed."""
    own = {"tensorboard": Curves, "csv": MetricsCsv}
    return [
        make_tracker(name, run_dir, resumed is not None) if name in TRACKERS else own[name](run_dir, resumed)
        for name in config.trainer.loggers
    ]


def begin(loggers: Sequence[Logger], config: ExperimentConfig, run_dir: Path, token_classes: Sequence[str]) -> None:
    """What each holds before the first step, written by the first process once the run's directory is its own."""
    for curves in loggers:
        if isinstance(curves, Curves):
            curves.show_again([row for table in loggers if isinstance(table, MetricsCsv) for row in table.kept])
            curves.experiment.add_custom_scalars(custom_scalars(config, token_classes))
    begin_tracking(loggers, config, run_dir)
