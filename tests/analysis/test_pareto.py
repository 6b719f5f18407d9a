"""Fronts and hypervolumes against brute force."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from seqboat_lab.analysis.pareto import front_of, hypervolume, hypervolume_history, non_dominated

OBJECTIVES = {"val/accuracy": "maximize", "val/activation_rate": "minimize"}
points = st.lists(st.tuples(*[st.integers(0, 6)] * 3), min_size=1, max_size=8)


def row(number, accuracy, rate, state="complete"):
    return {"number": number, "state": state, "val/accuracy": accuracy, "val/activation_rate": rate}


def test_the_front_holds_completed_trials_that_nothing_dominates():
    rows = [
        row(0, 0.5, 0.5),
        row(1, 0.4, 0.2),
        row(2, 0.4, 0.3),  # dominated by 1
        row(3, 0.9, 0.1, state="stopped"),  # would dominate all, but never finished
        row(4, None, None, state="failed"),
        row(5, 0.6, 0.9),
    ]
    assert [r["number"] for r in front_of(rows, OBJECTIVES)] == [5, 0, 1]
    assert front_of([], OBJECTIVES) == []


@given(points)
def test_non_dominated_agrees_with_the_definition(values):
    values = np.array(values, dtype=float)
    for i, keep in enumerate(non_dominated(values)):
        beaten = any((other >= values[i]).all() and (other > values[i]).any() for other in values)
        assert keep == (not beaten)


@given(points)
def test_hypervolume_counts_the_unit_cells_below_the_points(values):
    """With integer points and the origin as reference, the volume is a number of unit cells."""
    values = np.array(values, dtype=float)
    cells = np.stack(np.meshgrid(*[np.arange(6)] * 3, indexing="ij"), -1).reshape(-1, 1, 3) + 0.5
    covered = (cells <= values[None]).all(-1).any(1).sum()
    assert hypervolume(values, np.zeros(3)) == pytest.approx(covered)


def test_hypervolume_history_uses_natural_bounds_and_grows():
    rows = [row(0, 0.5, 0.5), row(1, 0.4, 0.2), row(2, 0.1, 0.9), row(3, 0.9, 0.1, state="stopped")]
    first, second, third = hypervolume_history(rows, OBJECTIVES)
    assert first == pytest.approx(0.5 * 0.5)
    assert second == pytest.approx(0.5 * 0.5 + 0.4 * 0.3)
    assert third == second
