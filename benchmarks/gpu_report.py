"""`make gpu-report`: what only a machine with GPUs can tell, as one Markdown file to send back.

The tests that need a GPU, the benchmark, training on 1, 2, 4 and 8 devices, and a short training of each recipe. Every
part runs in processes of its own; one that fails is reported as such, and the others go on. Nothing is downloaded:
recipes train on generated data or on synthetic stand-ins, so their losses say that they learn, not how well.
"""

import argparse
import csv
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import torch

from benchmarks.measure import machine
from benchmarks.tables import cell
from seqboat_lab.analysis.markdown import markdown_table
from seqboat_lab.config import load_experiment
from seqboat_lab.training.results import code_version

ROOT = Path(__file__).parents[1]
REPORT = "runs/gpu_report.md"
LONGEST = 3600
"""Seconds after which a part is given up."""

SYNTHETIC = ("data.source=synthetic", "data.synthetic_samples=2000")
RECIPES: dict[str, tuple[str, ...]] = {
    "lra/listops": ("data.source=generated", "data.train_size=4000", "data.val_size=500", "data.test_size=500"),
    "lra/text": SYNTHETIC,
    "lra/retrieval": SYNTHETIC,
    "lra/image": SYNTHETIC,
    "lra/pathfinder": ("data.source=generated", "data.images=2000"),
    "lra/pathx": ("data.source=generated", "data.images=500"),
    "lra/path256": ("data.source=generated", "data.images=200"),
    "speech_commands": SYNTHETIC,
    "enwik8": ("task=corpus",),
    "text8": ("task=corpus",),
}
"""The recipes that are meant for GPUs, on data that needs no download."""


class Size(NamedTuple):
    """How much is run."""

    devices: list[int]
    steps: int
    """Updates of each short training."""
    precisions: tuple[str, ...]
    tests: list[str]
    bench: list[str]
    smaller: tuple[str, ...] = ()
    """Overrides of every training."""


def on_gpus(count: int) -> Size:
    return Size(
        [n for n in (1, 2, 4, 8) if n <= count], 200, ("32-true", "bf16-mixed"), ["-m", "gpu"], ["layer", "--quick"]
    )  # fmt: skip


TINY = (
    "model.layers=1", "model.d_model=16", "model.d_hidden=16", "model.d_attention=8", "model.memory_size=16",
    "trainer.accelerator=cpu", "trainer.threads=1",
)  # fmt: skip
TINY_DATA = {
    "lra/listops": ("data.max_length=100", "data.min_length=10", "data.train_size=200", "data.val_size=20",
                    "data.test_size=20"),
    "lra/text": ("data.synthetic_samples=40", "data.max_length=128"),
    "lra/retrieval": ("data.synthetic_samples=40", "data.max_length=64"),
    "lra/image": ("data.synthetic_samples=40", "data.size=16"),
    "lra/pathfinder": ("data.images=40", "data.size=16"),
    "lra/pathx": ("data.images=40", "data.size=16"),
    "lra/path256": ("data.images=40", "data.size=16"),
    "speech_commands": ("data.synthetic_samples=40", "data.max_length=500"),
    "enwik8": ("data.tokens_per_sample=128",),
    "text8": ("data.tokens_per_sample=128",),
}  # fmt: skip
REHEARSAL = Size([1, 2], 4, ("32-true",), ["tests/nn/test_devices.py", "-k", "mixer"], ["operations"], TINY)


class Result(NamedTuple):
    status: int
    seconds: float
    output: str

    @property
    def last_line(self) -> str:
        return next((line for line in reversed(self.output.splitlines()) if line.strip()), "nothing was printed")


