"""The recall benchmark goes on where it was killed, and its page says what its runs found."""

import json

import pytest

from benchmarks import recall, recall_report
from seqboat_lab.config import load_experiment

SMALL = [
    "trainer.max_steps=10", "optim.warmup_steps=2", "data.length=32", "data.pairs=2", "data.val_size=256",
    "model.d_model=16", "model.d_hidden=16", "model.d_attention=8",
]  # fmt: skip


def test_every_cell_is_an_experiment():
    for overrides in recall.arms().values():
        load_experiment(recall.EXPERIMENT, [each.replace("SEED", "1") for each in overrides])


def test_a_run_is_measured_once_and_a_killed_benchmark_goes_on(tmp_path, monkeypatch):
    out = tmp_path / "results.jsonl"
    command = ["--out", str(out), "--arms", "every_kth 0.5", "cost 0.1", "--seeds", "1", "--", *SMALL]
    recall.main(command)
    rows = recall.finished(out)
    assert [row["arm"] for row in rows] == ["every_kth 0.5", "cost 0.1"]
    assert rows[0]["rates"] == [0.5, 0.5]
    for layer in rows[0]["by_class"]:  # every class of token has its share, and they add up to the rate
        assert {"key", "value", "noise", "question"} == set(layer)
    lines = out.read_text().splitlines()
    out.write_text(lines[0] + "\n")  # killed before the second one was done
    trained = []
    monkeypatch.setattr(recall, "train", lambda config: trained.append(config) or {**rows[1]})
    recall.main(command)
    assert [config.optim.activation_cost for config in trained] == [0.1]
    assert len(recall.finished(out)) == 2


def test_the_page_has_means_and_intervals_of_the_seeds(tmp_path, monkeypatch):
    layer = {"key": 0.5, "value": 1.0, "noise": 0.1, "question": 0.9}
    rows = [
        {"arm": "capacity 0.3", "seed": seed, "overrides": [], "accuracy": accuracy, "rate": 0.3, "rates": [0.2, 0.4],
         "by_class": [layer, layer], "cpu_seconds": 1800}
        for seed, accuracy in ((2, 0.8), (1, 0.6), (3, 1.0))
    ]  # fmt: skip
    rows.append({**rows[0], "seed": 4, "overrides": ["trainer.max_steps=5"], "accuracy": 0.0})
    out = tmp_path / "results.jsonl"
    out.write_text("".join(json.dumps(row) + "\n" for row in rows))
    monkeypatch.setattr(recall_report, "finished", lambda: recall.finished(out))
    monkeypatch.setattr(recall_report, "PAGE", tmp_path / "page.md")
    recall_report.main()
    page = (tmp_path / "page.md").read_text()
    half = 4.302652729911275 * 0.2 / 3**0.5  # t quantile of 2 degrees of freedom
    assert f"| capacity 0.3 | 80.0 ± {100 * half:.1f} (3 seeds) | 60, 80, 100 | 30.0 | 20 / 40 |" in page
    assert "| capacity 0.3 | 0 | 50 | 100 | 10 | 90 |" in page
    assert "3 runs, 1.5 CPU hours" in page
    assert recall_report.interval([0.5]) == "50.0 (1 seed)"


@pytest.mark.parametrize("values", [[0.2, 0.2], [0.1, 0.2, 0.6]])
def test_intervals_are_students(values):
    from scipy.stats import t

    low, high = t.interval(
        0.95,
        len(values) - 1,
        sum(values) / len(values),
        1e-9 + (sum((v - sum(values) / len(values)) ** 2 for v in values) / (len(values) - 1) / len(values)) ** 0.5,
    )
    assert f"± {50 * (high - low):.1f}" in recall_report.interval(values)
