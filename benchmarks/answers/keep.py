"""What finished sweeps of a question found, packed into docs/answers/<question>."""

import json
from pathlib import Path
from typing import Any

import pandas as pd

from benchmarks.answers.extras import EXTRAS, Runs
from benchmarks.measure import machine
from seqboat_lab.analysis import tables
from seqboat_lab.analysis.sweeps import find_run
from seqboat_lab.atomic import write_text
from seqboat_lab.config.checks import ConfigError
from seqboat_lab.config.files import read_yaml
from seqboat_lab.sweep.definition.config import SWEEP_DIR, SWEEP_ROOT, parse_sweep
from seqboat_lab.sweep.definition.variants import tasks_of
from seqboat_lab.training.results import read_summary

DOCS = Path("docs") / "answers"
DROPPED = ["run", "worker", "started", "error", "cost/seconds"]
CURVE_OF = ("step", "val/", "temperature/")


def sweeps_of(question: str, scale: str | None = None) -> dict[str, Path]:
    """Task -> directory of its sweep."""
    tasks = tasks_of(read_yaml(SWEEP_DIR / "answers" / f"{question}.yaml")) or [""]
    ending = f"_{scale}" if scale else ""
    return {task or question: SWEEP_ROOT / f"{question}{f'_{task}' if task else ''}{ending}" for task in tasks}


def keep(question: str, scale: str | None = None) -> Path:
    """Writes runs.csv.gz, curves.csv.gz, the question's own tables and made.json; returns their directory. Raises
    `ConfigError` if a sweep of the question is missing."""
    runs, curves, tasks, seconds, versions = [], [], {}, 0.0, set()
    directories: Runs = []
    for task, directory in sweeps_of(question, scale).items():
        trials, sweep = tables.trials(directory), parse_sweep(directory / "sweep.yaml")
        trials = trials[trials["state"] == "complete"]  # a trial that was cut off was queued again, under a new number
        if len(trials) < sweep.trials:
            missing = f"{sweep.trials - len(trials)} of {sweep.trials} runs did not finish"
            raise ConfigError(str(directory), f"{missing}; run the sweep again, or see its report for what failed")
        runs.append(trials.drop(columns=[c for c in DROPPED if c in trials]).assign(task=task))
        for row in trials.to_dict("records"):
            run = _run_of(directory, row)
            curves.append(_curve(run).assign(task=task, number=row["number"]))
            versions.add(read_summary(run)["code_version"])
            directories.append((task, row["number"], run))
        seconds += float(trials["cost/seconds"].sum())
        metric, direction = next(iter(sweep.objectives.items()))
        tasks[task] = {"experiment": sweep.experiment, "metric": metric, "direction": direction,
                       "updates": int(trials["step"].max())}  # fmt: skip
    out = DOCS / (f"{question}_{scale}" if scale else question)
    frame = pd.concat(runs, ignore_index=True)
    write_table(frame, out / "runs.csv.gz")
    write_table(pd.concat(curves, ignore_index=True), out / "curves.csv.gz")
    for name, table in EXTRAS[question](directories).items() if question in EXTRAS else ():
        write_table(table, out / f"{name}.csv.gz")
    seeds = sorted({int(seed) for seed in frame["seed"]})
    command = f"make answer Q={question}" + (f" ARGS='--scale {scale}'" if scale else "")
    made = {"command": command, "machine": machine(), "code": ", ".join(sorted(versions)),
            "seeds": seeds, "runs": len(frame), "seconds": round(seconds), "tasks": tasks}  # fmt: skip
    write_text(out / "made.json", json.dumps(made, indent=1) + "\n")
    return out


def write_table(table: pd.DataFrame, path: Path) -> None:
    """The same table gives the same bytes; numbers have six digits."""
    path.parent.mkdir(parents=True, exist_ok=True)
    packing: Any = {"method": "gzip", "mtime": 0}
    table.to_csv(path, index=False, float_format="%.6g", compression=packing)


def _run_of(directory: Path, trial: dict[str, Any]) -> Path:
    run = find_run(directory, trial["run"])
    if run is None:
        raise ConfigError(str(directory), f"has no directory of trial {trial['number']}; run the sweep again")
    return run


def _curve(run: Path) -> pd.DataFrame:
    """A run's validations, with the temperatures that were logged last before each."""
    curve = tables.curves(run)
    curve = curve[[c for c in curve if c.startswith(CURVE_OF)]]
    logged = pd.read_csv(run / "metrics.csv")
    temperatures = [c for c in logged if c.startswith("temperature/")]
    if temperatures:
        logged = logged.dropna(subset=temperatures)[["step", *temperatures]]
        curve = pd.merge_asof(curve.sort_values("step"), logged.sort_values("step"), on="step")
    return curve
