"""The ten lines that docs/cluster.md opens with run as they stand: on a laptop, a PostgreSQL, another directory, a Slurm."""

import csv
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path

import optuna
import pytest

from tests.slurm.cluster import cluster, missing
from tests.sweep.conftest import TINY_SWEEP
from tests.sweep.postgresql import programs

PAGE = (Path(__file__).parents[2] / "docs" / "cluster.md").read_text()
LAPTOP, SECRET, INIT, HOSTS, START, EXPORT, BEGIN, JOIN, SUBMIT, STATUS = re.search(r"^```\n(.*?)^```", PAGE, re.M | re.S)[1].splitlines()  # fmt: skip
TRIALS, PATIENCE = 4, 1800
AS_NOBODY = """\
#!/bin/sh
# PostgreSQL does not run as root, whose machine a container may be
chown nobody . password.txt && exec setpriv --reuid=nobody --regid=nogroup --clear-groups {program} "$@"
"""


@pytest.fixture
def place(tmp_path_factory, data_root):
    """A directory with small trials under the page's name, and a shell in which the page's commands are found."""
    with tempfile.TemporaryDirectory() as directory:  # not pytest's, which only its own user can enter
        place = Path(directory)
        place.chmod(0o755)
        for name in ("sweeps", "bin", "elsewhere"):
            (place / name).mkdir()
        text = (
            TINY_SWEEP.format(root=data_root, steps=40)
            .replace("name: tiny\n", "")
            .replace("trials: 4", f"trials: {TRIALS}")
        )
        (place / "sweeps" / "recall_pareto.yaml").write_text(text)
        for program in ("initdb", "pg_ctl"):
            path, real = place / "bin" / program, programs() / program
            if os.getuid() == 0:
                path.write_text(AS_NOBODY.format(program=real))
                path.chmod(0o755)
            else:
                path.symlink_to(real)
        yield place


class Shell:
    def __init__(self, place: Path, environment: dict[str, str]):
        self.place, self.running = place, []
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = str(free.getsockname()[1])
        path = f"{place}/bin:{Path(sys.executable).parent}:{environment['PATH']}"
        self.environment = environment | {"PATH": path, "DB": "localhost", "PGPORT": port, "OMP_NUM_THREADS": "1"}
        self.environment.pop("SEQBOAT_STORAGE", None)

    def run(self, *lines: str) -> str:
        done = subprocess.run(["bash", "-euc", "\n".join(lines)], cwd=self.place, env=self.environment, text=True,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=PATIENCE)  # fmt: skip
        assert done.returncode == 0, done.stdout
        return done.stdout

    def start(self, *lines: str) -> subprocess.Popen:
        process = subprocess.Popen(["bash", "-euc", "\n".join(lines)], cwd=self.place, env=self.environment,
                                   start_new_session=True)  # fmt: skip
        self.running.append(process)
        return process

    def end(self, process: subprocess.Popen) -> None:
        """The shell, and then what it started."""
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
            process.wait(PATIENCE)
            while True:
                os.killpg(process.pid, 0)
                time.sleep(0.2)


def wait_for(condition, what: str):
    end = time.monotonic() + PATIENCE
    while not (found := condition()):
        assert time.monotonic() < end, f"waited too long for {what}"
        time.sleep(1)
    return found


def rows(directory: Path) -> list[dict]:
    with (directory / "trials.csv").open() as file:
        return list(csv.DictReader(file))


def complete(table: list[dict]) -> int:
    return sum(row["state"] == "complete" for row in table)


@pytest.mark.slurm
@pytest.mark.skipif(bool(missing()) or programs() is None, reason="it takes a Slurm and a PostgreSQL")
def test_from_a_laptop_to_a_database_and_slurm(place, tmp_path):
    with cluster(tmp_path / "slurm") as environment:
        shell = Shell(place, environment)
        try:
            _from_a_laptop(shell, place)
        finally:
            for process in shell.running:
                shell.end(process)
            if (place / "sweeps-db" / "postmaster.pid").exists():
                shell.run("pg_ctl -D sweeps-db -m immediate stop")


def _from_a_laptop(shell: Shell, place: Path) -> None:
    shell.run(LAPTOP)
    assert complete(rows(place / "runs/sweeps/recall_pareto")) == TRIALS
    shell.run(SECRET, INIT, HOSTS, START)
    password = (place / "password.txt").read_text().strip()
    url = f"postgresql+psycopg://seqboat:{password}@localhost:{shell.environment['PGPORT']}/postgres"

    def trials() -> int:
        """How many the shared study has."""
        known = optuna.get_all_study_names(url)
        return len(optuna.load_study(study_name="recall_shared", storage=url).trials) if "recall_shared" in known else 0

    machine = shell.start(EXPORT, BEGIN)
    wait_for(trials, BEGIN)
    shell.end(machine)  # in mid-sweep
    shell.run(EXPORT, "cd elsewhere", JOIN)
    here, there = (base / "runs/sweeps/recall_shared" for base in (place, place / "elsewhere"))
    assert complete(rows(there)) == TRIALS
    file = place / "sweeps" / "recall_pareto.yaml"
    file.write_text(file.read_text().replace(f"trials: {TRIALS}", f"trials: {TRIALS + 2}"))
    shell.run(EXPORT, SUBMIT)
    wait_for(lambda: not shell.run("squeue -h"), "the jobs")
    told = shell.run(EXPORT, STATUS)
    assert f"trials: {TRIALS + 2} of {TRIALS + 2} ({TRIALS + 2} complete)" in told
    assert "ended" in told
    assert complete(rows(here)) == TRIALS + 2  # the last of Slurm's workers wrote it
    assert (here / "report.html").is_file()
    assert list((here / "trials").glob("*/summary.json"))
    assert list((there / "trials").glob("*/summary.json"))
    assert not [p for p in (*here.rglob("*"), *there.rglob("*")) if p.is_file() and password.encode() in p.read_bytes()]
