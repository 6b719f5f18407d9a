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

from tests.sweep.test_run import CLI, children, descendants

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
