"""`seqboat submit` on a Slurm of one controller and two nodes: arrays, preempted workers, runs over both nodes."""

import csv
import json
import subprocess
import time
from pathlib import Path

import pytest
import torch

from seqboat_lab.cli import main
from seqboat_lab.config.files import to_yaml
from seqboat_lab.training import experiment
from tests.slurm.cluster import cluster, missing
from tests.sweep.conftest import TINY_SWEEP

pytestmark = pytest.mark.slurm
PATIENCE = 900  # seconds, of a busy machine


@pytest.fixture(scope="module")
def slurm(tmp_path_factory):
    if lacking := missing():
        pytest.skip(f"no {', '.join(lacking)}: apt-get install slurmctld slurmd slurm-client munge")
    with cluster(tmp_path_factory.mktemp("slurm")) as environment:
        yield environment


@pytest.fixture
def place(slurm, tmp_path, monkeypatch):
    """A directory to submit from, with the cluster's commands at hand."""
    for name, value in slurm.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def wait_for(condition, seconds: float = PATIENCE):
    end = time.monotonic() + seconds
    while not (found := condition()):
        logs = "\n".join(f"{log}:\n{log.read_text()[-3000:]}" for log in Path().rglob("slurm/*.log"))
        assert time.monotonic() < end, f"waited too long\n{queue()}\n{logs}"
        time.sleep(1)
    return found


def queue() -> list[str]:
    return subprocess.run(["squeue", "-h", "-r", "-o", "%i %T"], capture_output=True, text=True).stdout.splitlines()


def weights(run_dir: Path) -> dict:
    return torch.load(run_dir / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]


def test_a_run_on_two_nodes_equals_one_process_bit_for_bit(place, tiny, capsys):
    config = tiny("trainer.precision=64-true", "model.dropout=0.1", "trainer.max_steps=20", "trainer.val_every=10",
                  "trainer.accumulate=2")  # fmt: skip
    Path("exact.yaml").write_text(to_yaml(config))
    command = ["submit", "fit", "exact.yaml", "trainer.accumulate=1", "--nodes", "2", "--gpus", "1"]
    assert main([*command, "--time", "1:00:00"]) == 0
    job = capsys.readouterr().out.split()[2]
    assert main(["submit", "status", "runs/exact"]) == 0
    assert f"job {job}: " in capsys.readouterr().out
    wait_for(lambda: not queue())
    run = Path("runs") / "exact" / f"slurm-{job}"
    assert (run / "summary.json").is_file(), Path(f"runs/exact/slurm/{job}.log").read_text()
    experiment.fit(config, place / "one")  # both halves of the batch, one after the other
    two, one = weights(run), weights(place / "one")
    assert two.keys() == one.keys()
    assert all(torch.equal(two[name], one[name]) for name in one)
    assert main(["submit", "status", "runs/exact"]) == 0
    assert f"job {job}: ended" in capsys.readouterr().out


def test_a_sweep_is_an_array_of_workers_on_all_nodes(place, data_root, capsys):
    Path("tiny.yaml").write_text(TINY_SWEEP.format(root=data_root, steps=10))
    assert main(["submit", "tiny.yaml", "--workers", "2", "--gpus", "1", "--time", "1:00:00", "--cpus", "3"]) == 0
    wait_for(lambda: not queue())
    directory = Path("runs/sweeps/tiny")
    with (directory / "trials.csv").open() as file:
        assert [row["state"] for row in csv.DictReader(file)] == ["complete"] * 4
    assert (directory / "report.html").is_file()
    assert len(list((directory / "slurm").glob("*_[01].log"))) == 2
    capsys.readouterr()
    assert main(["submit", "status", "runs/sweeps/tiny"]) == 0
    assert "trials: 4 of 4 (4 complete)" in capsys.readouterr().out


