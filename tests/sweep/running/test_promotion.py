"""Stopped trials that go on: which, from where, and how they count."""

import shutil
from pathlib import Path

import optuna
import pytest
from optuna.trial import TrialState

from seqboat_lab.sweep.definition.config import load_sweep
from seqboat_lab.sweep.running.attempt import run_trial
from seqboat_lab.sweep.running.promotion import claim_promoted, promotable
from seqboat_lab.sweep.sampling.seen import as_seen
from seqboat_lab.sweep.study import study as studies
from tests.sweep.fake import replace_runs

HALVING = "stopping: {rule: successive_halving, eta: 2, first: 0.5}\n"
SIZES = "space={model.memory_size: {choices: [2, 4, 8, 6]}}"


@pytest.fixture
def one_objective(tiny_sweep, monkeypatch):
    replace_runs(monkeypatch)

    def make(stopping: str):
        path = tiny_sweep(10, stopping)
        path.write_text(path.read_text().replace(", val/activation_rate: minimize", ""))
        return load_sweep(path, [SIZES])

    return make


@pytest.fixture
def sweep(one_objective):
    return one_objective(HALVING)


@pytest.fixture
def study(sweep):
    """Two trials ran: the first is better and is complete, the second one was stopped at the only rung."""
    study = studies.open_study(sweep)
    lock = studies.WorkerLock(sweep.directory)
    for size in (8, 6):
        add(study, sweep, size, lock)
    assert [t.state.name for t in study.trials] == ["COMPLETE", "PRUNED"]
    return study


def add(study: optuna.Study, sweep, size: int, lock: studies.WorkerLock) -> None:
    study.enqueue_trial({"model.memory_size": size, "model.configurator.temperature_scale": 0.5})
    run_trial(study, sweep, studies.claim(study, sweep, lock), None)


def test_a_trial_that_comes_into_the_best_half_goes_on_where_it_stopped(study, sweep):
    lock = studies.WorkerLock(sweep.directory)
    assert claim_promoted(study, sweep, lock) is None
    add(study, sweep, 2, lock)  # three measured: two of them may go on
    assert [n for n, _ in promotable(study, sweep)] == [1]
    going_on = claim_promoted(study, sweep, lock)
    assert going_on.params["model.memory_size"] == 6
    assert claim_promoted(study, sweep, lock) is None  # not twice
    rows = studies.summary_rows(study, sweep)
    assert [(r["number"], r["state"]) for r in rows] == [(0, "complete"), (1, "running"), (2, "stopped")]
    run_trial(study, sweep, going_on, None)
    trained = Path("runs/sweeps/tiny/trials/0001/trained.txt").read_text().split()
    assert trained == [str(n) for n in range(1, 11)]  # every update once
    rows = studies.summary_rows(study, sweep)
    assert [(r["number"], r["state"], r["step"]) for r in rows] == [
        (0, "complete", 10),
        (1, "complete", 10),
        (2, "stopped", 5),
    ]
    assert sum(map(studies.counts, study.trials)) == 3  # of a budget of 4
    assert studies.claim(study, sweep, lock) is not None
    assert studies.claim(study, sweep, lock) is None


def test_a_trial_lost_while_it_went_on_may_go_on_again(study, sweep):
    lock, live = studies.WorkerLock(sweep.directory), studies.WorkerLock(sweep.directory)
    add(study, sweep, 2, live)
    first = claim_promoted(study, sweep, lock)
    del lock
    assert studies.requeue_lost(study, sweep) == 1
    rows = studies.summary_rows(study, sweep)
    assert [(r["number"], r["state"]) for r in rows] == [(0, "complete"), (1, "stopped"), (2, "stopped")]
    assert not [t for t in study.trials if t.state == TrialState.WAITING]
    again = claim_promoted(study, sweep, live)
    assert again.params == first.params
    assert again.number == first.number + 1


@pytest.mark.parametrize("missing", ["checkpoints", "trial.key"])
def test_a_trial_whose_run_is_not_here_stays_stopped(study, sweep, missing):
    lock = studies.WorkerLock(sweep.directory)
    add(study, sweep, 2, lock)
    gone = Path("runs/sweeps/tiny/trials/0001") / missing
    shutil.rmtree(gone) if gone.is_dir() else gone.unlink()
    assert claim_promoted(study, sweep, lock) is None


def test_samplers_see_one_trial_of_each_candidate(study, sweep):
    assert as_seen(study) is study
    lock = studies.WorkerLock(sweep.directory)
    add(study, sweep, 2, lock)
    run_trial(study, sweep, claim_promoted(study, sweep, lock), None)
    seen = as_seen(study)
    for trials in (seen.trials, seen.get_trials(deepcopy=False), seen._get_trials(deepcopy=False, use_cache=False)):
        assert [(t.params["model.memory_size"], t.state.name) for t in trials] == [
            (8, "COMPLETE"), (2, "PRUNED"), (6, "COMPLETE")]  # fmt: skip
    assert seen.directions == study.directions
    optuna.samplers.TPESampler(seed=0, n_startup_trials=1).sample_relative(seen, study.trials[-1], {})


def test_no_trial_goes_on_by_the_rule_of_dominance(one_objective):
    sweep = one_objective("stopping: {min_trials: 1, dominated_by: 0}\n")
    study, lock = studies.open_study(sweep), studies.WorkerLock(sweep.directory)
    for size in (8, 6, 2):
        add(study, sweep, size, lock)
    assert [t.state.name for t in study.trials] == ["COMPLETE", "PRUNED", "PRUNED"]
    assert promotable(study, sweep) == []
