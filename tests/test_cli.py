"""The command line: one clear line and a non-zero status for every mistake; help without waiting for torch."""

import subprocess
import sys
import time

import pytest

from seqboat_lab.cli import main

CLI = [sys.executable, "-m", "seqboat_lab.cli"]


def run(*arguments: str, **options: str) -> subprocess.CompletedProcess:
    return subprocess.run([*CLI, *arguments], capture_output=True, text=True, timeout=120, **options)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["fit", "lra/listops_shrt"],
            "config: unknown experiment 'lra/listops_shrt' (did you mean 'lra/listops_short'?)",
        ),
        (["fit"], "fit: expected an experiment"),
        (["fit", "lra/listops_short", "model.memory_size=0"], "model.memory_size: 0 is not possible here"),
        (["fit", "lra/listops", "data.root=nowhere"], "basic_train.tsv"),
        (["fit", "--resume", "nowhere"], "nowhere: is no run directory"),
        (["sweep", "nowhere.yaml"], "sweep: unknown sweep file 'nowhere.yaml'"),
        (["report", "nowhere"], "trials.csv: does not exist; run `seqboat sweep` first"),
        (["data", "prepare", "image", "--processes", "-3"], "--processes: -3 is not possible here"),
        (["data", "prepare", "pathfnder"], "unknown task or experiment 'pathfnder' (did you mean 'pathfinder'?)"),
        (["evaluate", __file__], "test_cli.py: is a file; expected the directory of a run"),
        (["report"], "holds no finished sweep; run `make sweep` first"),
    ],
)
def test_mistakes_give_one_line_and_status_2(tmp_path, monkeypatch, capsys, arguments, message):
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    (line,) = printed.err.splitlines()
    assert line.startswith("seqboat: ")
    assert message in line
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("variable", [("TORCHELASTIC_RUN_ID", "none"), ("SLURM_NTASKS", "2")])
def test_processes_started_from_outside_must_agree_on_the_run_directory(monkeypatch, capsys, variable):
    monkeypatch.setenv(*variable)
    assert main(["fit", "lra/listops_short"]) == 2
    assert "--run-dir: is missing; processes that torchrun or srun starts" in capsys.readouterr().err


def test_the_exit_status_reaches_the_shell(tmp_path):
    done = run("fit", "lra/listops_shrt", cwd=tmp_path)
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
    assert run("fitt").returncode == 2
    assert run("fit", "lra/listops_short", "--colour").returncode == 2


def test_help_names_the_commands_and_does_not_wait_for_torch():
    start = time.perf_counter()
    done = run("--help")
    assert done.returncode == 0
    for command in ("fit", "sweep", "report", "config", "data"):
        assert command in done.stdout
    assert "sweep-worker" not in done.stdout
    assert time.perf_counter() - start < 30


LARGE = {"torch", "lightning", "torchmetrics", "torch._dynamo", "optuna", "matplotlib", "scipy", "pandas"}
"""Each takes a tenth of a second to seconds to import."""


@pytest.mark.parametrize(
    ("command", "needed"),
    [
        ("--help", set()),
        ("config lra/listops_short", set()),
        ("config lra/listops_short --explain", set()),
        ("fit lra/listops_shrt", set()),
        ("fit --resume nowhere", set()),
        ("evaluate nowhere", set()),
        ("generate nowhere", set()),
        ("describe lra/listops_short text_tiny", {"torch"}),
        ("data status", {"torch"}),
        ("data prepare listops source=generated train_size=2 val_size=2 test_size=2 --processes 1", {"torch"}),
    ],
)
def test_a_command_waits_for_no_library_that_it_does_not_need(tmp_path, command, needed):
    print_loaded = f"atexit.register(lambda: print('loaded', *sys.modules.keys() & {LARGE}))"
    call = f"import atexit, sys; {print_loaded}; from seqboat_lab.cli import main; main({command.split()})"
    done = subprocess.run([sys.executable, "-c", call], capture_output=True, text=True, timeout=120, cwd=tmp_path)
    assert set(done.stdout.splitlines()[-1].split()[1:]) == needed, done.stderr


def test_config_prints_an_experiment_that_loads_again(tmp_path):
    done = run("config", "lra/listops_short", "model.memory_size=7")
    (tmp_path / "mine.yaml").write_text(done.stdout)
    again = run("config", str(tmp_path / "mine.yaml"))
    assert again.stdout == done.stdout
    assert "memory_size: 7" in again.stdout
