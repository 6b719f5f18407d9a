"""Runs that take no time, in the place of real ones: known curves, checkpoints to go on from, and death on demand."""

import hashlib
import json
import os
import signal
from collections.abc import Callable
from pathlib import Path

import yaml

from seqboat_lab.config import ExperimentConfig
from seqboat_lab.sweep.running import attempt, worker
from seqboat_lab.sweep.running.trial import EvaluationProcess, TrialProcess
from seqboat_lab.sweep.study.journal import Journal


def accuracy(config: ExperimentConfig, step: int, split: str = "val") -> float:
    """More memory is better, later is better, and seeds differ a little."""
    size, scale = config.model.memory_size, config.model.configurator.__dict__.get("temperature_scale", 1.0)
    text = f"{config.seed} {scale:.12g} {size} {split}"
    noise = int(hashlib.sha256(text.encode()).hexdigest()[:8], 16) / 2**32 - 0.5
    return 0.1 * size * step / config.trainer.max_steps / (1 + scale) + 0.01 * noise


def rate(config: ExperimentConfig) -> float:
    return min(1.0, config.model.memory_size / 10)


class FakeRun(TrialProcess):
    """Every call of `wait` trains to the next validation, and saves."""

    def __init__(self, config: ExperimentConfig, run_dir: Path):
        self.config, self.run_dir, self._read = config, run_dir, 0
        (run_dir / "config.yaml").write_text(yaml.safe_dump({"seed": config.seed}))
        self.checkpoint = run_dir / "checkpoints" / "last.ckpt"
        self.checkpoint.parent.mkdir(exist_ok=True)
        self.step = int(self.checkpoint.read_text()) if self.checkpoint.exists() else 0
        path = run_dir / "validations.jsonl"
        lines = path.read_text().splitlines() if path.exists() else []
        path.write_text("".join(f"{line}\n" for line in lines if json.loads(line)["step"] <= self.step))

    def metrics(self) -> dict:
        return {"step": self.step, "val/accuracy": accuracy(self.config, self.step), "val/activation_rate": rate(self.config),
                "cost/seconds": 1.0}  # fmt: skip

    def wait(self, seconds: float) -> bool:
        settings = self.config.trainer
        if self.step < settings.max_steps:
            begun = self.step
            self.step = min(begun + settings.val_every, settings.max_steps)
            with (self.run_dir / "trained.txt").open("a") as file:
                file.writelines(f"{step}\n" for step in range(begun + 1, self.step + 1))
            with (self.run_dir / "validations.jsonl").open("a") as file:
                file.write(json.dumps(self.metrics()) + "\n")
            self.checkpoint.write_text(str(self.step))
        if self.step < settings.max_steps:
            return False
        (self.run_dir / "summary.json").write_text(json.dumps({"metrics": self.metrics()}))
        return True

    def stop(self) -> None:
        pass

    def failure(self) -> str | None:
        return None


class FakeEvaluation(EvaluationProcess):
    configs: dict[str, ExperimentConfig] = {}  # noqa: RUF012 - one for all

    def __init__(self, run_dir: Path, split: str):
        self.run_dir, self.split = run_dir, split

    def wait(self, seconds: float) -> bool:
        config = self.configs[str(self.run_dir)]
        values = {
            "val/accuracy": accuracy(config, config.trainer.max_steps, self.split),
            "val/activation_rate": rate(config),
        }
        (self.run_dir / "objectives.json").write_text(json.dumps({"metrics": values}))
        return True

    stop, failure = FakeRun.stop, FakeRun.failure


def train(config: ExperimentConfig, run_dir: Path) -> FakeRun:
    FakeEvaluation.configs[str(run_dir)] = config
    return FakeRun(config, run_dir)


def replace_runs(monkeypatch) -> None:
    monkeypatch.setattr(attempt, "TrialProcess", train)
    monkeypatch.setattr(attempt, "EvaluationProcess", FakeEvaluation)
    monkeypatch.setattr(worker, "POLL_SECONDS", 0.05)
    monkeypatch.setattr(worker, "NAMELESS_SECONDS", 0.2)


def die_after(records: int) -> None:
    """This process is killed before it writes so many more records of the journal."""
    append: Callable = Journal.append_logs
    left = [records]

    def counted(self, logs):
        left[0] -= 1
        if left[0] < 0:
            os.kill(os.getpid(), signal.SIGKILL)
        append(self, logs)

    Journal.append_logs = counted
