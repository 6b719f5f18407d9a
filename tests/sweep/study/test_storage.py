"""Secrets of a storage's URL, missing drivers, and errors of databases and disks, each one line."""

import json
import sys
from pathlib import Path

import pytest
from sqlalchemy.exc import OperationalError

from seqboat_lab.cli import main
from seqboat_lab.config.checks import UserError
from seqboat_lab.sweep.definition.config import load_sweep
from seqboat_lab.sweep.running import run
from seqboat_lab.sweep.study.storage import errors_in_one_line, hide, without_secrets
from seqboat_lab.sweep.study.study import open_study


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql://me:pa55word@host/db", "postgresql://me:***@host/db"),
        ("postgresql+psycopg2://me:p@ss:w/rd@host:1/db", "postgresql+psycopg2://me:***@host:1/db"),
        ("mysql://host/db?user=me&password=pa55word&x=1", "mysql://host/db?user=me&password=***&x=1"),
        ("sqlite:////tmp/a.db", "sqlite:////tmp/a.db"),
    ],
)
def test_passwords_of_a_url_are_masked(url, shown):
    assert without_secrets(url) == shown
    assert hide(f"cannot connect to {url}", url) == f"cannot connect to {shown}"


def test_a_password_that_a_driver_repeats_decoded_is_hidden():
    url = "postgresql://me:pa%24%24@host/db"
    assert hide("role me with password pa$$ or pa%24%24", url) == "role me with password *** or ***"


def line_of(capsys) -> str:
    error = capsys.readouterr().err.strip()
    assert error.startswith("seqboat: ")
    assert "\n" not in error
    return error


def test_a_missing_driver_names_its_package_and_no_password(tiny_sweep, capsys):
    assert main(["sweep", str(tiny_sweep()), "storage=mysql://me:pa55word@host/db"]) == 2
    error = line_of(capsys)
    assert "storage: mysql://me:***@host/db needs the package mysqlclient; install it with: " in error
    assert f"{sys.executable} -m pip install 'mysqlclient'" in error
    assert not Path("runs").exists()


def test_the_password_is_in_no_file_of_the_sweep_but_its_workers_have_it(tiny_sweep, monkeypatch, tmp_path, capsys):
    url = f"sqlite:///{tmp_path}/study.db?password=pa55word"
    sweep = load_sweep(tiny_sweep(), [f"storage={url}"])
    started = []

    class Worker:
        returncode = 0

        def __init__(self, command, env, **_):
            started.append((command, env))

        def poll(self):
            return 0

    monkeypatch.setattr(run.subprocess, "Popen", Worker)
    monkeypatch.setattr("seqboat_lab.sweep.study.study.open_storage", lambda url, *_: f"sqlite:///{tmp_path}/study.db")
    with pytest.raises(UserError, match="0 of 4 trials of tiny are done"):
        run.run_sweep(sweep, 1)
    files = [p for p in Path("runs").rglob("*") if p.is_file()]
    assert Path("runs/sweeps/tiny/sweep.yaml") in files
    assert not [p for p in files if b"pa55word" in p.read_bytes()]
    ((command, env),) = started
    assert "pa55word" not in " ".join(command)
    assert env["SEQBOAT_STORAGE"] == url


def test_a_database_that_restarts_is_one_line():
    with pytest.raises(UserError) as caught, errors_in_one_line(Path("d"), "postgresql://me:pa55word@host/db"):
        raise OperationalError("SELECT 1\nFROM x", {}, Exception("server closed the connection\nunexpectedly"))
    assert str(caught.value).startswith("storage postgresql://me:***@host/db failed: ")
    assert "server closed the connection" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_full_disk_is_one_line(tiny_sweep, monkeypatch, capsys):
    path = str(tiny_sweep())
    open_study(load_sweep(path))

    def full_disk(*_):
        raise OSError(28, "No space left on device", "runs/sweeps/tiny/study.journal")

    monkeypatch.setattr("os.fsync", full_disk)
    monkeypatch.setattr("seqboat_lab.sweep.running.run._start_worker", lambda *_: 1 / 0)
    monkeypatch.setattr("seqboat_lab.sweep.running.run.write_text", full_disk)
    assert main(["sweep", path]) == 2
    assert "runs/sweeps/tiny/study.journal: No space left on device" in line_of(capsys)


def test_the_identity_of_a_study_is_plain_json(tiny_sweep):
    sweep = load_sweep(tiny_sweep())
    assert json.loads(json.dumps(sweep.identity())) == sweep.identity()
    assert "storage" not in sweep.identity()