def run(command: list[str]) -> Result:
    """`python COMMAND` in a process of its own, from the repository."""
    start = time.perf_counter()
    environment = {**os.environ, "COLUMNS": "140"}
    try:
        done = subprocess.run(
            [sys.executable, *command], cwd=ROOT, env=environment, text=True, timeout=LONGEST,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
        return Result(done.returncode, time.perf_counter() - start, done.stdout)
    except subprocess.TimeoutExpired:
        return Result(124, LONGEST, f"given up after {LONGEST} seconds")


def fit(recipe: str, *overrides: str, steps: int) -> dict[str, Any]:
    """A short training: what it did, or the line that says why it could not."""
    every = max(1, steps // 10)
    with tempfile.TemporaryDirectory() as place:
        run_dir = Path(place) / "run"
        result = run([
            "-m", "seqboat_lab.cli", "fit", recipe, *RECIPES[recipe], *overrides, "--run-dir", str(run_dir),
            f"trainer.max_steps={steps}", f"trainer.val_every={steps}", "trainer.val_batches=2",
            f"trainer.log_every={every}", "optim.warmup_steps=0", "trainer.progress=false",
        ])  # fmt: skip
        if result.status:
            return {"failed": result.last_line[:200]}
        summary = json.loads((run_dir / "summary.json").read_text())
        logged = _logged(run_dir / "metrics.csv")
    losses = logged["train/loss"]
    speeds = logged["tokens_per_second"]
    return {
        "first loss": losses[0],
        "last loss": losses[-1],
        "tokens/s": statistics.median(speeds[len(speeds) // 3 :]),  # the first ones wait for everything to load
        "peak GB": summary["peak_memory_bytes"] / 1e9,
    }


def _logged(path: Path) -> dict[str, list[float]]:
    columns: dict[str, list[float]] = {}
    with path.open(newline="") as file:
        for row in csv.DictReader(file):
            for name, value in row.items():
                if value:
                    columns.setdefault(name, []).append(float(value))
    return columns


def micro_batch(recipe: str) -> int:
    """Sequences per device and backward pass of the recipe as it stands."""
    config = load_experiment(recipe)
    return max(1, config.data.batch_size // (config.trainer.devices * config.trainer.accumulate))


def recipes(size: Size) -> Iterator[dict[str, Any]]:
    """Each recipe on one device, with the batch that it has per device and backward pass."""
    for recipe in RECIPES:
        smaller = (*size.smaller, *TINY_DATA[recipe]) if size.smaller else ()
        batch = 2 if size.smaller else micro_batch(recipe)
        for precision in size.precisions:
            one = (f"data.batch_size={batch}", "trainer.devices=1", "trainer.accumulate=1")
            row = {"recipe": recipe, "precision": precision, "batch": batch}
            yield row | fit(recipe, *one, f"trainer.precision={precision}", *smaller, steps=size.steps)


def scaling(size: Size, recipe: str = "lra/listops") -> Iterator[dict[str, Any]]:
    """Each number of devices beside one device, run just before it: with the same batch for all devices together, and
    with the same batch for each."""
    smaller = (*size.smaller, *TINY_DATA[recipe]) if size.smaller else ()
    batch = 8 if size.smaller else load_experiment(recipe).data.batch_size

    def speed(devices: int, batch: int) -> float:
        row = fit(recipe, f"trainer.devices={devices}", f"data.batch_size={batch}", *smaller, steps=size.steps)
        if "failed" in row:
            raise RuntimeError(row["failed"])
        return row["tokens/s"]

    for devices in size.devices:
        for what, whole in dict.fromkeys((("the same batch", batch), ("the same batch a device", batch * devices))):
            row = {"devices": devices, "": what, "batch": whole}
            try:
                alone = speed(1, batch)
                together = speed(devices, whole) if devices > 1 else alone
                yield row | {"one device, tokens/s": alone, "tokens/s": together, "ratio": together / alone}
            except RuntimeError as error:
                yield row | {"failed": str(error)}
            if devices == 1:
                break


def facts() -> list[str]:
    """What was measured on."""
    gpus = [torch.cuda.get_device_properties(i) for i in range(torch.cuda.device_count())]
    named = [f"GPU {i}: {gpu.name}, {gpu.total_memory / 1e9:.0f} GB" for i, gpu in enumerate(gpus)]
    system = [machine(), f"CUDA {torch.version.cuda}", *named, f"{os.cpu_count()} CPU cores"]
    return [f"seqboat_lab {code_version()}", *system]


def as_table(rows: list[dict[str, Any]]) -> str:
    names = list(dict.fromkeys(name for row in rows for name in row))
    cells = [[cell(row[name]).replace("|", "/") if name in row else "" for name in names] for row in rows]
    return markdown_table(names, cells).rstrip()


def block(result: Result, command: list[str], lines: int = 150) -> str:
    head = f"`python {' '.join(command)}`: exit status {result.status}, {result.seconds:.0f} s"
    return f"{head}\n\n```\n" + "\n".join(result.output.rstrip().splitlines()[-lines:]) + "\n```"


def sections(size: Size) -> Iterator[tuple[str, str]]:
    tests, bench = ["-m", "pytest", "-q", *size.tests], ["-m", f"benchmarks.{size.bench[0]}", *size.bench[1:]]
    yield "Tests", block(run(tests), tests, lines=60)
    yield "Benchmark", block(run(bench), bench)
    yield f"Devices: lra/listops, {size.steps} updates", as_table(list(scaling(size)))
    yield f"Recipes: {size.steps} updates each, on stand-ins for their data", as_table(list(recipes(size)))


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu_report", description=__doc__.splitlines()[0])
    parser.add_argument("--rehearse", action="store_true", help="all of it at tiny size, on the CPU")
    parser.add_argument("--out", default=REPORT, help=f"where the report goes ({REPORT})")
    options = parser.parse_args(arguments)
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if not count and not options.rehearse:
        print("gpu-report: no CUDA device here; run it where there is one, or try it with --rehearse", file=sys.stderr)
        return 2
    size = REHEARSAL if options.rehearse else on_gpus(count)
    title = "# Rehearsal of the GPU report, on a CPU: its figures mean nothing" if options.rehearse else "# GPU report"
    parts = [title, "\n".join(f"- {fact}" for fact in facts())]
    path = Path(options.out)
    path.parent.mkdir(parents=True, exist_ok=True)
    for name, text in sections(size):  # written part by part: what is there already survives whatever comes
        parts.append(f"## {name}\n\n{text}")
        path.write_text("\n\n".join(parts) + "\n")
        print(f"{name}: done", flush=True)
    print(f"wrote {path}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
