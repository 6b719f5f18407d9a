"""What the notebooks of the questions say of kept results."""

import json

import pandas as pd
import pytest

from seqboat_lab.analysis.answers import Column, enough, mean_and_half, read_answer, sentences, summary
from seqboat_lab.config import ConfigError

T2 = 4.302652729911275  # 97.5 % quantile of Student's t with 2 degrees of freedom
LUCK = {1: -0.01, 2: 0.0, 3: 0.01}


def runs(means: dict[int, float], twitch: float = 0.001) -> pd.DataFrame:
    rows = [
        {"state": "complete", "w": w, "seed": seed, "right": mean + luck + twitch * ((place + seed) % 3 - 1)}
        for place, (w, mean) in enumerate(means.items())
        for seed, luck in LUCK.items()
    ]
    return pd.DataFrame(rows)


def test_intervals_are_students_over_seeds():
    assert mean_and_half([0.39, 0.40, 0.41], 2, 100) == f"40.00 ± {T2 / 3**0.5:.2f}"
    assert mean_and_half([0.5, float("nan")]) == "0.5"
    assert mean_and_half([float("nan")]) == "-"


def test_a_summary_has_a_row_for_every_setting_in_its_order():
    table = summary(runs({16: 0.5, 4: 0.25}, twitch=0), {"w": "memory"}, [Column("accuracy, %", "right", 100, 0)])
    assert table.splitlines()[2:] == ["| 16 | 50 ± 2 |", "| 4 | 25 ± 2 |"]
    assert table.startswith("| memory | accuracy, % |")


def test_enough_is_the_smallest_that_seeds_cannot_tell_from_the_best():
    assert enough(runs({4: 0.3, 16: 0.4999, 64: 0.5}), "right", "w") == 16
    assert enough(runs({4: 0.3, 16: 0.4999, 64: 0.5}), "right", "w", maximize=False) == 4
    assert enough(runs({4: 0.3, 16: 0.4, 64: 0.5}), "right", "w") == 64
    told = sentences(runs({4: 0.3, 16: 0.4999, 64: 0.5}), "right", "w", 64, "points", 100)
    assert told[4].startswith("4 is worse than 64 by 20 points")
    assert told[16].startswith("16 and 64 cannot be told apart")


def test_results_that_are_not_there_name_the_command(tmp_path, monkeypatch):
    monkeypatch.setenv("SEQBOAT_RESULTS", str(tmp_path))
    with pytest.raises(ConfigError, match=r"docs/answers/memory: has no results; `make answer Q=memory` makes them"):
        read_answer("memory")
    directory = tmp_path / "docs" / "answers" / "memory"
    directory.mkdir(parents=True)
    made = {"command": "make answer Q=memory", "machine": "M", "code": "1 (abc)", "seeds": [1, 2], "runs": 4,
            "seconds": 5400, "tasks": {"16px": {"updates": 1200}}}  # fmt: skip
    (directory / "made.json").write_text(json.dumps(made))
    answer = read_answer("memory")
    assert answer.updates() == "16px 1,200"
    assert "4 runs, together 1.5 hours, seeds 1, 2, on M; code 1 (abc)" in answer.provenance
    with pytest.raises(ConfigError, match=r"curves.csv.gz: does not exist"):
        answer.table("curves")
