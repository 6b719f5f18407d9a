"""A grid goes through its product once, and start points come first, whoever asks and whoever dies."""

import itertools
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from optuna.trial import TrialState

from seqboat_lab.cli import main
from seqboat_lab.sweep.definition.config import load_sweep
from seqboat_lab.sweep.definition.search_space import SearchSpace
from seqboat_lab.sweep.study import study as studies
from seqboat_lab.sweep.study.study import WorkerLock, claim, open_study, requeue_lost
from tests.sweep.definition.test_config import sweep_file

SPACE = (
    "{model.memory_size: {low: 8, high: 24, step: 8}, model.ssm.kernel: {choices: [ema, s4d]}, "
    "optim.lr: {low: 0.1, high: 0.3, step: 0.1, when: {model.ssm.kernel: s4d}}, seed: {choices: [0, 1]}}"
)
CELLS = [
    {"model.memory_size": memory, "model.ssm.kernel": kernel, "seed": seed} | ({"optim.lr": lr} if lr else {})
    for memory, (kernel, lr), seed in itertools.product(
        (8, 16, 24), (("ema", None), ("s4d", 0.1), ("s4d", 0.2), ("s4d", 0.3)), (0, 1)
    )
]


@pytest.fixture
def grid(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return load_sweep(sweep_file(tmp_path, space=SPACE, sampler="grid"))


def done(study) -> list[dict]:
    return [trial.params for trial in study.trials if trial.state == TrialState.COMPLETE]


def check(study) -> None:
    """Every cell is there, and each once."""
    assert len(done(study)) == len(CELLS)
    assert all(cell in done(study) for cell in CELLS)


def test_a_grid_is_gone_through_once_in_the_order_of_the_file_and_its_budget_is_its_size(grid):
    assert grid.trials == len(CELLS) == 24
    study, lock = open_study(grid), WorkerLock(grid.directory)
    while trial := claim(study, grid, lock):
        study.tell(trial, 0.5)
    assert done(study) == CELLS


@pytest.mark.parametrize("seed", [0, *(pytest.param(n, marks=pytest.mark.slow) for n in range(1, 6))])
def test_a_grid_is_gone_through_once_by_several_workers_that_die_at_any_moment(grid, monkeypatch, seed):
    """They die while they ask, while they run, and between ending a lost trial and queueing it again."""
    draw, locks = random.Random(seed), [WorkerLock(grid.directory) for _ in range(3)]
    running = {}
    suggest, enqueue = SearchSpace.suggest, None

    def dying(self, trial):
        for key, distribution in list(self.distributions.items())[: draw.randrange(3)]:
            trial._suggest(key, distribution)
        raise KeyboardInterrupt

    for _ in range(250):
        study, worker = open_study(grid), draw.randrange(3)  # each in a process of its own
        enqueue = type(study).enqueue_trial
        event = draw.choice(["work", "work", "work", "die asking", "die running", "die requeueing"])
        if worker in running:
            if event == "die running":
                running.pop(worker)
                locks[worker] = WorkerLock(grid.directory)  # the old one's file is free now
                assert requeue_lost(study, grid) >= 1
            elif event == "die requeueing":
                running.pop(worker)
                locks[worker] = WorkerLock(grid.directory)
                monkeypatch.setattr(type(study), "enqueue_trial", lambda *_, **__: 1 / 0)
                with pytest.raises(ZeroDivisionError):
                    requeue_lost(study, grid)
                monkeypatch.setattr(type(study), "enqueue_trial", enqueue)
            elif event == "work":
                study.tell(running.pop(worker), 0.5)
        elif event == "die asking":
            monkeypatch.setattr(SearchSpace, "suggest", dying)
            if sum(map(studies.counts, study.trials)) < grid.trials:
                with pytest.raises(KeyboardInterrupt):
                    claim(study, grid, locks[worker])
            monkeypatch.setattr(SearchSpace, "suggest", suggest)
            locks[worker] = WorkerLock(grid.directory)
            if draw.random() < 0.5:  # or it is noticed later
                requeue_lost(study, grid)
        elif event == "work" and (trial := claim(study, grid, locks[worker])):
            running[worker] = trial.number
    study = open_study(grid)
    for number in running.values():
        study.tell(number, 0.5)
    requeue_lost(study, grid)
    while trial := claim(study, grid, locks[0]):
        study.tell(trial, 0.5)
    check(study)


WORKER = """
import random, sys, time
from seqboat_lab.sweep.study.study import WorkerLock, claim, open_study, requeue_lost
from seqboat_lab.sweep.definition.config import load_sweep
sweep = load_sweep("mine.yaml")
study, lock = open_study(sweep), WorkerLock(sweep.directory)
print("started", flush=True)
while True:
    requeue_lost(study, sweep)
    if (trial := claim(study, sweep, lock)) is None:
        break
    time.sleep(random.uniform(0, 0.05))
    study.tell(trial, 0.5)
"""


@pytest.mark.slow
def test_a_grid_is_gone_through_once_by_processes_that_are_killed(grid):
    draw = random.Random(0)

    def start():
        process = subprocess.Popen([sys.executable, "-c", WORKER], stdout=subprocess.PIPE, text=True)
        process.stdout.readline()
        return process

    for _ in range(8):
        processes = [start() for _ in range(2)]
        time.sleep(draw.uniform(0, 0.3))
        for process in processes:
            os.kill(process.pid, signal.SIGKILL)
            process.wait()
    assert len(done(open_study(grid))) < len(CELLS)
    processes = [start() for _ in range(3)]
    assert [process.wait(120) for process in processes] == [0, 0, 0]
    check(open_study(grid))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"trials": "20"}, "trials: 20 is not the size of the grid; expected 24, or leave it out"),
        ({"trials": "30"}, "trials: 30 is not the size of the grid; expected 24, or leave it out"),
        ({"space": "{optim.lr: {low: 0.1, high: 1}}"}, "space.optim.lr: has no end of values; a grid needs choices, or a step"),
        ({"space": "{seed: {low: 0, high: 100000}}"}, "space: is a grid of more than 100,000 configurations; make it smaller"),
        ({"start": "[{seed: 5}]"}, "start.0.seed: 5 is outside the space; expected one of 0, 1"),
    ],
)  # fmt: skip
def test_a_grid_beyond_the_budget_is_one_line_before_the_first_trial(tmp_path, monkeypatch, capsys, changes, message):
    monkeypatch.chdir(tmp_path)
    assert main(["sweep", str(sweep_file(tmp_path, **{"space": SPACE, "sampler": "grid"} | changes))]) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"seqboat: {message}")
    assert error.count("\n") == 1
    assert not Path("runs").exists()


def test_start_points_of_a_grid_are_its_first_cells(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    start = "[{model: {ssm.kernel: s4d, memory_size: 16}, optim.lr: 0.3, seed: 1}, {seed: 1}]"
    sweep = load_sweep(sweep_file(tmp_path, space=SPACE, sampler="grid", start=start))
    study, lock = open_study(sweep), WorkerLock(sweep.directory)
    while trial := claim(study, sweep, lock):
        study.tell(trial, 0.5)
    check(study)
    first = {"model.ssm.kernel": "s4d", "model.memory_size": 16, "optim.lr": 0.3, "seed": 1}
    assert done(study)[0] == first
    assert done(study)[1:12] == [cell for cell in CELLS if cell["seed"] == 1 and cell != first]
