"""Sweeps over kinds of layers (sweeps/baselines_*.yaml) as tidy rows, and each mixer at its best learning rate."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from seqboat_lab.analysis.cost import flops_of
from seqboat_lab.analysis.pareto import completed, front_of
from seqboat_lab.analysis.statistics import Estimate, estimate
from seqboat_lab.analysis.sweeps import Sweep, find_run, read_sweep
from seqboat_lab.config.checks import ConfigError
from seqboat_lab.config.files import read_yaml
from seqboat_lab.training.model import make_datamodule
from seqboat_lab.training.run_config import run_config

MODEL, RATE, SEED = "model", "optim.lr", "seed"
"""The fields that such a sweep searches: whole models, their learning rate, the run's seed."""
FLOPS = "cost/flops_per_token"
FRONT = "seqboat, searched"
"""The mixer's name in rows that are another sweep's front."""

Row = Mapping[str, Any]


def tidy(directory: Path) -> list[dict[str, Any]]:
    """One row a trial of a sweep over models: mixer, width, lr, seed, state, quality, and what it cost.

    Raises `ConfigError` if there is no sweep, or one that searched other fields.
    """
    sweep = read_sweep(directory)
    if missing := [field for field in (MODEL, RATE, SEED) if field not in sweep.searched]:
        raise ConfigError(str(directory), f"is no sweep over mixers: it did not search {', '.join(missing)}")
    ended = [row for row in sweep.rows if row["state"] in ("complete", "failed")]
    return [_tidy(sweep, row) | _training(sweep, row) for row in ended]


def tidy_front(directory: Path) -> list[dict[str, Any]]:
    """The front of quality (the sweep's first objective) and FLOPs of a finished sweep over SeqBoat's own fields, in
    rows of the same columns."""
    sweep = read_sweep(directory)
    metric, direction = next(iter(sweep.objectives.items()))
    rows = front_of(sweep.rows, {metric: direction, FLOPS: "minimize"})
    return [{**_tidy(sweep, row), "mixer": FRONT} for row in rows]


def _tidy(sweep: Sweep, row: Row) -> dict[str, Any]:
    metric, direction = next(iter(sweep.objectives.items()))
    model = json.loads(row[MODEL]) if MODEL in sweep.searched else {}
    return {
        "task": read_yaml(sweep.directory / "sweep.yaml").get("experiment"),
        "mixer": "+".join(model.get("blocks") or [model.get("kind", "seqboat")]),
        "model": model,
        "lr": row.get(RATE),
        "seed": row.get(SEED),
        "state": row["state"],
        "metric": metric,
        "direction": direction,
        "quality": row.get(metric) if row["state"] == "complete" else None,
        "activation_rate": row.get("val/activation_rate"),
        "parameters": row.get("cost/parameters"),
        "forward_flops": row.get(FLOPS),
        "seconds": row.get("cost/seconds"),
        "steps": row.get("step"),
    }


def _training(sweep: Sweep, row: Row) -> dict[str, Any]:
    """What a training step costs at the rates that the run ended with, if its directory is there."""
    run = find_run(sweep.directory, row.get("run"))
    if row["state"] != "complete" or run is None:
        return {"training_flops": None}
    config = run_config(run)
    rates = [row[f"val/activation_rate/layer_{i}"] for i in range(config.model.activating_layers)]
    return {"training_flops": flops_of(config, make_datamodule(config), rates, training=True)}


class Best(NamedTuple):
    """A mixer at the learning rate where its mean over seeds is best, as validated."""

    mixer: str
    lr: float
    quality: Estimate
    seconds: Estimate
    forward_flops: float
    """Mean over seeds, per token."""
    training_flops: float | None
    parameters: int
    activation_rate: float | None
    width: int | None
    """None = as the experiment says."""
    failed: int
    """Runs of the mixer that failed, at any learning rate."""
    by_rate: dict[float, Estimate]
    """Quality at each learning rate."""


def best_of_each(rows: Sequence[Row]) -> list[Best]:
    """Every mixer of the sweep, best first. A learning rate at which a run failed is taken only where all have such."""
    mixers = dict.fromkeys(row["mixer"] for row in rows if row["mixer"] != FRONT)
    found = [_best([row for row in rows if row["mixer"] == mixer]) for mixer in mixers]
    known = [best for best in found if best is not None]
    up = rows[0]["direction"] == "maximize" if rows else True
    return sorted(known, key=lambda best: -best.quality.mean if up else best.quality.mean)


def _best(rows: Sequence[Row]) -> Best | None:
    good = completed(rows, {"quality": "", "forward_flops": ""})
    by_rate: dict[float, list[Row]] = {}
    for row in good:
        by_rate.setdefault(row["lr"], []).append(row)
    if not by_rate:
        return None
    means = {lr: estimate([row["quality"] for row in group]) for lr, group in sorted(by_rate.items())}
    sign = 1 if rows[0]["direction"] == "maximize" else -1
    lr = max(means, key=lambda each: (means[each].runs, sign * means[each].mean))
    chosen = by_rate[lr]

    def mean(name: str) -> float | None:
        values = [row[name] for row in chosen]
        return None if None in values else sum(values) / len(values)

    return Best(
        rows[0]["mixer"], lr, means[lr], estimate([row["seconds"] for row in chosen]), mean("forward_flops") or 0.0,
        mean("training_flops"), chosen[0]["parameters"], mean("activation_rate"), rows[0]["model"].get("d_model"),
        sum(row["state"] == "failed" for row in rows), means,
    )  # fmt: skip
