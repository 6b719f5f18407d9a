"""Do learned decisions pay on tasks that need attention less than recall does? The same cells as benchmarks.recall.

    .venv/bin/python -m benchmarks.routing listops_short|text_tiny [--seeds 5] [--out FILE] [--arms NAME ...]

Every cell is `seqboat fit` on one thread; its line of docs/results_routing_<task>.jsonl (or `--out`) has what the last
validation said, so that a killed benchmark goes on where it was. `python -m benchmarks.routing_report` turns them into
docs/results_routing.md.
"""

import argparse
import json
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.recall import CREDIT, NO_CREDIT, finished
from seqboat_lab.config import load_experiment
from seqboat_lab.training.experiment import fit

RATES = (0.1, 0.3)
PRICES = (0.01, 0.03)
CAPACITY = "model.configurator={{kind: capacity, temperature_scale: {scale}, rate: {rate}}}"
PRICED = ("optim.activation_cost_from=0.1", "optim.activation_cost_to=0.3")
"""As on recall, a small price sorts the tokens while all of them are still active."""


@dataclass(frozen=True)
class Task:
    """What is trained, and how its quality is called."""

    experiment: str
    overrides: tuple[str, ...]
    metric: str
    scale: float
    """Temperature scale of its configurators."""


TASKS = {
    "listops_short": Task("lra/listops_short", ("trainer.max_steps=500", "trainer.val_every=500"), "accuracy", 0.3),
    "text_tiny": Task("text_tiny", ("data.batch_size=4", "trainer.max_steps=300", "trainer.val_every=300"), "bpc", 1.0),
}


def results(name: str) -> Path:
    """Where the finished runs of a task are."""
    return Path(f"docs/results_routing_{name}.jsonl")


def arms(task: Task) -> dict[str, list[str]]:
    """Name of each cell of the table -> its overrides; SEED stands for the run's seed."""
    cells = {"never": ["model.configurator={kind: never}"], "always": ["model.configurator={kind: always}"]}
    for rate in RATES:
        cells[f"random {rate:g}"] = [f"model.configurator={{kind: random, rate: {rate}, seed: SEED}}"]
        for name, credit in (("capacity", NO_CREDIT), ("capacity+credit", CREDIT)):
            dial = CAPACITY.format(scale=task.scale, rate=rate)
            cells[f"{name} {rate:g}"] = [dial, credit, "optim.activation_cost=0.01", *PRICED]
    for price in PRICES:
        for name, credit in (("cost", NO_CREDIT), ("cost+credit", CREDIT)):
            cells[f"{name} {price:g}"] = [f"optim.activation_cost={price}", credit]
    cells["as published"] = []
    return cells


def run(task: Task, own: Sequence[str], seed: int) -> dict:
    """One run's quality, activation rate, and that of each layer."""
    overrides = [*task.overrides, *(each.replace("SEED", str(seed)) for each in own), f"seed={seed}"]
    config = load_experiment(task.experiment, [*overrides, "trainer.threads=1", "trainer.progress=false"])
    started = time.process_time()
    with tempfile.TemporaryDirectory() as directory:
        metrics = fit(config, Path(directory) / "run")["metrics"]
    rates = [metrics[f"val/activation_rate/layer_{i}"] for i in range(config.model.activating_layers)]
    quality = {task.metric: metrics[f"val/{task.metric}"]}
    classes = {key.removeprefix("val/"): value for key, value in metrics.items() if "activation_rate_of" in key}
    return {**quality, "rate": metrics["val/activation_rate"], "rates": rates, "by_class": classes,
            "cpu_seconds": round(time.process_time() - started)}  # fmt: skip


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("task", choices=TASKS)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--arms", nargs="*", metavar="NAME", help="which cells of the table")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args(arguments)
    task, out = TASKS[options.task], options.out or results(options.task)
    cells = arms(task)
    if unknown := [name for name in options.arms or () if name not in cells]:
        parser.error(f"--arms: there is no {unknown[0]!r}; expected some of {', '.join(cells)}")
    for seed in range(1, options.seeds + 1):
        for name in options.arms or cells:
            if any(row["arm"] == name and row["seed"] == seed for row in finished(out)):
                continue
            row = {"arm": name, "seed": seed, **run(task, cells[name], seed)}
            with out.open("a") as file:
                file.write(json.dumps(row) + "\n")
            print(f"{name:24} seed {seed}  {task.metric} {row[task.metric]:.4f}  active {row['rate']:.3f}  "
                  f"{row['cpu_seconds']} s", flush=True)  # fmt: skip


if __name__ == "__main__":
    main()
