"""The design space at a glance: every SSM kernel and every configurator on short ListOps expressions.

    .venv/bin/python benchmarks/design_space.py

trains each for 300 updates per seed from its published initialisation, with no other setting changed, the default
configurator and its baselines for 1,000 as well, and writes docs/results_design_space.md.
Runs are kept under runs/design_space/ and reused when their settings are the same.
"""

import argparse
import csv
import json
import os
import platform
import statistics
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from lightning.pytorch.callbacks import Callback

from seqboat_lab.config import ExperimentConfig, load_experiment
from seqboat_lab.config.ssm import SSM_CONFIGS
from seqboat_lab.training.experiment import fit
from seqboat_lab.training.results import code_version

EXPERIMENT = "lra/listops_short"
RUNS = Path("runs/design_space")
LEARNED = ("tempered_softmax", "gumbel_softmax", "sigmoid")


class Result(NamedTuple):
    """Of one run."""

    accuracy: float
    rate: float
    first_loss: float
    last_loss: float
    step_seconds: float
    flops: float
    parameters: int


class Row(NamedTuple):
    """One line of the table: the same settings with several seeds."""

    name: str
    results: list[Result]

    def mean(self, field: str) -> float:
        return statistics.mean(getattr(result, field) for result in self.results)

    def spread(self) -> float:
        """Standard deviation of the accuracy over seeds, 0 for a single one."""
        accuracies = [result.accuracy for result in self.results]
        return statistics.stdev(accuracies) if len(accuracies) > 1 else 0.0


class StepTimer(Callback):
    """CPU seconds of each update, from its batch to the end of the optimiser's step: on one thread they hardly
    depend on what else the machine does."""

    def __init__(self):
        self.seconds: list[float] = []

    def on_train_batch_start(self, *_) -> None:
        self.started = time.process_time()

    def on_train_batch_end(self, *_) -> None:
        self.seconds.append(time.process_time() - self.started)


def run(config: ExperimentConfig, run_dir: Path) -> Result:
    """Trains, or reads what an earlier call with the same settings left."""
    summary_file, timing_file = run_dir / "summary.json", run_dir / "step_seconds.json"
    if not (timing_file.is_file() and load_experiment(run_dir / "config.yaml") == config):
        timer = StepTimer()
        fit(config, run_dir, extra=[timer])
        timing_file.write_text(json.dumps(statistics.median(timer.seconds)))
    summary = json.loads(summary_file.read_text())
    with (run_dir / "metrics.csv").open(newline="") as file:
        losses = [float(row["train/loss"]) for row in csv.DictReader(file) if row.get("train/loss")]
    return Result(
        summary["metrics"]["val/accuracy"], summary["metrics"]["val/activation_rate"], losses[0],
        statistics.mean(losses[-3:]), json.loads(timing_file.read_text()),
        summary["flops_per_token"]["total"], summary["parameters"],
    )  # fmt: skip


def measure(name: str, overrides: Sequence[str], seeds: int, steps: int) -> Row:
    results = []
    for seed in range(1, seeds + 1):
        fixed = [f"seed={seed}", f"trainer.max_steps={steps}", f"trainer.val_every={steps}", "trainer.threads=1"]
        fixed += ["trainer.progress=false", "trainer.accelerator=cpu"]
        config = load_experiment(EXPERIMENT, [*fixed, *(override.replace("SEED", str(seed)) for override in overrides)])
        results.append(run(config, RUNS / f"{name.replace(' ', '_')}-{steps}-{seed}"))
        result = results[-1]
        print(f"{name:32} seed {seed}  accuracy {result.accuracy:.1%}  active {result.rate:.1%}  ", end="")
        print(f"loss {result.first_loss:.3f} -> {result.last_loss:.3f}  {result.step_seconds:.3f} s/step", flush=True)
    return Row(name, results)


def configurator(kind: str, steps: int) -> str:
    """The override that chooses it, with its defaults, save that annealing ends with the run."""
    anneal = f", anneal_steps: {steps}" if kind == "gumbel_softmax" else ""
    scale = ", temperature_scale: 0.3" if kind == "tempered_softmax" else ""
    return f"model.configurator={{kind: {kind}{anneal}{scale}}}"


def at_the_rate_of(learned: Row, seeds: int, steps: int) -> list[Row]:
    """Decisions that ignore the input, as many as the learned ones."""
    rate = round(learned.mean("rate"), 3)
    k = max(1, round(1 / max(rate, 1e-3)))
    drawn = f"model.configurator={{kind: random, rate: {rate}, seed: SEED}}"
    spaced = f"model.configurator={{kind: every_kth, k: {k}}}"
    return [
        measure(f"random rate={rate}", [drawn], seeds, steps),
        measure(f"every_kth k={k}", [spaced], seeds, steps),
    ]


