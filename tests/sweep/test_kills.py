"""A sweep that is killed at any moment ends, by the same command, as one that was not."""

import csv
import json
import os
import random
import signal
import subprocess
import time
from pathlib import Path

import pytest

from tests.sweep.running.test_run import CLI, children, descendants

SWEEP = Path("runs/sweeps/tiny")
KILLS, TRIALS, SECONDS = 20, 12, 14


def start() -> subprocess.Popen:
    command = [*CLI, "sweep", "tiny.yaml", "--workers", "2", f"trials={TRIALS}"]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def kill(pids: list[int]) -> None:
    for pid in pids:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue


@pytest.mark.slow
def test_killed_at_twenty_moments_budget_and_trials_end_as_without(tiny_sweep):
    tiny_sweep(steps=20)
    draw = random.Random(0)
    for n in range(KILLS):
        process = start()
        time.sleep(draw.uniform(0, SECONDS))
        if process.poll() is None:
            workers = children(process.pid)
            everything = [process.pid, *descendants(process.pid)]
            victims = {"parent": [process.pid], "worker": workers[:1], "all": everything}[
                ("all", "parent", "worker")[n % 3]
            ]
            kill(victims)
            if n % 3 == 2:  # the sweep goes on without one worker, and is killed a little later
                time.sleep(1)
                kill([process.pid])
        process.communicate()
    process = start()
    output, _ = process.communicate(timeout=600)
    assert process.returncode == 0, output + "".join(log.read_text() for log in SWEEP.glob("workers/*.log"))

    with (SWEEP / "trials.csv").open() as file:
        rows = list(csv.DictReader(file))
    complete = [row for row in rows if row["state"] == "complete"]
    assert len(complete) == TRIALS
    assert {row["state"] for row in rows} <= {"complete", "requeued"}
    assert [int(row["number"]) for row in rows] == sorted({int(row["number"]) for row in rows})
    for row in complete:  # each is one whole run of its own
        run = Path(row["run"])
        curve = [json.loads(line) for line in (run / "validations.jsonl").read_text().splitlines()]
        assert [point["step"] for point in curve] == [5, 10, 15, 20]
        summary = json.loads((run / "summary.json").read_text())
        assert float(row["val/accuracy"]) == summary["metrics"]["val/accuracy"] == curve[-1]["val/accuracy"]
    key = "model.configurator.temperature_scale"
    done = [row[key] for row in complete]
    assert len(set(done)) == TRIALS  # nothing was run twice, and nothing that was begun is missing
    for row in rows:
        assert row["state"] == "complete" or not row[key] or done.count(row[key]) == 1
    assert not list(SWEEP.glob("trials-of-another-study*"))


STAGES = """\
stopping: {rule: successive_halving, eta: 2, first: 0.25}
seeds: 2
references: {never: {model.configurator: never}}
confirm: {seeds: 2}
"""
PHASES = {
    "references": lambda: len(list(SWEEP.glob("references/*/validations.jsonl"))),
    "search": lambda: len(list(SWEEP.glob("trials/*/validations.jsonl"))),
    "seeds": lambda: len(list(SWEEP.glob("trials/*/seed-*/validations.jsonl"))),
    "promotion": lambda: (SWEEP / "study.journal").read_text().count('"continues"') if SWEEP.exists() else 0,
    "confirmation": lambda: len(list(SWEEP.glob("confirm/*/validations.jsonl"))),
}


@pytest.mark.slow
def test_killed_in_every_phase_nothing_counts_twice(tiny_sweep):
    tiny_sweep(steps=20, extra=STAGES)
    struck = set()
    for phase, count in PHASES.items():
        for victims in ("worker", "parent", "all"):
            before, process = count(), start()
            while process.poll() is None and count() == before:
                time.sleep(0.05)
            if process.poll() is None:
                struck.add(phase)
                workers = children(process.pid)
                everything = [process.pid, *descendants(process.pid)]
                kill({"parent": [process.pid], "worker": workers[:1], "all": everything}[victims])
                if victims == "worker":
                    time.sleep(0.5)
                    kill([process.pid])
            process.communicate()
    assert struck >= {"references", "search", "seeds"}  # the others may have come and gone meanwhile
    process = start()
    output, _ = process.communicate(timeout=600)
    assert process.returncode == 0, output + "".join(log.read_text() for log in SWEEP.glob("workers/*.log"))

    with (SWEEP / "trials.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["state"] != "requeued"]
    assert len(rows) == TRIALS
    assert {row["state"] for row in rows} == {"complete", "stopped"}
    assert len({row["model.configurator.temperature_scale"] for row in rows}) == TRIALS
    for row in rows:
        assert steps(row["run"])[: int(row["step"]) // 5] == list(range(5, int(row["step"]) + 1, 5))
        if row["state"] == "complete":
            assert steps(row["run"]) == [5, 10, 15, 20]
            assert row["seeds"] == "1" or steps(f"{row['run']}/seed-2") == [5, 10, 15, 20]
    references = json.loads((SWEEP / "references.json").read_text())
    assert [found["seed"] for found in references] == [1, 2]
    confirmed = json.loads((SWEEP / "confirm.json").read_text())
    runs = confirmed["runs"] + references + confirmed["references"]
    assert all(steps(found["run"]) == [5, 10, 15, 20] for found in runs)
    by_trial = [found["trial"] for found in confirmed["runs"]]
    assert all(by_trial.count(trial) == 2 for trial in by_trial)
    assert len({(found["trial"], found["seed"]) for found in confirmed["runs"]}) == len(by_trial)
    assert not list(SWEEP.glob("*-of-another-study*"))


def steps(run: str) -> list[int]:
    return [json.loads(line)["step"] for line in (Path(run) / "validations.jsonl").read_text().splitlines()]


@pytest.mark.slow
def test_a_stopped_trial_that_went_on_ends_as_one_that_never_stopped(tiny_sweep):
    tiny_sweep(steps=40, extra="stopping: {rule: successive_halving, eta: 2, first: 0.25}\n")
    process = start()
    output, _ = process.communicate(timeout=600)
    assert process.returncode == 0, output
    records = [json.loads(line) for line in (SWEEP / "study.journal").read_text().splitlines()]
    went_on = {r["user_attrs"]["continues"] for r in records if "continues" in r.get("user_attrs", {})}
    summaries = {n: SWEEP / f"trials/{n:04d}/summary.json" for n in went_on}
    complete = [n for n, path in summaries.items() if path.exists()]
    assert complete
    run = SWEEP / f"trials/{complete[0]:04d}"
    command = [*CLI, "fit", str(run / "config.yaml"), "--run-dir", "whole"]
    subprocess.run(command, check=True, capture_output=True, timeout=120)
    whole, resumed = (json.loads((d / "summary.json").read_text())["metrics"] for d in (Path("whole"), run))
    drop = {"cost/seconds"}
    assert {k: v for k, v in resumed.items() if k not in drop} == {k: v for k, v in whole.items() if k not in drop}
