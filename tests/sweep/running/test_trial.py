"""Trials that hang, that end badly, and directories that another study left."""

import json
import os
import signal
import time
from pathlib import Path

import pytest
from optuna.trial import TrialState

from seqboat_lab.sweep.definition.config import load_sweep
from seqboat_lab.sweep.running import trial as trials
from seqboat_lab.sweep.running.worker import run_trial
from seqboat_lab.sweep.study import study as studies


def _hang(config: str, run_dir: str) -> None:
    """As if stuck in C: no signal but SIGKILL ends it. Its rank outlives it."""
    os.setpgrp()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)
    if (rank := os.fork()) == 0:
        time.sleep(600)
    Path(run_dir, "pids").write_text(f"{os.getpid()} {rank}")
    time.sleep(600)


def _finish(config: str, run_dir: str) -> None:
    metrics = {"step": 10, "val/accuracy": 0.75, "val/activation_rate": 0.5, "val/loss": float("nan")}
    Path(run_dir, "summary.json").write_text(json.dumps({"metrics": metrics}))


def _diverge(config: str, run_dir: str) -> None:
    Path(run_dir, "validations.jsonl").write_text('{"step": 5, "val/accuracy": null, "val/activation_rate": 0.5}\n')


def _end_with_nan(config: str, run_dir: str) -> None:
    Path(run_dir, "summary.json").write_text('{"metrics": {"val/accuracy": NaN, "val/activation_rate": 0.5}}')


def _end_with_nothing(config: str, run_dir: str) -> None:
    Path(run_dir, "validations.jsonl").write_text('[1]\n{"step"\n\n')
    Path(run_dir, "summary.json").write_text('{"metrics"')


def _no_space(config: str, run_dir: str) -> None:
    Path(run_dir, "log.txt").write_text("Traceback\nOSError: [Errno 28] No space left on device\n")
    raise SystemExit(1)


@pytest.fixture
def run_one(tiny_sweep, monkeypatch):
    """Runs the next trial with another function in the place of its run."""

    def run(target, *overrides: str):
        sweep = load_sweep(tiny_sweep(), overrides)
        study = studies.open_study(sweep)
        monkeypatch.setattr(trials, "_run", target)
        trial = studies.claim(study, sweep, studies.WorkerLock(sweep.directory))
        run_trial(study, sweep, trial, None)
        return study.trials[-1]

    return run


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.slow
def test_a_trial_that_hangs_is_killed_with_its_ranks_and_the_next_one_runs(run_one, monkeypatch):
    monkeypatch.setattr(trials, "PATIENCE", 0.5)
    found = run_one(_hang, "trial_timeout=5")
    assert found.state == TrialState.FAIL
    assert found.user_attrs["error"] == "took longer than trial_timeout = 5 s, before its first validation"
    pids = [int(pid) for pid in Path(found.user_attrs["run"], "pids").read_text().split()]
    assert len(pids) == 2
    deadline = time.monotonic() + 10
    while any(map(is_running, pids)):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert run_one(_finish, "trial_timeout=60").values == [0.75, 0.5]


@pytest.mark.parametrize(
    ("target", "error"),
    [
        (_diverge, "diverged: at step 5 {'val/accuracy': None, 'val/activation_rate': 0.5}"),
        (_end_with_nan, "diverged: at its end {'val/accuracy': nan, 'val/activation_rate': 0.5}"),
        (_end_with_nothing, "the experiment does not report val/accuracy, val/activation_rate"),
    ],
)
def test_a_trial_without_finite_objectives_fails_with_the_reason(run_one, target, error):
    found = run_one(target)
    assert (found.state, found.user_attrs["error"]) == (TrialState.FAIL, error)
    journal = Path("runs/sweeps/tiny/study.journal").read_text()
    for line in journal.splitlines():
        json.loads(line, parse_constant=pytest.fail)


def test_what_a_study_keeps_of_a_trial_is_json(run_one):
    found = run_one(_finish)
    assert found.user_attrs["row"] == {"step": 10, "val/accuracy": 0.75, "val/activation_rate": 0.5}
    for line in Path("runs/sweeps/tiny/study.journal").read_text().splitlines():
        json.loads(line, parse_constant=pytest.fail)


def test_a_trial_that_found_the_disk_full_is_queued_again_and_ends_its_worker(run_one, tiny_sweep):
    with pytest.raises(OSError, match="No space left on device: 'runs/sweeps/tiny/trials/0000'"):
        run_one(_no_space)
    sweep = load_sweep(tiny_sweep())
    study = studies.open_study(sweep)
    assert [row["state"] for row in studies.summary_rows(study, sweep)] == ["requeued", "waiting"]
    again = studies.claim(study, sweep, studies.WorkerLock(sweep.directory))
    assert again.params == study.trials[0].params


def old_run(number: int) -> Path:
    """The run of a study whose journal was deleted."""
    run = Path(f"runs/sweeps/tiny/trials/{number:04d}")
    run.mkdir(parents=True)
    old = {"step": 5, "val/accuracy": 0.99, "val/activation_rate": 0.01}
    (run / "validations.jsonl").write_text(json.dumps(old) + "\n")
    (run / "summary.json").write_text(json.dumps({"metrics": old}))
    return run


def test_an_old_runs_files_never_pass_for_a_trials_own(run_one, capsys):
    old_run(0)
    found = run_one(_finish)
    assert found.values == [0.75, 0.5]
    assert "measured" not in found.user_attrs
    assert "runs/sweeps/tiny/trials/0000 held a run of another study; it is set aside" in capsys.readouterr().out
    aside = Path("runs/sweeps/tiny/trials-of-another-study-1/0000")
    assert json.loads((aside / "summary.json").read_text())["metrics"]["val/accuracy"] == 0.99


def test_runs_that_the_study_did_not_make_are_set_aside_and_its_own_stay(run_one, tiny_sweep):
    mine = run_one(_finish)
    Path(mine.user_attrs["run"]).rename("kept")
    old_run(0)
    old_run(7)
    Path("runs/sweeps/tiny/trials/notes").mkdir()
    sweep = load_sweep(tiny_sweep())
    study = studies.open_study(sweep)
    first = Path("runs/sweeps/tiny/trials-of-another-study-1")
    assert studies.set_strangers_aside(study, sweep) == [(first, 2)]
    assert {p.name for p in first.iterdir()} == {"0000", "0007"}
    Path("kept").rename(mine.user_attrs["run"])
    assert studies.set_strangers_aside(study, sweep) == []
    assert {p.name for p in Path("runs/sweeps/tiny/trials").iterdir()} == {"0000", "notes"}


def test_a_trial_whose_directory_cannot_be_made_is_one_line(run_one):
    from seqboat_lab.config.checks import UserError
    from seqboat_lab.sweep.study.storage import errors_in_one_line

    Path("runs/sweeps/tiny").mkdir(parents=True)
    Path("runs/sweeps/tiny/trials").write_text("")
    with (
        pytest.raises(UserError, match="runs/sweeps/tiny/trials: File exists") as caught,
        errors_in_one_line(Path("x")),
    ):
        run_one(_finish)
    assert "\n" not in str(caught.value)
