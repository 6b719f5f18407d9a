"""Batch scripts: what bash and sbatch would make of them, without either of Slurm's."""

import re
import shlex
import subprocess
import sys

import pytest

from seqboat_lab.cli import main
from seqboat_lab.cluster.script import seconds
from seqboat_lab.config import ConfigError


@pytest.mark.parametrize(
    ("time", "expected"),
    [("90", 5400), ("1:30", 90), ("4:00:00", 14400), ("1-0", 86400), ("1-12:30", 131400), ("2-01:02:03", 176523)],
)
def test_time_limits_are_read_as_sbatch_reads_them(time, expected):  # its manual's list of forms
    assert seconds(time) == expected


@pytest.mark.parametrize("time", ["4h", "", "1:2:3:4", "-1", "1-"])
def test_other_time_limits_are_refused(time):
    with pytest.raises(ConfigError, match=r"--time: .* is not possible here; expected minutes, H:M:S or D-H:M:S"):
        seconds(time)


def script(capsys, *arguments: str) -> tuple[dict[str, str], str]:
    """Options and body that `--dry-run` prints; bash must be able to read it."""
    assert main(["submit", *arguments, "--dry-run"]) == 0
    text = capsys.readouterr().out
    subprocess.run(["bash", "-n"], input=text, text=True, check=True)
    options = [shlex.split(line)[1] for line in text.splitlines() if line.startswith("#SBATCH")]
    return dict(option.partition("=")[::2] for option in options), text


def test_a_sweep_is_one_array_whose_workers_take_the_shells_place(capsys, tmp_path, monkeypatch):
    place = tmp_path / "50% of a disk"  # neither a blank nor a pattern of sbatch's
    place.mkdir()
    monkeypatch.chdir(place)
    options, text = script(capsys, "recall_pareto", "--workers", "32", "--time", "4:00:00", "--partition", "P",
                           "--sbatch=--account=me", "--notice", "300", "--cpus", "4")  # fmt: skip
    assert options["--array"] == "0-31"
    assert options["--gres"] == "gpu:1"
    assert options["--signal"] == "B:USR1@300"  # to the shell, which the worker is
    assert options["--time"] == "4:00:00"
    assert options["--partition"] == "P"
    assert options["--account"] == "me"
    assert options["--chdir"] == str(place)
    assert options["--output"] == f"{tmp_path}/50%% of a disk/runs/sweeps/recall_pareto/slurm/%A_%a.log"
    assert "--requeue" in options
    last = text.splitlines()[-1]
    assert last.startswith(f"exec {sys.executable} -m seqboat_lab.cli sweep-job runs/sweeps/recall_pareto/sweep.yaml")
    assert "--seconds 14400" in last
    assert not (place / "runs").exists()


def test_a_run_is_given_as_many_processes_as_there_are_gpus(capsys):
    options, text = script(capsys, "fit", "lra/listops", "--nodes", "4", "--gpus", "2", "--time", "60")
    assert (options["--nodes"], options["--ntasks-per-node"], options["--gres"]) == ("4", "2", "gpu:2")
    assert options["--signal"] == "USR1@120"  # to srun's processes
    assert re.search(
        r"^srun --kill-on-bad-exit=1 .* fit lra/listops trainer.devices=8 trainer.num_nodes=4$", text, re.M
    )


@pytest.mark.parametrize("status", [0, 2, 75, 138])
def test_a_run_that_saved_or_lost_a_node_is_queued_again_and_no_other(capsys, tmp_path, status):
    _, text = script(capsys, "fit", "lra/listops", "--gpus", "0")
    for name, does in (("srun", f"exit {status}"), ("scontrol", 'echo "$@"')):
        (tmp_path / name).write_text(f"#!/bin/sh\n{does}\n")
        (tmp_path / name).chmod(0o755)
    environment = {"PATH": f"{tmp_path}:/usr/bin:/bin", "SLURM_JOB_ID": "7"}
    done = subprocess.run(["bash"], input=text, text=True, env=environment, capture_output=True)
    assert done.returncode == status
    assert done.stdout == ("requeue 7\n" if status in (75, 138) else "")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["recall_pareto", "--gpus", "2"], "--gpus: 2 is not possible here; expected 1, as many as a trial uses"),
        (["recall_pareto", "--nodes", "2"], "--nodes: 2 is not possible here"),
        (["recall_pareto", "--time", "1"], "--time: '1' is not possible here; expected more than --notice = 120 s"),
        (["recall_pareto", "--sbatch", "account=me"], "--sbatch: 'account=me' is not possible here"),
        (["recall_pareto", "trials=0"], "trials: 0 is not possible here"),
        (["recall_paretto"], "did you mean"),
        (["fit", "lra/listops", "trainer.devices=2"], "submit: 'trainer.devices=2' is not possible here; expected --nodes"),
        (["fit", "lra/listops", "--nodes", "3"], "data.batch_size: "),
        (["fit"], "submit: fit expects one experiment"),
        (["status", "nothing"], "submit: nothing has no jobs; expected a job's number, runs/sweeps/NAME"),
        (["cancel"], "submit: cancel expects a directory"),
    ],
)  # fmt: skip
def test_mistakes_are_one_line_before_anything_is_submitted(capsys, tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    assert main(["submit", *arguments]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert message in line
    assert not list(tmp_path.iterdir())


def test_without_slurm_one_line_says_so(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path))
    for arguments in (["fit", "lra/listops"], ["recall_pareto"], ["status", "7"]):
        assert main(["submit", *arguments]) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert "no such command here; expected a machine of a Slurm cluster" in line
