"""The field that decides is found, and the front is coloured by it."""

import numpy as np
import pytest

from seqboat_lab.analysis.importance import FEWEST_TRIALS, deciding, importance

SPACE = {
    "a": {"choices": ["x", "y", "z"]},
    "b": {"low": 0.0, "high": 1.0},
    "section": {"choices": [{"kind": "p"}, {"kind": "q"}]},
    "n": {"low": 1, "high": 64, "log": True},
}
UP = {"score": "maximize"}


def rows_of(score, n=60, **fixed):
    generator = np.random.default_rng(0)
    rows = []
    for number in range(n):
        row = {
            "number": number, "state": "complete", "a": str(generator.choice(["x", "y", "z"])), "b": float(generator.random()),
            "section": str(generator.choice(['{"kind": "p"}', '{"kind": "q"}'])), "n": int(generator.integers(1, 65)), **fixed,
        }  # fmt: skip
        rows.append({**row, "score": score(row) + generator.normal(0, 0.01)})
    return rows


@pytest.mark.parametrize(
    ("key", "score"),
    [
        ("a", lambda row: {"x": 0, "y": 1, "z": 2}[row["a"]]),
        ("b", lambda row: row["b"]),
        ("section", lambda row: row["section"] == '{"kind": "q"}'),
        ("n", lambda row: np.log(row["n"])),
    ],
)
@pytest.mark.parametrize("direction", ["maximize", "minimize"])
def test_the_field_that_alone_matters_is_the_most_important(key, score, direction):
    found = importance(rows_of(score), {"score": direction}, SPACE)
    assert deciding(found) == key
    assert found["score"][key] > 0.5
    assert sum(found["score"].values()) == pytest.approx(1)


def test_each_objective_has_its_own():
    rows = [{**row, "cost": row["b"]} for row in rows_of(lambda row: {"x": 0, "y": 1, "z": 2}[row["a"]])]
    found = importance(rows, {"score": "maximize", "cost": "minimize"}, SPACE)
    assert max(found["score"], key=found["score"].get) == "a"
    assert max(found["cost"], key=found["cost"].get) == "b"


def test_too_few_or_equal_trials_and_values_outside_the_space_give_nothing_to_go_by():
    assert importance(rows_of(lambda row: 1.0, n=FEWEST_TRIALS - 1), UP, SPACE) == {}
    assert importance([{**row, "score": 1.0} for row in rows_of(lambda row: 1.0)], UP, SPACE) == {}
    assert deciding({}) is None
    odd = [{**row, "b": "text", "a": None, "n": 10**400} for row in rows_of(lambda row: row["b"])]
    assert set(importance(odd, UP, SPACE).get("score", {"section": 1})) <= set(SPACE)
    assert importance(rows_of(lambda row: row["b"]), UP, {"b": {"low": 2, "high": 1}, "a": {}}) == {}