def table(rows: Sequence[Row]) -> list[str]:
    columns = (
        "", "accuracy", "± over seeds", "activation rate", "training loss, first → last", "s/step", "FLOPs/token",
        "parameters",
    )  # fmt: skip
    lines = [f"| {' | '.join(columns)} |", "| --- " * len(columns) + "|"]
    for row in rows:
        losses = f"{row.mean('first_loss'):.3f} → {row.mean('last_loss'):.3f}"
        lines.append(
            f"| {row.name} | {row.mean('accuracy'):.1%} | {100 * row.spread():.1f} | {row.mean('rate'):.1%} | {losses} "
            f"| {row.mean('step_seconds'):.3f} | {row.mean('flops'):,.0f} | {row.mean('parameters'):,.0f} |"
        )
    return lines


def comparison(learned: Row, baselines: Sequence[Row]) -> list[str]:
    """What the numbers say, in words that follow from the numbers alone."""
    lines = []
    for other in baselines:
        gap = learned.mean("accuracy") - other.mean("accuracy")
        noise = (learned.spread() ** 2 + other.spread() ** 2) ** 0.5
        if abs(gap) <= 2 * noise / len(learned.results) ** 0.5:
            verdict = "no difference beyond the spread of the seeds"
        else:
            verdict = f"**{learned.name} is {'better' if gap > 0 else 'worse'}**"
        lines.append(
            f"- {learned.name} ({learned.mean('rate'):.1%} active) against {other.name} ({other.mean('rate'):.1%} "
            f"active): {100 * gap:+.1f} points; {verdict}."
        )
    return lines


def machine() -> str:
    cpu = platform.machine()
    if Path("/proc/cpuinfo").is_file():
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        cpu = next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), cpu)
    return f"{cpu}, {os.cpu_count()} cores, torch {torch.__version__}, one thread"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=300, help="updates per run (default 300)")
    parser.add_argument("--seeds", type=int, default=3, help="runs per line of the table (default 3)")
    parser.add_argument("--long", type=int, default=1000, help="updates of the longer runs (default 1000)")
    parser.add_argument("--out", type=Path, default=Path("docs/results_design_space.md"))
    options = parser.parse_args()

    seeds, steps = options.seeds, options.steps
    kernels = [measure(kernel, [f"model.ssm.kernel={kernel}"], seeds, steps) for kernel in SSM_CONFIGS]
    learned = [measure(kind, [configurator(kind, steps)], seeds, steps) for kind in LEARNED]
    fixed = [measure(kind, [configurator(kind, steps)], seeds, steps) for kind in ("always", "never")]
    baselines = {row.name: at_the_rate_of(row, seeds, steps) for row in learned}
    others = {row.name: row for rows in baselines.values() for row in rows}
    long = [measure(kind, [configurator(kind, steps)], seeds, options.long) for kind in (LEARNED[0], "always", "never")]
    long += at_the_rate_of(long[0], seeds, options.long)

    text = [
        "# SSM kernels and configurators on short ListOps expressions", "",
        f"Command: `python benchmarks/design_space.py --steps {steps} --seeds {seeds} --long {options.long}`  ",
        f"Code: {code_version()}  ",
        f"Machine: {machine()}", "",
        f"CPU-sized, not the paper's setting: `{EXPERIMENT}` (expressions of 10 to 100 tokens, two layers), "
        f"{steps} updates per run, means over {seeds} seeds. "
        "Accuracy and activation rate are those of 2,000 validation expressions after the last update; "
        "the loss is that of training batches; s/step is the CPU time of the median update on one thread. "
        "So few updates tell which settings train at all and how fast they start, not which is best in the end.", "",
        "## Kernels (configurator tempered_softmax, state_size 16)", "", *table(kernels), "",
        "All settings but the kernel are those of EMA; each starts from its published initialisation. "
        "state_size 16 is 16 real averages (ema), 16 complex ones (cema), 8 conjugate pairs per channel (s4d, s4) "
        "or for all channels together (s5), 16 complex modes for all channels (lru). EMAs train their time scales at "
        "the full learning rate, the other kernels at a tenth of it (`optim.ssm_lr`), as published; in so few updates "
        "that alone favours EMAs.", "",
        "## Configurators (kernel ema)", "", *table([*learned, *fixed, *others.values()]), "",
        "## Learned decisions against decisions that ignore the input, at the same activation rate", "",
        *(line for row in learned for line in comparison(row, baselines[row.name])), "",
        *comparison(fixed[0], fixed[1:]), "",
        f"## The same after {options.long:,} updates", "", *table(long), "",
        *comparison(long[0], long[1:]), *comparison(long[1], [long[2]]), "",
        "`random` has the learned configurator's mean rate in both layers, `every_kth` the nearest 1/k. "
        "A difference counts here when it is larger than twice its standard error over the seeds; with this few "
        "seeds that is a weak test.", "",
    ]  # fmt: skip
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text("\n".join(text))
    print(f"wrote {options.out}")


if __name__ == "__main__":
    main()
