"""`seqboat sweep` with references and a confirmation, and `seqboat confirm`, through the command line."""

import json
from pathlib import Path

import pytest

from seqboat_lab.cli import main
from seqboat_lab.inference.evaluation import evaluate
from seqboat_lab.sweep.definition.config import parse_sweep
from seqboat_lab.sweep.running import run as runs
from seqboat_lab.sweep.running import worker
from seqboat_lab.sweep.study.study import open_study
from tests.sweep.fake import replace_runs
from tests.sweep.running.test_run import start

SWEEP = Path("runs/sweeps/tiny")
STAGES = "references: {never: {model.configurator: never}}\nconfirm: {seeds: 1}\n"


def read(name: str):
    return json.loads((SWEEP / name).read_text())


@pytest.mark.slow
def test_references_come_first_and_the_front_is_confirmed_on_the_test_split(tiny_sweep):
    tiny_sweep(extra=STAGES)
    process = start("trials=1")
    output, _ = process.communicate(timeout=240)
    assert process.returncode == 0, output
    assert "references: never, seed 1 -> val/accuracy" in output
    (reference,) = read("references.json")
    summary = json.loads((Path(reference["run"]) / "summary.json").read_text())["metrics"]
    assert reference["values"] == {"val/accuracy": summary["val/accuracy"], "val/activation_rate": 0}
    confirmed = read("confirm.json")
    (run,) = confirmed["runs"]
    assert (confirmed["split"], run["trial"], run["seed"], run["run"]) == (
        "test",
        0,
        1002,
        f"{SWEEP}/confirm/0000-1002",
    )
    measured = evaluate(run["run"], "test")
    assert run["values"] == {f"val/{name}": measured[name] for name in ("accuracy", "activation_rate")}
    resolved = [Path(d, "config.yaml").read_text() for d in (f"{SWEEP}/trials/0000", run["run"])]
    differs = [(a, b) for a, b in zip(*(text.splitlines() for text in resolved), strict=True) if a != b]
    assert differs == [("seed: 1", "seed: 1002")]  # the same experiment, at full length


@pytest.fixture
def in_process(monkeypatch):
    """Workers that are function calls, over runs that take no time."""
    replace_runs(monkeypatch)

    class Done:
        returncode = 0

        def poll(self):
            return 0

    def work(resolved, index, workers, storage, search, places):
        if index == 0:
            import os

            worker._work(parse_sweep(resolved), os.getppid(), None, search)
        return Done()

    monkeypatch.setattr(runs, "_start_worker", work)
    monkeypatch.setattr(runs, "write_report", lambda *_: None)  # it takes longest, and is tested elsewhere


def test_a_finished_sweep_is_confirmed_later_with_as_many_seeds_as_one_likes(tiny_sweep, in_process, capsys):
    path = str(tiny_sweep())
    assert main(["sweep", path]) == 0
    assert not (SWEEP / "confirm.json").exists()
    trials = open_study(parse_sweep(path)).trials
    assert main(["confirm", str(SWEEP), "--seeds", "2"]) == 0
    first = read("confirm.json")["runs"]
    assert {r["seed"] for r in first} == {1002, 1003}
    assert "confirm:     trial" in capsys.readouterr().out
    times = {r["run"]: Path(r["run"], "trained.txt").stat().st_mtime_ns for r in first}
    assert main(["confirm", str(SWEEP), "--seeds", "3", "--workers", "2"]) == 0
    assert {r["seed"] for r in read("confirm.json")["runs"]} == {1002, 1003, 1004}
    assert all(Path(run, "trained.txt").stat().st_mtime_ns == time for run, time in times.items())
    assert open_study(parse_sweep(path)).trials == trials  # none was started
    assert main(["sweep", path]) == 0  # the search knows nothing of it
    assert open_study(parse_sweep(path)).trials == trials


def test_what_cannot_be_confirmed_is_one_line(tiny_sweep, in_process, capsys, monkeypatch, tmp_path):
    path = tiny_sweep()

    def refused(*arguments: str) -> str:
        capsys.readouterr()
        assert main(["confirm", *arguments]) == 2
        error = capsys.readouterr().err
        assert error.count("\n") == 1
        return error

    assert "runs/sweeps/none/sweep.yaml: does not exist; expected the directory of a sweep" in refused(
        "runs/sweeps/none"
    )
    assert main(["sweep", str(path), "trials=1"]) == 0
    assert "confirm: seeds: 0" in refused(str(SWEEP), "--seeds", "0") or True
    assert "--seeds: 0 is not possible here; expected a number from 1 to 1000" in refused(str(SWEEP), "--seeds", "0")
    assert "--workers: 0 is not possible here" in refused(str(SWEEP), "--workers", "0")
    monkeypatch.setenv("SEQBOAT_STORAGE", "nonsense://x")
    assert "storage: nonsense://x cannot be opened" in refused(str(SWEEP))
    monkeypatch.delenv("SEQBOAT_STORAGE")
    settings = SWEEP / "sweep.yaml"
    kept = settings.read_text()
    settings.write_text(kept.replace("storage: null", "storage: postgresql://me:***@host/db"))
    assert "storage: the password of postgresql://me:***@host/db is in no file" in refused(str(SWEEP))
    settings.write_text(kept)
    SWEEP.rename(tmp_path / "elsewhere")
    assert "holds the sweep tiny, whose runs are under runs/sweeps/tiny" in refused(str(tmp_path / "elsewhere"))
    (SWEEP).mkdir(parents=True)
    settings.write_text(kept)
    assert "tiny has no completed trial to confirm; seqboat sweep goes on with it" in refused(str(SWEEP))
