"""Runs sent to a store come whole to another directory."""

import os
from pathlib import Path

import pytest

from seqboat_lab.cli import main
from seqboat_lab.sweep.definition.config import load_sweep
from seqboat_lab.sweep.running import run
from seqboat_lab.sweep.running.worker import _work
from seqboat_lab.sweep.stages.plan import Stages
from seqboat_lab.sweep.study import artifacts
from seqboat_lab.sweep.study import study as studies
from tests.sweep.fake import replace_runs


def files(directory: Path) -> dict[str, bytes]:
    return {str(p.relative_to(directory)): p.read_bytes() for p in directory.rglob("*") if p.is_file()}


@pytest.fixture
def begun(tiny_sweep, tmp_path, monkeypatch):
    """A finished sweep whose runs have checkpoints, sent to a store."""
    replace_runs(monkeypatch)
    monkeypatch.setattr(artifacts, "BEST", "last.ckpt")
    given = [f"storage=sqlite:///{tmp_path}/a.db", f"artifacts={tmp_path}/store"]
    sweep = load_sweep(tiny_sweep(extra="references: {never: {model.configurator: never}}\n"), given)
    _work(sweep, os.getppid(), None, search=True)
    return sweep


def test_a_report_elsewhere_has_the_runs_and_the_checkpoints_of_the_front(begun, tmp_path, monkeypatch):
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    study = studies.open_study(begun)
    rows = run.conclude(study, begun, Stages(study, begun))
    front = {row["number"] for row in run.front_of(rows, begun.objectives)}
    assert 0 < len(front) < len(rows) == 4
    for name in ("references/never-1", *(f"trials/{row['number']:04d}" for row in rows)):
        there, here = files(tmp_path / begun.directory / name), files(begun.directory / name)
        if not name.startswith("trials") or int(name[-4:]) not in front:
            there.pop("checkpoints/last.ckpt")
        assert {k: v for k, v in here.items() if not k.endswith(".hparams")} == there


def test_a_store_that_fails_costs_no_trial(tiny_sweep, tmp_path, monkeypatch, capfd):
    replace_runs(monkeypatch)
    sweep = load_sweep(tiny_sweep(), [f"artifacts={tmp_path}/store"])
    (tmp_path / "store").write_text("")
    _work(sweep, os.getppid(), None, search=True)
    assert "could not be left at" in capfd.readouterr().err
    assert [row["state"] for row in studies.summary_rows(studies.open_study(sweep), sweep)] == ["complete"] * 4


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (
            "here",
            "artifacts: 'here' is not possible here; expected a whole path such as /shared/artifacts, or s3://bucket/prefix",
        ),
        ("s3://bucket/runs", "artifacts: s3://bucket/runs needs the package boto3; install it with: "),
        ("/dev/null/x", "artifacts: /dev/null/x cannot be a directory (Not a directory)"),
    ],
)
def test_where_nothing_can_be_left_is_one_line(tiny_sweep, capsys, given, said):
    assert main(["sweep", str(tiny_sweep()), f"artifacts={given}"]) == 2
    error = capsys.readouterr().err.strip()
    assert said in error
    assert "\n" not in error
