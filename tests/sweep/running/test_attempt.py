"""Candidates with several seeds: what is kept of them, and which get no second one."""

import json
from pathlib import Path

import pytest
from optuna.trial import TrialState

from seqboat_lab.sweep.definition.config import load_sweep
from seqboat_lab.sweep.running.attempt import run_trial
from seqboat_lab.sweep.study import study as studies
from tests.sweep import fake

SIZES = "space={model.memory_size: {choices: [2, 4, 8, 6]}}"


@pytest.fixture
def run(tiny_sweep, monkeypatch):
    """Runs a candidate with so much memory, three seeds each."""
    fake.replace_runs(monkeypatch)
    sweep = load_sweep(tiny_sweep(10), [SIZES, "seeds=3"])
    study = studies.open_study(sweep)
    lock = studies.WorkerLock(sweep.directory)

    def run(size: int):
        study.enqueue_trial({"model.memory_size": size, "model.configurator.temperature_scale": 0.5})
        run_trial(study, sweep, studies.claim(study, sweep, lock), None)
        return studies.summary_rows(study, sweep)[-1]

    run.study = study
    return run


def test_objectives_are_means_and_their_errors_are_columns(run, monkeypatch):
    given = {1: 0.1, 2: 0.2, 3: 0.6}
    monkeypatch.setattr(fake, "accuracy", lambda config, *_: given[config.seed])
    row = run(4)
    assert row["val/accuracy"] == pytest.approx(0.3)
    assert row["val/accuracy_se"] == pytest.approx(0.15275252316519466)  # sd 0.2645751 over sqrt(3)
    assert (row["val/activation_rate"], row["val/activation_rate_se"]) == (0.4, 0)
    assert (row["seeds"], row["state"], row["step"]) == (3, "complete", 10)
    assert run.study.trials[0].values == pytest.approx([0.3, 0.4])
    assert run.study.trials[0].user_attrs["by_seed"] == [[0.1, 0.4], [0.2, 0.4], [0.6, 0.4]]
    for place, seed in (("", 1), ("seed-2", 2), ("seed-3", 3)):
        summary = json.loads((Path(row["run"]) / place / "summary.json").read_text())
        assert summary["metrics"]["val/accuracy"] == given[seed]


def test_a_hopeless_candidate_gets_no_second_seed(run):
    for size in (4, 6):  # so that the noise is known: two candidates, two degrees of freedom each
        assert run(size)["seeds"] == 3
    fair = run(8)
    assert fair["seeds"] == 3
    fake_accuracy = fake.accuracy
    fake.accuracy = lambda config, *rest: fake_accuracy(config, *rest) - 0.5  # far below all, at the highest rate
    try:
        row = run(8)
    finally:
        fake.accuracy = fake_accuracy
    assert (row["seeds"], row["state"]) == (1, "complete")
    assert "val/accuracy_se" not in row
    assert not (Path(row["run"]) / "seed-2").exists()


def test_a_candidate_that_fails_with_another_seed_fails(run, monkeypatch):
    monkeypatch.setattr(fake, "accuracy", lambda config, *_: float("nan") if config.seed == 2 else 0.5)
    run(4)
    (trial,) = run.study.trials
    assert trial.state == TrialState.FAIL
    assert trial.user_attrs["error"].startswith("with seed 2: diverged: at step 5 ")


def test_a_single_seed_leaves_no_columns_of_errors(tiny_sweep, monkeypatch):
    fake.replace_runs(monkeypatch)
    sweep = load_sweep(tiny_sweep(10), [SIZES])
    study = studies.open_study(sweep)
    run_trial(study, sweep, studies.claim(study, sweep, studies.WorkerLock(sweep.directory)), None)
    (row,) = studies.summary_rows(study, sweep)
    assert not {"seeds", "val/accuracy_se"} & row.keys()
