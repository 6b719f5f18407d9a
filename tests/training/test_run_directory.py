"""Which directory takes which run, and one command that is right whatever happened before."""

import json
import multiprocessing as mp
import os
import subprocess
import sys

import pytest

from seqboat_lab.cli import main
from seqboat_lab.training import experiment, run_directory
from seqboat_lab.training.run_directory import new_run_dir
from tests.training.same_run import assert_same_run


def _name(root, barrier, queue):
    os.environ.pop("SEQBOAT_RUN_DIR", None)
    run_directory.time.strftime = lambda *_: "the same second"
    barrier.wait()
    queue.put([str(new_run_dir("x", root)) for _ in range(20) if os.environ.pop("SEQBOAT_RUN_DIR", None) or True])


def test_runs_of_the_same_second_have_directories_of_their_own(tmp_path):
    context = mp.get_context("fork")
    barrier, queue = context.Barrier(4), context.Queue()
    processes = [context.Process(target=_name, args=(tmp_path, barrier, queue)) for _ in range(4)]
    for process in processes:
        process.start()
    names = [name for _ in processes for name in queue.get(timeout=60)]
    assert len(set(names)) == len(names) == 80
    assert {str(path) for path in (tmp_path / "x").iterdir()} == set(names)


def test_all_processes_of_a_run_name_the_same_directory(tmp_path):
    assert new_run_dir("x", tmp_path) == new_run_dir("x", tmp_path)


@pytest.fixture
def command(tiny, tmp_path):
    experiment.write_config(tiny("trainer.progress=false"), tmp_path)

    def fit(run_dir, *rest):
        return main(["fit", str(tmp_path / "config.yaml"), "--run-dir", str(run_dir), *rest])

    return fit


def test_one_command_is_right_whatever_happened_before(command, tmp_path, capsys):
    run_dir = tmp_path / "run"
    assert command(tmp_path / "whole") == 0
    assert command(run_dir, "--resume-or-start", "trainer.max_steps=4") == 0  # nothing there
    assert command(run_dir, "--resume-or-start") == 0  # in the middle
    before = {path: path.stat().st_mtime_ns for path in run_dir.rglob("*")}
    assert command(run_dir, "--resume-or-start") == 0  # at its end
    assert {path: path.stat().st_mtime_ns for path in run_dir.rglob("*")} == before
    assert capsys.readouterr().out.count(f"results in {run_dir}") == 3
    (run_dir / "summary.json").unlink()
    assert command(run_dir, "--resume-or-start") == 0  # killed before its summary
    assert len((run_dir / "validations.jsonl").read_text().splitlines()) == 2
    assert json.loads((run_dir / "summary.json").read_text())["metrics"]["step"] == 8
    assert command(run_dir, "--resume-or-start", "model.memory_size=4") == 2  # another run
    assert "model.memory_size: cannot change when a run is resumed" in capsys.readouterr().err


@pytest.mark.parametrize("way", [["--resume-or-start"], []])
def test_a_run_killed_before_its_first_checkpoint_starts_anew(command, tmp_path, way):
    run_dir = tmp_path / "run"
    assert command(tmp_path / "whole") == 0
    assert command(run_dir) == 0
    for name in ("last", "previous"):  # killed between the best and the last checkpoint of the first validation
        (run_dir / "checkpoints" / f"{name}.ckpt").unlink()
    (run_dir / ".summary.json.partial").write_text("{")
    (run_dir / "checkpoints" / ".last.ckpt.partial").write_bytes(b"half")
    (run_dir / "metrics.csv").write_text("step,train/loss\n1,99\n2,9")
    assert command(run_dir, *way) == 0
    assert_same_run(tmp_path / "whole", run_dir)


def test_an_imported_model_is_not_taken_for_such_a_run(command, tmp_path, capsys):
    run_dir = tmp_path / "run"
    (run_dir / "checkpoints").mkdir(parents=True)
    (run_dir / "checkpoints" / "best.ckpt").write_bytes(b"weights")
    for way in ([], ["--resume-or-start"]):
        assert command(run_dir, *way) == 2
        assert "already holds a run" in capsys.readouterr().err
    assert (run_dir / "checkpoints" / "best.ckpt").read_bytes() == b"weights"


def test_a_directory_takes_one_process_at_a_time(command, tmp_path, capsys):
    run_dir = tmp_path / "run"
    run_dir.mkdir()
    hold = f"import fcntl; f = open({str(run_dir / '.lock')!r}, 'w'); fcntl.lockf(f, fcntl.LOCK_EX); print(); input()"
    with subprocess.Popen([sys.executable, "-c", hold], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        other.stdout.readline()
        assert command(run_dir) == 2
        assert f"{run_dir}: is in use by another process" in capsys.readouterr().err
        other.communicate(b"\n")
    assert command(run_dir) == 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--resume-or-start"], "--resume-or-start: needs --run-dir"),
        (["--resume", "x", "--run-dir", "y"], "--resume names the run"),
    ],
)
def test_options_that_contradict_each_other(capsys, options, message):
    assert main(["fit", *([] if "--resume" in options else ["lra/listops_short"]), *options]) == 2
    assert message in capsys.readouterr().err


def test_damaged_files_of_a_run_are_one_line_or_made_again(command, tmp_path, capsys):
    run_dir = tmp_path / "run"
    assert command(run_dir) == 0
    (run_dir / "summary.json").write_text('{"steps": ')
    assert command(run_dir, "--resume-or-start") == 0
    assert json.loads((run_dir / "summary.json").read_text())["steps"] == 8
    with (run_dir / "validations.jsonl").open("a") as file:
        file.write('{"step": 9, "val/lo')
    (run_dir / "metrics.csv").write_bytes((run_dir / "metrics.csv").read_bytes() + b"\0\xff1,2,\0")
    assert command(run_dir, "--resume-or-start", "trainer.max_steps=9") == 0
    steps = [json.loads(line)["step"] for line in (run_dir / "validations.jsonl").read_text().splitlines()]
    assert steps == [4, 8, 9]
    capsys.readouterr()
    for checkpoint in (run_dir / "checkpoints").glob("*.ckpt"):
        checkpoint.write_bytes(checkpoint.read_bytes()[:1000])
    (run_dir / "summary.json").unlink()
    assert command(run_dir, "--resume-or-start", "trainer.max_steps=9") == 0  # no circle, whatever happened
    assert f"it is kept in {run_dir}/checkpoints-unreadable, and the run starts anew" in capsys.readouterr().err
    assert json.loads((run_dir / "summary.json").read_text())["steps"] == 9
    capsys.readouterr()
    for damage in ("\0", "- a", "task: [", "task: nowhere", ""):
        (run_dir / "config.yaml").write_text(damage)
        for arguments in (["fit", "--resume", str(run_dir)], ["evaluate", str(run_dir)], ["generate", str(run_dir)]):
            assert main(arguments) == 2, (damage, arguments)
            (line,) = capsys.readouterr().err.splitlines()
            assert f"{run_dir}/config.yaml" in line
    (run_dir / "config.yaml").unlink()
    (run_dir / "config.yaml").mkdir()
    for arguments in (["fit", "--resume", str(run_dir)], ["evaluate", str(run_dir)], ["generate", str(run_dir)]):
        assert main(arguments) == 2
        assert len(capsys.readouterr().err.splitlines()) == 1
