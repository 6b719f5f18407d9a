"""Dominance and the rule that stops a trial."""

import pytest

from seqboat_lab.sweep.config import Stopping
from seqboat_lab.sweep.stopping import dominates, should_stop

UP_DOWN = (True, False)  # accuracy up, activation rate down


@pytest.mark.parametrize(
    ("a", "b", "expected"),
    [
        ((0.5, 0.3), (0.4, 0.4), True),
        ((0.5, 0.3), (0.5, 0.4), True),
        ((0.5, 0.3), (0.5, 0.3), False),  # equal
        ((0.5, 0.5), (0.4, 0.4), False),  # better in one, worse in the other
    ],
)
def test_dominance_looks_at_all_objectives(a, b, expected):
    assert dominates(a, b, UP_DOWN) is expected


def test_a_trial_stops_only_when_enough_others_dominate_it():
    rule = Stopping(min_trials=4, dominated_by=0.5)
    better, cheaper = (0.5, 0.3), (0.1, 0.1)
    mine = (0.4, 0.4)
    assert not should_stop(rule, mine, [better] * 3, UP_DOWN)  # too few measured
    assert should_stop(rule, mine, [better] * 3 + [cheaper], UP_DOWN)
    assert not should_stop(rule, mine, [better] * 2 + [cheaper] * 2, UP_DOWN)  # exactly half: goes on