def test_a_preempted_worker_saves_its_trial_and_goes_on_with_it(place, data_root, capsys):
    Path("tiny.yaml").write_text(TINY_SWEEP.format(root=data_root, steps=400))
    assert main(["submit", "tiny.yaml", "trials=1", "--partition", "low", "--time", "1:00:00"]) == 0
    directory = Path("runs/sweeps/tiny")
    first = directory / "trials" / "0000"
    wait_for((first / "checkpoints" / "last.ckpt").exists)
    urgent = ["sbatch", "--partition=high", "--nodes=2", "--exclusive", "--output=/dev/null", "--wrap", "sleep 5"]
    subprocess.run(urgent, check=True, capture_output=True)
    second = directory / "trials" / "0001"
    wait_for((second / "summary.json").exists)  # in the requeued job
    wait_for(lambda: not queue())
    assert not first.exists()
    with (directory / "trials.csv").open() as file:
        rows = {row["number"]: row for row in csv.DictReader(file)}
    assert [rows[number]["state"] for number in "01"] == ["requeued", "complete"]
    steps = [json.loads(line)["step"] for line in (second / "validations.jsonl").open()]
    assert steps == list(range(5, 401, 5))  # those of before, and those that followed
    said = (second / "log.txt").read_text()
    assert said.count("ended by SIGTERM: go on from the last checkpoint") == 1


def limit(job: str, minutes: int) -> None:
    """Changes a job's time limit, which this machine may be too busy for."""
    subprocess.run(["scontrol", "update", f"JobId={job}", f"TimeLimit={minutes}"], check=True, capture_output=True)


def test_a_worker_at_its_time_limit_goes_on_in_the_requeued_job_and_can_be_cancelled(place, data_root, capsys):
    Path("tiny.yaml").write_text(TINY_SWEEP.format(root=data_root, steps=1_000_000))  # no limit is long enough
    assert main(["submit", "tiny.yaml", "trials=1", "--time", "1:00:00", "--notice", "30"]) == 0
    directory = Path("runs/sweeps/tiny")
    first, second = (directory / "trials" / f"000{number}" for number in (0, 1))
    begun = time.monotonic()
    wait_for((first / "checkpoints" / "last.ckpt").exists)
    job = (directory / "slurm" / "jobs").read_text().strip()
    limit(f"{job}_0", minutes=2 + int(time.monotonic() - begun) // 60)
    wait_for(lambda: f"{job}_0 PENDING" in queue())
    limit(f"{job}_0", minutes=60)
    wait_for((second / "checkpoints" / "last.ckpt").exists)
    steps = (second / "validations.jsonl").read_text().count("\n")
    wait_for(
        lambda: (second / "validations.jsonl").read_text().count("\n") > steps
    )  # it goes on with what it took over
    (log,) = (directory / "slurm").glob("*.log")
    assert log.read_text().count(f"work is left: job {job}_0 is queued again") == 1
    capsys.readouterr()
    assert main(["submit", "status", str(directory)]) == 0
    assert f"job {job}: 1 running" in capsys.readouterr().out
    assert main(["submit", "cancel", str(directory)]) == 0
    assert capsys.readouterr().out == f"cancelled job {job}\n"
    wait_for(lambda: not queue())
    assert main(["submit", "status", str(directory)]) == 0
    told = capsys.readouterr().out
    assert f"job {job}: ended" in told
    assert "trials: 0 of 1" in told  # cancelled in the middle of its only one
    assert (second / "checkpoints" / "last.ckpt").is_file()
    steps = [json.loads(line)["step"] for line in (second / "validations.jsonl").open()]
    assert steps == list(range(5, 5 * len(steps) + 1, 5))
    said = (second / "log.txt").read_text()
    assert said.count("ended by SIGTERM: go on from the last checkpoint") == 2  # once a job


def test_a_worker_takes_no_trial_for_which_too_little_time_is_left(place, data_root):
    """Of 40 s it knows half to be too little, and a trial takes longer; Slurm itself would let it go on."""
    Path("tiny.yaml").write_text(TINY_SWEEP.format(root=data_root, steps=3000))
    limit = ["--time", "1:00", "--notice", "20", "--sbatch=--time=2:00:00"]
    assert main(["submit", "tiny.yaml", "trials=2", *limit]) == 0
    wait_for(lambda: not queue())
    directory = Path("runs/sweeps/tiny")
    with (directory / "trials.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["state"] for row in rows] == ["complete"] * 2
    assert all(float(row["cost/seconds"]) > 20 for row in rows)
    (log,) = (directory / "slurm").glob("*.log")
    assert log.read_text().count("is queued again") == 1  # between the two
