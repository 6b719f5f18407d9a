"""Everything that can be typed: the right result, or one line on stderr and status 2."""

import math
import os
import subprocess
import sys

import pytest

from seqboat_lab.cli import main
from seqboat_lab.config import load_experiment
from seqboat_lab.config.files import to_yaml

CLI = [sys.executable, "-m", "seqboat_lab.cli"]


def refusal(capsys, *arguments: str) -> str:
    """The one line that a mistake gives, whoever notices it."""
    try:
        status = main(arguments)
    except SystemExit as end:
        status = end.code
    printed = capsys.readouterr()
    assert status == 2
    assert printed.out == ""
    (line,) = printed.err.splitlines()
    assert line.startswith("seqboat: ")
    return line


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["describe", "text_tiny", "--rate", "nan"], "--rate: nan is not possible here"),
        (["describe", "text_tiny", "--rate", "-0.1"], "--rate: -0.1 is not possible here"),
        (["describe", "text_tiny", "--rate", ""], "argument --rate: invalid float value: ''"),
        (["describe", "text_tiny", "model.configurator={kind: never}", "--rate", "0.5"], "never always has 0"),
        (["generate", "x", "--bytes", "-1"], "--bytes: -1 is not possible here"),
        (["generate", "x", "--bytes", "9" * 5000], "argument --bytes: invalid int value"),
        (["generate", "x", "--temperature", "nan"], "--temperature: nan is not possible here"),
        (["generate", "x", "--temperature", "inf"], "--temperature: inf is not possible here"),
        (["generate", "x", "--top-p", "2"], "--top-p: 2.0 is not possible here"),
        (["generate", "x", "--top-p", "nan"], "--top-p: nan is not possible here"),
        (["generate", "x", "--seed", "-1"], "--seed: -1 is not possible here"),
        (["generate", "x", "--seed", str(2**64)], "--seed: 18446744073709551616 is not possible here"),
        (["generate", "x", "--checkpoint", "../../x"], "--checkpoint: '../../x' is not possible here"),
        (["generate", "x", "--checkpoint", ""], "--checkpoint: '' is not possible here"),
        (["evaluate", "x", "--checkpoint", "y" * 300], "--checkpoint: 'yyy"),
        (["data", "prepare", "image", "--processes", "0"], "--processes: 0 is not possible here"),
        (["data", "prepare", "image", "--processes", "1000000"], "--processes: 1000000 is not possible here"),
        (["data", "prepare", ""], "unknown task or experiment ''"),
        (["data", "sheet", "x.png", "--size", "17"], "--size: 17 is not possible here"),
        (["data", "sheet", "x.png", "--size"], "argument --size: expected one argument"),
        (["data", "sheet", ""], "argument path: '' is not possible here; expected a path"),
        (["sweep", "x.yaml", "--workers", "1000000000"], "--workers: 1000000000 is not possible here"),
        (["sweep", ""], "argument sweep: '' is not possible here"),
        (["evaluate", "\udcff"], r"'\udcff' is not possible here; expected a path in UTF-8"),
        (["evaluate", "a\0b"], "which has no NUL character"),
        (["evaluate", "x" * 300], "names have up to 255 bytes"),
        (["evaluate", "~nobody_here/run"], "names a home directory that is not known here"),
        (["fit", "text_tiny", "--run-dir", ""], "argument --run-dir: '' is not possible here"),
        (["fit", "text_tiny\n[/x]"], r"unknown experiment 'text_tiny\n[/x]'"),
        (["fit", "text_tiny", "\x1b[31m=1"], "unknown field of ExperimentConfig"),
        (["describe", "."], ".: is no run directory: it has no config.yaml"),
        (["config"], "the following arguments are required: config"),
        (["nothing"], "invalid choice: 'nothing'"),
        ([], "the following arguments are required: COMMAND"),
    ],
)
def test_impossible_arguments_give_one_line(arguments, message, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    line = refusal(capsys, *arguments)
    assert message in line
    assert "\x1b" not in line
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("options", [["evaluate"], ["report"], ["generate"], ["sweep"], ["fit", "--resume"]])
def test_a_home_directory_is_expanded_in_paths_of_the_command_line(options, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert str(tmp_path / "nothing") in refusal(capsys, *options, "~/nothing")


def test_text_in_brackets_is_no_markup(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["data", "status", "--root", "[/x]"]) == 0
    assert "[/x]/" in capsys.readouterr().out
    from seqboat_lab.analysis.metrics_table import print_metrics

    print_metrics("runs/[red]x[/]", {"accuracy": 0.5})
    assert "runs/[red]x[/]" in capsys.readouterr().out


def write_run(path, *overrides: str):
    path.mkdir()
    (path / "config.yaml").write_text(to_yaml(load_experiment("lra/listops_short", overrides)))
    return path


def test_describe_and_config_take_the_directory_of_a_run(tmp_path, capsys):
    run = write_run(tmp_path / "run.v1", "model.d_model=48")
    assert main(["describe", str(run)]) == 0
    assert "of width 48" in capsys.readouterr().out
    assert main(["config", str(run), "seed=5"]) == 0
    printed = capsys.readouterr().out
    assert "d_model: 48" in printed
    assert "seed: 5" in printed


def described(capsys, *arguments: str) -> dict[str, str]:
    assert main(["describe", "lra/listops_short", *arguments]) == 0
    rows = [line.strip("│ ").split("│") for line in capsys.readouterr().out.splitlines() if line.count("│") == 5]
    return {row[0].strip(): row[1].strip() for row in rows}


def test_describe_counts_only_parameters_that_have_an_effect(capsys):
    """Of `never`, what is left when the attention is taken away; and as `random` with rate 0."""
    always = described(capsys, "model.configurator={kind: always}")
    never = described(capsys, "model.configurator={kind: never}")
    d, h, z, m = 64, 128, 32, 128
    attention = 2 * (d * (z + 2 * h) + (z + 2 * h) + h * d + d + 2 * 2 * z + 2 * m - 1)
    assert (always["gau"], never["gau"]) == (f"{attention:,}", "0")
    number = {name: int(row["total"].replace(",", "")) for name, row in (("always", always), ("never", never))}
    assert number["always"] - number["never"] == attention
    assert described(capsys, "model.configurator={kind: random, rate: 0}") == never


@pytest.mark.parametrize(
    ("configurator", "rate"),
    [
        ("{kind: never}", 0),
        ("{kind: always}", 1),
        ("{kind: random, rate: 0.3}", 0.3),
        ("{kind: every_kth, k: 4}", 0.25),
    ],
)
def test_describe_counts_for_the_only_rate_that_a_configurator_has(configurator, rate, capsys):
    assert main(["describe", "lra/listops_short", f"model.configurator={configurator}"]) == 0
    assert f"activation rate {rate:.0%}" in capsys.readouterr().out


def run(*arguments: str | bytes, **options) -> subprocess.CompletedProcess:
    return subprocess.run([*CLI, *arguments], capture_output=True, timeout=120, **options)


def test_arguments_that_are_not_utf8_are_printed_escaped(tmp_path):
    done = run("config", b"\xff", cwd=tmp_path)
    assert done.returncode == 2
    assert rb"'\udcff' is not possible here" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_output_that_cannot_be_written(tmp_path):
    shell = {"shell": True, "cwd": tmp_path, "timeout": 120, "capture_output": True, "executable": "/bin/bash"}
    command = f"{sys.executable} -m seqboat_lab.cli config text_tiny"
    closed = subprocess.run(f"{command} >&-", **shell)
    assert (closed.returncode, closed.stderr) == (0, b"")
    pipe = subprocess.run(f"{command} | true; exit ${{PIPESTATUS[0]}}", **shell)
    assert (pipe.returncode, pipe.stderr) == (0, b"")
    if os.path.exists("/dev/full"):
        full = subprocess.run(f"{command} > /dev/full", **shell)
        assert (full.returncode, full.stderr) == (2, b"seqboat: No space left on device\n")


def test_numbers_that_are_possible_pass(capsys):
    for rate in (0, 1, math.nextafter(1, 0)):
        assert main(["describe", "lra/listops_short", "--rate", repr(rate)]) == 0
    capsys.readouterr()
