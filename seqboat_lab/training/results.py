"""The files a run leaves: config.yaml, validations.jsonl, metrics.csv, summary.json."""

import json
import resource
import subprocess
import sys
import time
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import Callback

from seqboat_lab.atomic import to_json, write_text
from seqboat_lab.config import ConfigError, ExperimentConfig
from seqboat_lab.config.files import to_yaml
from seqboat_lab.config.model import ModelConfig
from seqboat_lab.nn.cost import cost_per_token, count_parameters
from seqboat_lab.training.checkpoints import Checkpoint
from seqboat_lab.training.lightning_data import task_of


def cost_metric_names(config: ModelConfig) -> list[str]:
    """Reported with every validation beside the module's own metrics. FLOPs are counted of stacks only."""
    counted = ["cost/flops_per_token"] if config.is_stack else []
    return [*counted, "cost/parameters", "cost/seconds"]


def write_config(config: ExperimentConfig, run_dir: Path) -> None:
    """`config.yaml`: the resolved experiment, loadable again, headed by the code's version."""
    header = f"# seqboat_lab {code_version()}, torch {torch.__version__}\n"
    text = header + to_yaml(config)
    write_text(run_dir / "config.yaml", text)  # whole at any moment: the run's other processes may be reading it


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
        self.config, self.run_dir, self.path = config, run_dir, run_dir / "validations.jsonl"
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
        costs = {"cost/parameters": count_parameters(module.get_submodule("model")), "cost/seconds": self.seconds()}
        if self.config.model.is_stack:
            costs["cost/flops_per_token"] = self.cost(trainer, rates)["total"]
        self.last = {"step": trainer.global_step, **values, **costs}
        for logger in trainer.loggers:
            logger.log_metrics(costs, trainer.global_step)
        with self.path.open("a") as file:
            file.write(to_json(self.last) + "\n")

    def go_on_from(self, checkpoint: Checkpoint) -> None:
        """Drops the lines of validations that are to come again, and a last one that was cut off."""
        lines = []
        for line in self.path.read_text(errors="replace").splitlines() if self.path.exists() else []:
            with suppress(ValueError, KeyError, TypeError):
                values = json.loads(line)
                if checkpoint.covers(values["step"]):
                    lines.append(line)
                    self.last, self.validated_step = values, values["step"]
        write_text(self.path, "".join(f"{line}\n" for line in lines))

    def cost(self, trainer: L.Trainer, rates: list[float]) -> dict[str, float]:
        task = task_of(trainer)
        assert task is not None  # `fit` gives it one
        spec = task.spec
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
            "parameters": count_parameters(module.get_submodule("model")),
            "flops_per_token": self.cost(trainer, rates) if self.config.model.is_stack else None,
            "seconds": round(self.seconds(), 2),
            "peak_memory_bytes": peak_memory(),
            "steps": trainer.global_step,
            "device": torch.cuda.get_device_name() if module.device.type == "cuda" else "cpu",
            "code_version": code_version(),
        }
        write_text(self.run_dir / "summary.json", to_json(summary, indent=2) + "\n")
        return summary


def read_summary(run_dir: Path) -> dict[str, Any]:
    """What `summary.json` of a finished run holds. Raises `ConfigError` if it cannot be read."""
    path = run_dir / "summary.json"
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise ConfigError(str(path), f"cannot be read ({' '.join(str(error).split())})") from None


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
