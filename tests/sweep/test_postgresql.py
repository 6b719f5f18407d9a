"""Workers in directories of their own that share nothing but a PostgreSQL: killed, and the database with them."""

import csv
import multiprocessing as mp
import os
import random
import signal
import tempfile
import time
from collections import Counter
from pathlib import Path

import pytest
from optuna.trial import TrialState

from seqboat_lab.cli import main
from seqboat_lab.sweep.definition.config import SweepConfig, load_sweep
from seqboat_lab.sweep.running import worker
from seqboat_lab.sweep.study import patient
from seqboat_lab.sweep.study import study as studies
from seqboat_lab.sweep.study.definition import join_sweep
from tests.sweep import fake
from tests.sweep.postgresql import QUOTED, Server, programs

pytestmark = [
    pytest.mark.postgresql,
    pytest.mark.skipif(programs() is None, reason="there is no PostgreSQL on this machine"),
]
TRIALS, WORKERS = 24, 4
SPACE = "space.model.memory_size=null"


@pytest.fixture(scope="module")
def server():
    with tempfile.TemporaryDirectory() as directory:  # not pytest's, which only its own user can enter
        Path(directory).chmod(0o755)
        started = Server(Path(directory) / "postgresql")
        yield started
        started.stop()


@pytest.fixture
def quick(monkeypatch):
    """Runs of 40 ms, and a worker is dead after 4 s without a sign of life."""
    fake.replace_runs(monkeypatch)
    wait = fake.FakeRun.wait
    monkeypatch.setattr(fake.FakeRun, "wait", lambda self, seconds: (time.sleep(0.02), wait(self, seconds))[1])
    monkeypatch.setattr(patient, "HEARTBEAT_SECONDS", 0.3)
    monkeypatch.setattr(patient, "GRACE_SECONDS", 4)
    monkeypatch.setattr(patient, "LONGEST_WAIT", 0.5)
    monkeypatch.setattr(worker, "POLL_SECONDS", 0.05)
    monkeypatch.setattr(worker, "NAMELESS_SECONDS", 1)


def work(url: str, name: str, directory: Path) -> None:
    """A worker on a machine of its own: it knows the URL and the sweep's name."""
    directory.mkdir(exist_ok=True)
    os.chdir(directory)
    os.setsid()
    worker._work(join_sweep(url, name, []), os.getppid(), None, search=True)


def start(url: str, name: str, directories: list[Path]) -> list:
    make = mp.get_context("fork").Process
    lives = [make(target=work, args=(url, name, each), daemon=True) for each in directories]
    for life in lives:
        life.start()
    return lives


def finished(study) -> int:
    return sum(t.state in (TrialState.COMPLETE, TrialState.PRUNED) for t in study.get_trials(deepcopy=False))


def wait_for(study, trials: int) -> None:
    end = time.monotonic() + 300
    while finished(study) < trials:
        assert time.monotonic() < end
        time.sleep(0.02)


def check(study, sweep: SweepConfig, directories: list[Path]) -> Counter:
    """Exact budget, nothing lost, nothing twice, no value proposed twice; how the trials ended."""
    trials = study.get_trials(deepcopy=False)
    assert [t.number for t in trials] == list(range(len(trials)))
    counted = [t for t in trials if studies.counts(t)]
    assert len(counted) == sweep.trials
    assert {t.state for t in counted} == {TrialState.COMPLETE}
    values = [tuple(t.params.items()) for t in counted]
    assert len(set(values)) == sweep.trials
    lost = [t for t in trials if not studies.counts(t) and studies.SURPLUS not in t.user_attrs]
    assert {t.state for t in lost} <= {TrialState.FAIL}
    instead = Counter(t.user_attrs["instead_of"] for t in trials if "instead_of" in t.user_attrs)
    assert set(instead.values()) <= {1}
    for trial in lost:  # what had all its values has them still: of whoever took its place, or of its successor
        if sweep.search_space().is_complete(trial.params):
            assert instead[trial.number] == 1
            assert values.count(tuple(trial.params.items())) == 1
    trained = [path for each in directories for path in each.glob("runs/sweeps/*/trials/*/trained.txt")]
    numbers = Counter(int(path.parent.name) for path in trained)
    assert all(n == 1 for n in numbers.values())  # none was run in two places
    for path in trained:
        if trials[int(path.parent.name)].state == TrialState.COMPLETE:
            assert path.read_text().split() == [str(step) for step in range(1, 11)]
    return Counter(t.state.name for t in trials)


