"""The page of the routing benchmark: means, intervals, and differences between runs of the same seed."""

import json

import pytest
from scipy import stats

from benchmarks import routing, routing_report
from seqboat_lab.config import load_experiment


@pytest.mark.parametrize("task", routing.TASKS.values(), ids=list(routing.TASKS))
def test_every_cell_is_an_experiment(task):
    for own in routing.arms(task).values():
        load_experiment(task.experiment, [*task.overrides, *(each.replace("SEED", "1") for each in own)])


def test_an_unknown_cell_is_one_line(capsys):
    with pytest.raises(SystemExit) as ended:
        routing.main(["listops_short", "--arms", "sometimes"])
    assert ended.value.code == 2
    assert "--arms: there is no 'sometimes'" in capsys.readouterr().err


def test_differences_are_between_equal_seeds_and_tell_what_is_clear(tmp_path, monkeypatch):
    runs = {  # seed -> accuracy: seeds differ by far more than decisions do
        "never": {1: 0.10, 2: 0.50, 3: 0.90},
        "always": {3: 0.95, 1: 0.14, 2: 0.56, 9: 0.01},
        "random 0.3": {1: 0.20, 2: 0.40, 3: 0.95},
    }
    rows = [
        {"arm": arm, "seed": seed, "accuracy": accuracy, "rate": 0.3, "rates": [0.2, 0.4], "by_class": {}, "cpu_seconds": 36}
        for arm, seeds in runs.items()
        for seed, accuracy in seeds.items()
    ]  # fmt: skip
    out = tmp_path / "rows.jsonl"
    out.write_text("".join(json.dumps(row) + "\n" for row in rows))
    monkeypatch.setattr(routing_report, "results", lambda name: out if name == "listops_short" else tmp_path / "none")
    monkeypatch.setattr(routing_report, "PAGE", tmp_path / "page.md")
    routing_report.main()
    page = (tmp_path / "page.md").read_text()

    def half(values):
        return stats.t.ppf(0.975, len(values) - 1) * stats.sem(values)

    assert f"| always | never | 5.0 ± {100 * half([0.04, 0.06, 0.05]):.1f} | yes | 3 |" in page
    assert f"| random 0.3 | never | 1.7 ± {100 * half([0.1, -0.1, 0.05]):.1f} | no | 3 |" in page
    assert f"| never | 50.0 ± {100 * half([0.1, 0.5, 0.9]):.1f} | 30.0 ± 0.0 | 20 / 40 | 3 |" in page
    assert "text_tiny" not in page
