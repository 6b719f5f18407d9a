"""Weights & Biases and MLflow, each an extra of its own: offline, in the run's directory, unless their own environment
variables say otherwise."""

import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import MLFlowLogger, WandbLogger
from lightning.pytorch.loggers.logger import Logger

from seqboat_lab.atomic import write_text
from seqboat_lab.config import ConfigError, ExperimentConfig
from seqboat_lab.config.files import to_dict

PROJECT = "seqboat"
TRACKED = "tracked.json"
"""In the run's directory: tracker -> its id of the run, so that a resumed run goes on as the same."""


def wandb_logger(run_dir: Path, run_id: str | None) -> WandbLogger:
    online = os.environ.get("WANDB_MODE") == "online"
    project = os.environ.get("WANDB_PROJECT", PROJECT)
    os.environ.setdefault("WANDB_SILENT", "true")  # it would take the terminal for itself
    os.environ.setdefault("WANDB_ERROR_REPORTING", "true" if online else "false")  # which would reach the network
    return WandbLogger(
        name=run_dir.name, save_dir=run_dir, project=project, offline=not online, id=run_id, resume="allow"
    )


def mlflow_logger(run_dir: Path, run_id: str | None) -> MLFlowLogger:
    address = os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{(run_dir / 'mlflow.db').absolute()}"
    experiment = os.environ.get("MLFLOW_EXPERIMENT_NAME", PROJECT)
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    return MLFlowLogger(experiment, run_name=run_dir.name, tracking_uri=address, run_id=run_id)


TRACKERS = {"wandb": wandb_logger, "mlflow": mlflow_logger}
CLASSES: dict[str, type[WandbLogger] | type[MLFlowLogger]] = {"wandb": WandbLogger, "mlflow": MLFlowLogger}


def make_tracker(name: str, run_dir: Path, resumed: bool) -> Logger:
    """Raises `ConfigError` where its package is missing."""
    try:
        return TRACKERS[name](run_dir, _tracked(run_dir).get(name) if resumed else None)
    except ModuleNotFoundError:
        problem = f"{name} is not installed; install it with pip install 'seqboat-lab[{name}]', or leave it out"
        raise ConfigError("trainer.loggers", problem) from None


def begin_tracking(loggers: Sequence[Logger], config: ExperimentConfig, run_dir: Path) -> None:
    """Tells the trackers the configuration, and keeps their ids of the run."""
    known = _tracked(run_dir)
    ids = {}
    for name, cls in CLASSES.items():
        for tracker in (each for each in loggers if isinstance(each, cls)):
            if name not in known:  # MLflow's parameters never change
                tracker.log_hyperparams(to_dict(config))
            ids[name] = tracker.run_id if isinstance(tracker, MLFlowLogger) else tracker.version
    if ids:
        write_text(run_dir / TRACKED, json.dumps(known | ids) + "\n")


@contextmanager
def tracked_to_its_end(loggers: Sequence[Logger]) -> Iterator[None]:
    """Ends the run at Weights & Biases with this one, or the process's next run would go on in it."""
    status = 1
    try:
        yield
        status = 0
    finally:
        if any(isinstance(each, WandbLogger) for each in loggers):
            import wandb

            wandb.finish(exit_code=status)


def _tracked(run_dir: Path) -> dict[str, Any]:
    with suppress(OSError, ValueError):
        known = json.loads((run_dir / TRACKED).read_text())
        if isinstance(known, dict):
            return known
    return {}
