"""`seqboat compare`: runs and sweeps beside each other."""

import json
from pathlib import Path

import matplotlib.pyplot as plt
import pytest

from seqboat_lab.analysis.compare import compare
from seqboat_lab.analysis.figures.comparison import fronts_figure
from seqboat_lab.cli import main
from seqboat_lab.config import load_experiment
from seqboat_lab.config.files import to_yaml
from tests.analysis.sweeps import CONFIRMED, ROWS, confirm, make_sweep, trial


def make_run(directory: Path, *overrides: str, accuracy=(0.3, 0.4)) -> Path:
    directory.mkdir(parents=True)
    (directory / "config.yaml").write_text(to_yaml(load_experiment("lra/listops_short", overrides)))
    lines = [
        {"step": 100 * (n + 1), "val/accuracy": v, "val/activation_rate": 0.5, "val/activation_rate/layer_0": 0.5}
        for n, v in enumerate(accuracy)
    ]
    (directory / "validations.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines) + '{"step": 3')
    return directory


def test_runs_metrics_and_the_fields_that_differ(tmp_path, capsys):
    a = make_run(tmp_path / "a", "model.memory_size=8")
    b = make_run(tmp_path / "b", "model.memory_size=16", "seed=3", accuracy=(0.2, 0.45, 0.5))
    out = tmp_path / "page.html"
    assert main(["compare", str(a), str(b), "--out", str(out)]) == 0
    shown = [line.replace("│", "").split() for line in capsys.readouterr().out.splitlines()]
    assert ["val/accuracy", "0.4", "0.5"] in shown
    assert ["step", "200", "300"] in shown
    assert ["model.memory_size", "8", "16"] in shown
    assert any(line[:1] == ["seed"] for line in shown)
    assert not any(line[:1] == ["model.ssm.kernel"] for line in shown)  # the same in both
    page = out.read_text()
    assert '<figure id="figure-curves">' in page
    assert '<figure id="figure-fronts">' not in page


def test_sweeps_fronts_and_runs_among_them(tmp_path, capsys, monkeypatch):
    drawn = {}

    def spy(sweeps, objectives, split, runs=()):
        drawn.update(sweeps=sweeps, split=split, runs=[r.name for r in runs])
        return fronts_figure(sweeps, objectives, split, runs)

    monkeypatch.setattr("seqboat_lab.analysis.compare.fronts_figure", spy)
    a, b = make_sweep(tmp_path / "a", ROWS), make_sweep(tmp_path / "b", [trial(0, 0.6, 0.5)], seed=8)
    run = make_run(tmp_path / "run")
    compare([a, b, run], tmp_path / "page.html")
    assert (drawn["split"], drawn["runs"]) == ("val", ["run"])
    assert [len(c) for c in drawn["sweeps"].values()] == [9, 1]  # without the stopped one
    out = capsys.readouterr().out
    assert "0.3" in out  # b's hypervolume: 0.6 * (1 - 0.5)
    assert "seed" in out
    confirm(a, CONFIRMED)
    compare([a, b], tmp_path / "page.html")
    assert drawn["split"] == "val"  # b is not confirmed: values of different splits are not comparable
    confirm(b, {0: [(0.58, 0.5), (0.57, 0.5)]})
    compare([a, b, run], tmp_path / "page.html")
    assert (drawn["split"], drawn["runs"]) == ("test", [])
    assert [len(c) for c in drawn["sweeps"].values()] == [3, 1]
    assert not plt.get_fignums()


@pytest.mark.parametrize("n", [1, 3])
def test_fronts_of_one_and_three_objectives(tmp_path, n):
    three = {"val/accuracy": "maximize", "val/activation_rate": "minimize", "val/loss": "minimize"}
    objectives = dict(list(three.items())[:n])
    rows = [trial(k, 0.4 + k / 100, 0.5 - k / 100, 1.0 + k, objectives=three) for k in range(4)]
    a, b = (make_sweep(tmp_path / name, rows, objectives) for name in "ab")
    compare([a, b], tmp_path / "page.html")
    assert "best validation accuracy" in (tmp_path / "page.html").read_text()


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (["a"], "alone has nothing to be compared with"),
        (["a", "nothing"], "nothing"),
        (["a", "other"], "has other objectives"),
    ],
)
def test_what_cannot_be_compared_is_one_line(tmp_path, capsys, names, said):
    make_sweep(tmp_path / "a", ROWS)
    make_sweep(tmp_path / "other", ROWS, {"val/accuracy": "minimize"})
    assert main(["compare", *(str(tmp_path / name) for name in names), "--out", str(tmp_path / "page.html")]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1
    assert not (tmp_path / "page.html").exists()
