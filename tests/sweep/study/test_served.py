"""`seqboat storage serve` and its clients, over SQLite."""

import socket
import threading
import time

import optuna
import pytest
from optuna.trial import TrialState

from seqboat_lab.cli import main
from seqboat_lab.sweep.definition.config import load_sweep
from seqboat_lab.sweep.study import patient
from seqboat_lab.sweep.study import study as studies
from seqboat_lab.sweep.study.storage import open_storage

grpc = pytest.importorskip("grpc")


@pytest.fixture
def served(tmp_path):
    from seqboat_lab.sweep.study.served import make_server

    server, port = make_server(open_storage(f"sqlite:///{tmp_path}/a.db", tmp_path / "x"), "127.0.0.1", 0)
    server.start()
    yield f"grpc://127.0.0.1:{port}"
    server.stop(0)


def test_clients_take_turns_also_with_who_asks_the_database_itself(served, tmp_path):
    inside, most = [], []

    def work(url: str) -> None:
        storage = open_storage(url, tmp_path / "x")
        for _ in range(5):
            storage.alone("a", lambda: (inside.append(0), most.append(len(inside)), time.sleep(0.002), inside.pop()))

    urls = (served, served, f"sqlite:///{tmp_path}/a.db")
    threads = [threading.Thread(target=work, args=(url,)) for url in urls]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == [1] * 15


def test_a_client_that_died_in_its_turn_gives_it_up(served, tmp_path):
    first, second = (open_storage(served, tmp_path / "x") for _ in range(2))
    turn = first.storage.excluding("a")
    turn.__enter__()
    first.storage.close()  # as the kernel does for a killed process
    assert second.alone("a", lambda: "mine") == "mine"


def test_a_sweep_behind_a_server_is_that_in_the_database_and_its_silent_trials_are_found(
    served, tiny_sweep, tmp_path, monkeypatch
):
    monkeypatch.setattr(patient, "GRACE_SECONDS", 0.5)
    sweep = load_sweep(tiny_sweep(), [f"storage={served}"])
    study = studies.open_study(sweep)
    lock = studies.WorkerLock(sweep.directory)
    lock.path(sweep.directory, lock.name).unlink()  # on another machine
    trial = studies.claim(study, sweep, lock)
    inside = optuna.load_study(study_name="tiny", storage=f"sqlite:///{tmp_path}/a.db")
    assert inside.trials[0].params == trial.params
    assert studies.at_work(study, sweep)
    assert studies.requeue_lost(study, sweep) == 0
    monkeypatch.setattr(type(study._storage.storage), "_get_stale_trial_ids", lambda self, study: [1])
    time.sleep(0.6)
    assert studies.requeue_lost(study, sweep) == 1
    assert studies.requeue_lost(study, sweep) == 0
    with pytest.raises(RuntimeError):  # it comes back
        studies.end(study, trial.number, [1.0, 1.0])
    assert [t.state for t in inside.trials] == [TrialState.FAIL, TrialState.WAITING]
    assert studies.claim(study, sweep, studies.WorkerLock(sweep.directory)).params == trial.params
    assert [row["state"] for row in studies.summary_rows(study, sweep)] == ["requeued", "running"]


def said(capsys) -> str:
    error = capsys.readouterr().err.strip()
    assert error.startswith("seqboat: ")
    assert "\n" not in error
    return error


def test_mistakes_with_servers_are_one_line(tiny_sweep, tmp_path, capsys):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        assert main(["storage", "serve", f"sqlite:///{tmp_path}/a.db", "--host", "127.0.0.1", "--port", port]) == 2
        assert f"cannot listen on 127.0.0.1:{port}" in said(capsys)
    assert main(["sweep", str(tiny_sweep()), f"storage=grpc://127.0.0.1:{port}"]) == 2
    assert f"nothing answers at grpc://127.0.0.1:{port}; start it with: seqboat storage serve" in said(capsys)
    assert main(["sweep", str(tiny_sweep()), "storage=grpc://host"]) == 2
    assert "grpc://host is no server; expected grpc://HOST:PORT" in said(capsys)
    assert main(["storage", "serve", "grpc://127.0.0.1:1"]) == 2
    assert "expected the URL of the database itself" in said(capsys)
    assert main(["storage", "serve"]) == 2
    assert "expected the URL of a database, or SEQBOAT_STORAGE" in said(capsys)
