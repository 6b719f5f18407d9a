"""Fronts and hypervolumes against brute force."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from seqboat_lab.analysis.pareto import (
    FIRST_TRIALS,
    front_of,
    hypervolume,
    hypervolume_history,
    kept_reference,
    non_dominated,
)

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


def test_the_reference_follows_an_objectives_direction():
    """Maximising both: above (0, 0) lie 0.5 * 0.25, then 0.75 * 0.5; a rate that is minimised counts from 1."""
    up = dict.fromkeys(OBJECTIVES, "maximize")
    assert hypervolume_history([row(0, 0.5, 0.25), row(1, 0.75, 0.5)], up) == pytest.approx([0.125, 0.375])
    down = {"val/accuracy": "minimize", "val/activation_rate/layer_3": "minimize"}
    assert kept_reference([], down, {}) == {"val/accuracy": 1.0, "val/activation_rate/layer_3": 1.0}


LOSS = {"val/loss": "minimize", "val/accuracy": "maximize"}


def losses(*values, state="complete"):
    return [{"number": n, "state": state, "val/loss": v, "val/accuracy": 0.5} for n, v in enumerate(values)]


def test_without_a_bound_the_first_trials_give_the_reference_and_later_ones_do_not_move_it():
    rows = losses(2.0, 3.0, 1.0, 2.5, 1.5)
    assert len(rows) == FIRST_TRIALS
    kept = kept_reference(rows, LOSS, {})
    assert kept == {"val/loss": 3.0, "val/accuracy": 0.0}
    before = hypervolume_history(rows, LOSS, kept)
    assert before == pytest.approx([0.5, 0.5, 1.0, 1.0, 1.0])
    later = losses(2.0, 3.0, 1.0, 2.5, 1.5, 9.0, 0.5)
    assert kept_reference(later, LOSS, {}) == kept
    assert hypervolume_history(later, LOSS, kept)[:5] == before


def test_the_reference_stays_open_while_trials_are_under_way_and_can_be_fixed():
    under_way = losses(2.0, 3.0) + losses(None, state="running")
    assert kept_reference(under_way, LOSS, {}) == {}
    assert hypervolume_history(under_way, LOSS) == []
    assert kept_reference(under_way, LOSS, {"val/loss": 4.0}) == {"val/loss": 4.0, "val/accuracy": 0.0}
    assert kept_reference(losses(2.0, 3.0), LOSS, {}) == {"val/loss": 3.0, "val/accuracy": 0.0}  # all that will be
    assert kept_reference(losses(2.0, 3.0), LOSS, {"val/loss": 2.0})["val/loss"] == 2.0  # kept from before


@given(st.lists(st.tuples(*[st.integers(0, 6)] * 3), min_size=1, max_size=12))
def test_the_history_is_the_hypervolume_of_all_trials_so_far(values):
    objectives = {"a": "maximize", "b": "maximize", "c": "minimize"}
    rows = [{"number": n, "state": "complete", **dict(zip(objectives, v, strict=True))} for n, v in enumerate(values)]
    history = hypervolume_history(rows, objectives, {"a": 0, "b": 0, "c": 7})
    signed = np.array(values, dtype=float) * [1, 1, -1]
    worst = np.array([0.0, 0.0, -7.0])
    assert history == pytest.approx([hypervolume(signed[: n + 1], worst) for n in range(len(values))])
