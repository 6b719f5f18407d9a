"""Confirmed candidates: who is on their front, how surely, and what the search promised too much."""

import json

import numpy as np
import pytest

from seqboat_lab.analysis.confirmation import optimism, read_confirmation, read_references
from seqboat_lab.cli import main
from tests.analysis.sweeps import CONFIRMED, ROWS, TWO, confirm, make_sweep


@pytest.fixture
def sweep(tmp_path):
    directory = make_sweep(tmp_path / "s", ROWS)
    confirm(directory, CONFIRMED)
    return directory


def test_runs_of_a_trial_are_one_candidate_and_references_are_apart(sweep):
    found = read_confirmation(sweep, TWO)
    assert found.split == "test"
    assert [(c.name, c.trial, len(c.values)) for c in found.candidates] == [
        ("trial 0", 0, 3),
        ("trial 1", 1, 3),
        ("trial 2", 2, 3),
    ]
    assert [c.name for c in found.references] == ["never"]
    assert found.means() == pytest.approx(np.array([[0.48, 0.5], [0.45, 0.2], [0.4, 0.3]]))
    assert [c.name for c in found.front(TWO)] == ["trial 0", "trial 1"]  # 1 dominates 2


def test_a_candidate_far_behind_is_surely_not_on_the_front(sweep):
    chances = read_confirmation(sweep, TWO).probabilities(TWO)
    assert list(chances) == ["trial 0", "trial 1", "trial 2"]
    assert chances["trial 1"] == 1.0  # nothing with its accuracy activates as little
    assert chances["trial 0"] > 0.95
    assert chances["trial 2"] < 0.05


def test_the_winners_curse_is_positive_where_the_search_was_better_in_either_direction(sweep):
    lost = optimism(read_confirmation(sweep, TWO).candidates, ROWS, TWO)
    assert lost["trial 0"] == pytest.approx([0.50 - 0.48, 0.50 - 0.50])
    assert lost["trial 1"] == pytest.approx([0.45 - 0.45, 0.20 - 0.20])
    confirm(sweep, {1: [(0.45, 0.30), (0.45, 0.30)]})  # activates more than the search saw: worse
    (change,) = optimism(read_confirmation(sweep, TWO).candidates, ROWS, TWO).values()
    assert change == pytest.approx([0.0, 0.1])


def test_where_new_runs_know_the_searchs_split_the_curse_is_measured_there(sweep):
    for seed, accuracy in ((1001, 0.46), (1002, 0.44)):
        run = sweep / "confirm" / f"0001-{seed}"
        metrics = {"val/accuracy": accuracy, "val/activation_rate": 0.2}
        (run / "summary.json").write_text(json.dumps({"metrics": metrics}))
    confirm(sweep, {1: [(0.30, 0.2), (0.32, 0.2)]})
    (candidate,) = read_confirmation(sweep, TWO).candidates
    assert candidate.validation == pytest.approx(np.array([[0.46, 0.2], [0.44, 0.2]]))
    assert optimism([candidate], ROWS, TWO)["trial 1"] == pytest.approx([0.45 - 0.45, 0.0])
    assert main(["report", str(sweep)]) == 0
    assert "both on the validation split" in (sweep / "report.html").read_text()


def test_runs_that_diverged_are_left_out_and_one_run_gives_no_chance(sweep):
    confirm(sweep, {0: [(0.48, 0.5), (None, 0.5)], 1: [(0.45, 0.2), (0.46, 0.2)], 2: [(None, None)]})
    found = read_confirmation(sweep, TWO)
    assert [(c.trial, len(c.values)) for c in found.candidates] == [(0, 1), (1, 2)]
    assert found.probabilities(TWO) == {}
    assert main(["report", str(sweep)]) == 0


def test_references_of_several_seeds_are_one_point(tmp_path):
    runs = [
        {"name": "always", "run": "r", "seed": s, "values": {"val/accuracy": 0.4 + s, "val/activation_rate": 1}}
        for s in (0, 1)
    ]
    (tmp_path / "references.json").write_text(json.dumps(runs))
    (reference,) = read_references(tmp_path, TWO)
    assert (reference.name, reference.values.tolist()) == ("always", [[0.4, 1.0], [1.4, 1.0]])
    assert read_references(tmp_path / "none", TWO) == []
    assert read_confirmation(tmp_path / "none", TWO) is None


@pytest.mark.parametrize("name", ["confirm.json", "references.json"])
@pytest.mark.parametrize("text", ["", "{", "3", '{"runs": 3}', '[{"values": 3}]', '{"split": "test", "runs": [{"seed": 1}]}', "[" * 9000, '[{"values": {}}]'])  # fmt: skip
def test_a_damaged_file_is_one_line_and_nothing_is_written(sweep, capsys, name, text):
    (sweep / name).write_text(text)
    assert main(["report", str(sweep)]) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"seqboat: {sweep}/{name}: ")
    assert error.count("\n") == 1
    assert not (sweep / "report.html").exists()
