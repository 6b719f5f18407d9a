"""The files a run leaves: config.yaml, validations.jsonl, metrics.csv, summary.json."""

import csv
import json
import resource
import subprocess
import sys
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.fabric.loggers.logger import rank_zero_experiment
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.loggers import CSVLogger
from lightning.pytorch.loggers.csv_logs import ExperimentWriter

from seqboat_lab.config import ExperimentConfig
from seqboat_lab.config.files import to_yaml
from seqboat_lab.config.model import ModelConfig
from seqboat_lab.nn.cost import cost_per_token, count_parameters


def cost_metric_names(config: ModelConfig) -> list[str]:
    """Reported with every validation beside the module's own metrics. FLOPs are counted of SeqBoat only."""
    counted = ["cost/flops_per_token"] if config.activating_layers else []
    return [*counted, "cost/parameters", "cost/seconds"]


def write_config(config: ExperimentConfig, run_dir: Path) -> None:
    """`config.yaml`: the resolved experiment, loadable again, headed by the code's version."""
    run_dir.mkdir(parents=True, exist_ok=True)
    header = f"# seqboat_lab {code_version()}, torch {torch.__version__}\n"
    text = header + to_yaml(config)
    (run_dir / "config.tmp").write_text(text)
    (run_dir / "config.tmp").replace(run_dir / "config.yaml")  # the run's other processes may be reading it


def code_version() -> str:
    """Package version, and the commit when run from a git checkout."""
    here = Path(__file__).parent
    try:
        commit = subprocess.run(
            ["git", "-C", str(here), "describe", "--always", "--dirty"],
            capture_output=True,
            text=True,
            timeout=10,
        ).stdout.strip()
    except (OSError, subprocess.TimeoutExpired):
        commit = ""
    return version("seqboat-lab") + (f" ({commit})" if commit else "")


class ResultFiles(Callback):
    """Writes `validations.jsonl` (one line per validation) while training, `summary.json` at the end."""

    def __init__(self, config: ExperimentConfig, run_dir: Path):
        self.config, self.run_dir = config, run_dir
        self.started = time.perf_counter()
        self.seconds_before = 0.0
        self.last: dict[str, float] = {}
        self.validated_step = -1  # known to every rank, unlike `last`

    def on_validation_end(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        self.validated_step = trainer.global_step
        if not trainer.is_global_zero:
            return
        values = {k: v.item() for k, v in trainer.callback_metrics.items() if k.startswith("val/")}
        rates = self.rates(values)
        costs = {"cost/parameters": count_parameters(module.model), "cost/seconds": self.seconds()}
        if rates:
            costs["cost/flops_per_token"] = self.cost(trainer, rates)["total"]
        self.last = {"step": trainer.global_step, **values, **costs}
        for logger in trainer.loggers:
            logger.log_metrics(costs, trainer.global_step)
        with (self.run_dir / "validations.jsonl").open("a") as file:
            file.write(json.dumps(self.last) + "\n")

    def cost(self, trainer: L.Trainer, rates: list[float]) -> dict[str, float]:
        spec = trainer.datamodule.spec
        return cost_per_token(self.config.model, spec.max_length, rates, spec.vocabulary_per_token)

    def rates(self, values: dict[str, float]) -> list[float]:
        return [values[f"val/activation_rate/layer_{i}"] for i in range(self.config.model.activating_layers)]

    def state_dict(self) -> dict[str, Any]:
        return {"seconds": self.seconds()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.seconds_before = state["seconds"]

    def seconds(self) -> float:
        return self.seconds_before + time.perf_counter() - self.started

    def write_summary(self, trainer: L.Trainer, module: L.LightningModule) -> dict[str, Any]:
        """`summary.json`: final metrics, activation rates, parameters, FLOPs, seconds, peak memory."""
        rates = self.rates(self.last)
        summary = {
            "metrics": self.last,
            "activation_rate_per_layer": rates,
            "parameters": count_parameters(module.model),
            "flops_per_token": self.cost(trainer, rates) if rates else None,
            "seconds": round(self.seconds(), 2),
            "peak_memory_bytes": peak_memory(),
            "steps": trainer.global_step,
            "device": torch.cuda.get_device_name() if module.device.type == "cuda" else "cpu",
            "code_version": code_version(),
        }
        path = self.run_dir / "summary.json"
        path.with_suffix(".tmp").write_text(json.dumps(summary, indent=2) + "\n")
        path.with_suffix(".tmp").replace(path)
        return summary


def read_summary(run_dir: Path) -> dict[str, Any]:
    """What `summary.json` of a finished run holds."""
    return json.loads((run_dir / "summary.json").read_text())


def peak_memory() -> int:
    """Bytes: the GPU allocator's peak where there is a GPU, else this process's resident peak."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated()
    status = Path("/proc/self/status")
    if status.exists():  # Linux; getrusage would also count the process that this one was started from
        (line,) = (line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) * 1024
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


class MetricsCsv(CSVLogger):
    """Lightning's CSV logger, save that a resumed run keeps the rows of the steps before `resume_step`."""

    def __init__(self, run_dir: Path, resume_step: int | None = None):
        super().__init__(str(run_dir), name="", version="", flush_logs_every_n_steps=1)
        self.path, self.resume_step = run_dir / "metrics.csv", resume_step

    @property
    @rank_zero_experiment
    def experiment(self) -> ExperimentWriter:
        if self._experiment is None:
            before = self._rows_before()
            writer = super().experiment  # removes the file
            writer.metrics = before
            writer.save()
        return self._experiment

    def _rows_before(self) -> list[dict[str, Any]]:
        if self.resume_step is None or not self.path.exists():
            return []
        with self.path.open(newline="") as file:
            rows = [{k: v for k, v in row.items() if v} for row in csv.DictReader(file)]
        # what a validation costs is logged at the step that follows its own last one; a line may have been cut off
        steps = [(row, int(row["step"])) for row in rows if row.get("step", "").isdigit()]
        resumed = self.resume_step
        return [row for row, step in steps if step < resumed or (step == resumed and "cost/parameters" in row)]
