"""The full factorial on which the search is measured: every configuration of benchmarks/search.yaml, with two seeds.

    .venv/bin/python -m benchmarks.search_table [--pack]

Trains each on one thread, in the plain loop of benchmarks/recall.py: half an hour of one core in all. Every finished
run is a line of runs/search_table/results.jsonl, so that a killed benchmark goes on where it was; `--pack` makes
benchmarks/search_table.csv.xz of the lines.
"""

import argparse
import csv
import io
import itertools
import json
import lzma
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch

from benchmarks.recall import finished, measure, updates
from seqboat_lab.config import ExperimentConfig
from seqboat_lab.data.generators.recall import vocabulary
from seqboat_lab.nn import LanguageModel
from seqboat_lab.sweep.definition.config import SweepConfig, load_sweep

SWEEP = Path(__file__).with_name("search.yaml")
TABLE = Path(__file__).with_name("search_table.csv.xz")
RESULTS = Path("runs/search_table/results.jsonl")
SEEDS = (1, 2)
LEVELS = {"optim.lr": (1e-3, 3e-3, 1e-2, 3e-2)}
"""Where ranges were measured; anything between counts as the nearest, on the range's own scale."""
COLUMNS = ("seed", "updates", "accuracy", "rate", "seconds")


class Point(NamedTuple):
    """One validation."""

    updates: int
    accuracy: float
    rate: float
    seconds: float
    """CPU seconds since the run began, validations included."""


def factors(sweep: SweepConfig) -> dict[str, Sequence[Any]]:
    """Searched field -> the values that were measured, as Optuna knows them."""
    return {key: parameter.labels if parameter.choices else LEVELS[key] for key, parameter in sweep.space.items()}


def grid(sweep: SweepConfig) -> Iterator[dict[str, Any]]:
    """The parameters of every configuration, the last field changing fastest."""
    fields = factors(sweep)
    for values in itertools.product(*fields.values()):
        yield dict(zip(fields, values, strict=True))


def curve(config: ExperimentConfig) -> list[Point]:
    """One run's validations, the last after its last update."""
    torch.manual_seed(config.seed)
    started, found = time.process_time(), []
    model = LanguageModel(config.model, len(vocabulary(config.data)))
    for done in updates(model, config):
        if done % config.trainer.val_every == 0:
            result = measure(model, config, config.data.val_size)
            seconds = round(time.process_time() - started, 2)
            found.append(Point(done, round(result["accuracy"], 4), round(result["rate"], 4), seconds))
    return found


def run_all(sweep: SweepConfig) -> None:
    """Every run that is not in `RESULTS` yet, all configurations with the first seed before any with the second."""
    RESULTS.parent.mkdir(parents=True, exist_ok=True)
    known = {json.dumps([row["params"], row["seed"]]) for row in finished(RESULTS)}
    for seed in SEEDS:
        for params in grid(sweep):
            if json.dumps([params, seed]) in known:
                continue
            points = curve(sweep.experiment_with({**params, "seed": seed}))
            with RESULTS.open("a") as file:
                file.write(json.dumps({"params": params, "seed": seed, "curve": points}) + "\n")
            print(seed, *params.values(), points[-1], flush=True)


def pack(sweep: SweepConfig) -> None:
    """Writes `TABLE` from `RESULTS`, in the order of the grid: those seeds with which every configuration has run."""
    curves = {json.dumps([row["params"], row["seed"]]): row["curve"] for row in finished(RESULTS)}
    seeds = [seed for seed in SEEDS if all(json.dumps([params, seed]) in curves for params in grid(sweep))]
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow([*factors(sweep), *COLUMNS])
    for params in grid(sweep):
        for seed in seeds:
            for point in curves[json.dumps([params, seed])]:
                rows.writerow([*params.values(), seed, *point])
    TABLE.write_bytes(lzma.compress(text.getvalue().encode(), preset=9))
    print(f"wrote {TABLE} with seeds {seeds}")


def read_table(sweep: SweepConfig, path: Path = TABLE) -> dict[tuple, list[list[Point]]]:
    """Values of the fields, in the sweep's order -> the curve of each seed."""
    fields = factors(sweep)
    as_text = [{str(value): value for value in values} for values in fields.values()]
    curves: dict[tuple, dict[str, list[Point]]] = defaultdict(lambda: defaultdict(list))
    for row in csv.DictReader(io.StringIO(lzma.decompress(path.read_bytes()).decode())):
        key = tuple(known[row[name]] for name, known in zip(fields, as_text, strict=True))
        point = Point(int(row["updates"]), float(row["accuracy"]), float(row["rate"]), float(row["seconds"]))
        curves[key][row["seed"]].append(point)
    return {key: list(seeds.values()) for key, seeds in curves.items()}


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pack", action="store_true", help="write the table from the finished runs, train nothing")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    sweep = load_sweep(SWEEP)
    if not options.pack:
        run_all(sweep)
    pack(sweep)


if __name__ == "__main__":
    main()