def test_killed_workers_and_a_killed_database_cost_no_trial(server, quick, tiny_sweep, tmp_path):
    sweep = load_sweep(tiny_sweep(), [f"storage={server.url}", f"trials={TRIALS}", "name=killed", "sampler=tpe"])
    study = studies.open_study(sweep)
    directories = [tmp_path / f"machine-{n}" for n in range(WORKERS)]
    lives = start(server.url, "killed", directories)
    wait_for(study, 3)
    lives[0].kill()  # -9, and it comes back as another one
    lives[0].join()
    lives += start(server.url, "killed", [tmp_path / "machine-4"])
    wait_for(study, 6)
    server.restart("immediate")
    wait_for(study, 10)
    for life in lives:  # all of them at once
        life.kill()
        life.join()
    before = len(study.get_trials(deepcopy=False))
    directories = [tmp_path / f"machine-{n}" for n in range(5 + WORKERS)]
    lives = start(server.url, "killed", directories[5:])
    wait_for(study, 15)
    server.restart("immediate")
    for life in lives:
        life.join(300)
    assert [life.exitcode for life in lives] == [0] * WORKERS  # the restarts ended none
    states = check(study, sweep, directories)
    assert before > 10
    assert states["FAIL"] >= 1
    assert server.query("SELECT count(*) FROM trials WHERE state = 'RUNNING'") == [(0,)]


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_whoever_is_killed_when_a_grid_is_gone_through_once(server, quick, tiny_sweep, tmp_path, seed):
    one = "model.configurator.temperature_scale: {choices: [1.0], low: null, high: null, log: false}"
    space = f"space={{model.memory_size: {{choices: [2, 4, 8]}}, seed: {{low: 1, high: 12}}, {one}}}"
    name = f"grid{seed}"
    given = [f"storage={server.url}", "sampler=grid", space, f"name={name}", "trials=36"]
    sweep, draw = load_sweep(tiny_sweep(), given), random.Random(seed)
    study, directories = studies.open_study(sweep), []
    while True:
        new = [tmp_path / f"machine-{len(directories) + n}" for n in range(WORKERS)]
        directories += new
        lives = start(server.url, name, new)
        deadline = time.monotonic() + draw.uniform(1, 5)
        while time.monotonic() < deadline and any(life.is_alive() for life in lives):
            time.sleep(draw.uniform(0, 1))
            if draw.random() < 0.3:
                os.kill(draw.choice(lives).pid, signal.SIGSTOP)  # it falls silent, and comes back too late
            elif draw.random() < 0.3:
                draw.choice(lives).kill()
            elif draw.random() < 0.2:
                server.restart("immediate")
        for life in lives:
            if life.is_alive():
                os.kill(life.pid, signal.SIGCONT)
        if finished(study) == sweep.trials:
            break
        for life in lives[: draw.randrange(WORKERS)]:
            life.kill()
        for life in lives:
            life.join(300)
        if len(directories) > 60:
            raise AssertionError("never done")
    for life in lives:
        life.join(300)
    for life in start(server.url, name, [tmp_path / "last"]):
        life.join(300)
    check(study, sweep, [*directories, tmp_path / "last"])


def test_a_worker_that_falls_silent_and_comes_back_counts_once(server, quick, tiny_sweep, tmp_path):
    sweep = load_sweep(tiny_sweep(), [f"storage={server.url}", "trials=8", "name=silent"])
    study = studies.open_study(sweep)
    (silent,) = start(server.url, "silent", [tmp_path / "a"])
    wait_for(study, 1)
    os.kill(silent.pid, signal.SIGSTOP)
    (other,) = start(server.url, "silent", [tmp_path / "b"])
    other.join(300)
    os.kill(silent.pid, signal.SIGCONT)
    silent.join(300)
    assert (silent.exitcode, other.exitcode) == (0, 0)
    check(study, sweep, [tmp_path / "a", tmp_path / "b"])


def table() -> list[dict]:
    with Path("runs/sweeps/joined/trials.csv").open() as file:
        return list(csv.DictReader(file))


def test_the_same_command_elsewhere_and_join_leave_the_same_report(server, tiny_sweep, tmp_path, monkeypatch, capfd):
    path = tiny_sweep()
    given = [f"storage={server.url}", "name=joined", "trials=2"]
    assert main(["sweep", str(path), *given]) == 0
    rows = table()
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert main(["sweep", "--join", server.url, "joined"]) == 0
    assert "2 of 2 trials are already there" in capfd.readouterr().out
    assert table() == rows
    assert main(["sweep", "--join", server.url, "joind"]) == 2
    assert "did you mean joined" in capfd.readouterr().err.replace("'", "")
    files = [p for root in (tmp_path / "elsewhere/runs", tmp_path / "runs") for p in root.rglob("*") if p.is_file()]
    assert not [p for p in files if b"pa55" in p.read_bytes()]


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        (QUOTED, "pb55word", "password authentication failed"),
        ("/postgres", "/nothing", 'database "nothing" does not exist'),
        ("@127.0.0.1", "@127.0.0.2", "connection"),
    ],
)
def test_a_database_that_refuses_is_one_line(server, tiny_sweep, capfd, old, new, said):
    assert main(["sweep", str(tiny_sweep()), f"storage={server.url.replace(old, new)}"]) == 2
    error = capfd.readouterr().err.strip()
    assert said in error
    assert "\n" not in error
    assert "pa55" not in error
    assert "pb55" not in error
    assert not Path("runs").exists()
