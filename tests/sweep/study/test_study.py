"""Budgets, identities and lost trials, without running any."""

import subprocess
import sys
from pathlib import Path

import optuna
import pytest
from optuna.trial import TrialState

from seqboat_lab.config import ConfigError
from seqboat_lab.sweep.definition.config import load_sweep
from seqboat_lab.sweep.study import study as studies


@pytest.fixture
def sweep(tiny_sweep):
    return load_sweep(tiny_sweep())


def test_claims_end_with_the_budget_and_do_not_double_when_continued(sweep):
    lock = studies.WorkerLock(sweep.directory)
    study = studies.open_study(sweep)
    trials = [studies.claim(study, sweep, lock) for _ in range(6)]
    assert [t is not None for t in trials] == [True] * 4 + [False] * 2
    again = studies.open_study(sweep)
    assert studies.claim(again, sweep, lock) is None
    assert len(again.trials) == 4


def test_a_race_for_the_last_trial_is_won_by_the_lower_number(sweep, monkeypatch):
    lock = studies.WorkerLock(sweep.directory)
    study = studies.open_study(sweep)
    for _ in range(3):
        studies.claim(study, sweep, lock)
    ask = study.ask

    def late_ask(*args):  # another worker starts the last trial between our count and our ask
        ask(*args)
        return ask(*args)

    monkeypatch.setattr(study, "ask", late_ask)
    assert studies.claim(study, sweep, lock) is None
    rows = studies.summary_rows(study, sweep)
    assert [row["number"] for row in rows] == [0, 1, 2, 3]


def test_a_dead_workers_trial_is_queued_again_with_its_values_and_a_live_ones_is_not(sweep):
    study = studies.open_study(sweep)
    mine = studies.claim(study, sweep, studies.WorkerLock(sweep.directory))
    code = (
        "from seqboat_lab.sweep.study import study as s; from seqboat_lab.sweep.definition.config import load_sweep; import os, signal;"
        "w = load_sweep('tiny.yaml'); s.claim(s.open_study(w), w, s.WorkerLock(w.directory)); os.kill(os.getpid(), signal.SIGKILL)"
    )
    subprocess.run([sys.executable, "-c", code], check=False)
    live = studies.WorkerLock(sweep.directory)
    kept = studies.claim(study, sweep, live)
    lost = study.trials[1]
    assert lost.state == TrialState.RUNNING
    # `mine`'s lock object is gone, so its worker counts as dead as well
    assert studies.requeue_lost(study, sweep) == 2
    assert studies.requeue_lost(study, sweep) == 0
    states = {t.number: t.state for t in study.trials}
    assert states[mine.number] == states[lost.number] == TrialState.FAIL
    assert states[kept.number] == TrialState.RUNNING
    again = [studies.claim(study, sweep, live) for _ in range(4)]
    assert [t.params for t in again[:2]] == [mine.params, lost.params]
    assert sum(t is not None for t in again) == 3  # budget 4, one is running, two were lost


def test_a_study_with_another_space_is_refused(tiny_sweep):
    studies.open_study(load_sweep(tiny_sweep()))
    studies.open_study(load_sweep(tiny_sweep(), ["trials=9", "seed=3"]))  # may change
    with pytest.raises(ConfigError, match=r"study tiny: already holds a search with other space .*name=\.\.\."):
        studies.open_study(load_sweep(tiny_sweep(), ["space.model.memory_size.choices=[2]"]))
    with pytest.raises(ConfigError, match="other objectives"):
        studies.open_study(load_sweep(tiny_sweep(), ["objectives={val/loss: minimize}"]))


def test_a_worker_that_dies_while_it_asks_leaves_a_trial_that_is_queued_again(sweep, monkeypatch):
    study = studies.open_study(sweep)
    lock = studies.WorkerLock(sweep.directory)
    with monkeypatch.context() as patch:
        patch.setattr("optuna.samplers.RandomSampler.sample_independent", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            studies.claim(study, sweep, lock)
    assert [t.state for t in study.trials] == [TrialState.RUNNING]
    del lock  # the kernel frees it
    assert studies.requeue_lost(study, sweep) == 1
    live = studies.WorkerLock(sweep.directory)
    claimed = [studies.claim(study, sweep, live) for _ in range(5)]
    assert sum(t is not None for t in claimed) == 4
    assert all(t.params.keys() == sweep.space.keys() for t in claimed[:4])


def test_a_worker_that_dies_before_it_names_itself_leaves_a_trial_that_is_queued_again(sweep, monkeypatch):
    from seqboat_lab.sweep.running import worker

    study = studies.open_study(sweep)
    study._storage.create_new_trial(study._study_id)
    assert studies.requeue_lost(study, sweep) == 0  # it may be asked for at this moment
    monkeypatch.setattr(worker, "NAMELESS_SECONDS", 1)
    assert worker._requeue_abandoned(study, sweep) == 1
    assert worker._requeue_abandoned(study, sweep) == 0
    live = studies.WorkerLock(sweep.directory)
    assert sum(studies.claim(study, sweep, live) is not None for _ in range(5)) == 4


def test_objectives_in_another_order_are_another_search(tiny_sweep):
    """Optuna knows values and directions by their place only."""
    path = tiny_sweep()
    studies.open_study(load_sweep(path))
    first, second = "val/accuracy: maximize", "val/activation_rate: minimize"
    path.write_text(path.read_text().replace(f"{first}, {second}", f"{second}, {first}"))
    with pytest.raises(ConfigError, match="other objectives"):
        studies.open_study(load_sweep(path))


@pytest.mark.parametrize("sampler", ["tpe", "nsga2", "random"])
def test_what_a_trial_proposes_depends_on_its_number_and_not_on_who_asks(tiny_sweep, sampler):
    def proposals(name: str, workers: int) -> list[dict]:
        sweep = load_sweep(tiny_sweep(), [f"name={name}", f"sampler={sampler}", "trials=15"])
        askers = [studies.open_study(sweep) for _ in range(workers)]
        lock = studies.WorkerLock(sweep.directory)
        for n in range(15):
            trial = studies.claim(askers[n % workers], sweep, lock)
            askers[n % workers].tell(trial, [1 / (n + 1), n % 4])
        return [trial.params for trial in askers[0].trials]

    alone = proposals("alone", 1)
    assert len({tuple(params.items()) for params in alone[:10]}) == 10  # all of them are random still
    assert proposals("together", 3) == alone


def test_any_optuna_storage_url_serves(tiny_sweep, tmp_path):
    sweep = load_sweep(tiny_sweep(), [f"storage=sqlite:///{tmp_path}/study.db"])
    study = studies.open_study(sweep)
    assert studies.claim(study, sweep, studies.WorkerLock(sweep.directory)) is not None
    assert len(optuna.load_study(study_name="tiny", storage=f"sqlite:///{tmp_path}/study.db").trials) == 1
    with pytest.raises(ConfigError, match=r"storage: nonsense://x cannot be opened"):
        studies.open_study(load_sweep(tiny_sweep(), ["storage=nonsense://x", "name=other"]))
    assert not Path("runs/sweeps/other").exists()


def test_a_directory_that_cannot_be_made_is_one_clear_line(tiny_sweep):
    Path("runs").mkdir()
    Path("runs/sweeps").write_text("")
    with pytest.raises(ConfigError, match=r"runs/sweeps/tiny: cannot hold a sweep \(Not a directory\)"):
        studies.open_study(load_sweep(tiny_sweep()))
