"""Means, errors and chances of candidates with several seeds, against values worked out by hand and by numpy."""

import math

import numpy as np
import pytest

from seqboat_lab.sweep.definition.confirm import confirm_seeds, search_seeds
from seqboat_lab.sweep.stages.noise import average, deviations, is_hopeless, mean, near_front, standard_errors

UP_DOWN = (True, False)


def test_means_and_standard_errors_of_seeds():
    values = [[0.1, 3.0], [0.2, 3.0], [0.6, 3.0]]
    assert mean(values) == pytest.approx([0.3, 3.0])
    assert standard_errors(values) == pytest.approx([np.std([0.1, 0.2, 0.6], ddof=1) / math.sqrt(3), 0])
    assert standard_errors(values[:1]) is None


def test_the_deviation_between_seeds_is_pooled_over_candidates_once_enough_is_known():
    two = [[1.0], [3.0]]  # squares 2, one degree of freedom
    three = [[0.0], [0.0], [3.0]]  # squares 6, two degrees
    assert deviations([two, three]) is None
    assert deviations([two, three, [[9.0]]]) is None  # a single seed tells nothing
    assert deviations([two, three, two]) == pytest.approx([math.sqrt((2 + 6 + 2) / 4)])


def quiet(centre: float, noise: float = 0.01) -> list[list[float]]:
    return [[centre - noise, 0.5], [centre, 0.5], [centre + noise, 0.5]]


def test_a_candidate_is_hopeless_only_where_another_is_far_ahead_in_everything():
    known = [quiet(0.5), quiet(0.45)]  # deviation 0.01 in the first, none in the second; slack 2 x 0.01 x sqrt(4/3)
    assert is_hopeless([0.5 - 0.0232, 0.5], known, UP_DOWN)
    assert not is_hopeless([0.5 - 0.0230, 0.5], known, UP_DOWN)  # may be luck
    assert not is_hopeless([0.1, 0.49], known, UP_DOWN)  # cheaper than all
    assert is_hopeless([0.1, 0.51], known, UP_DOWN)
    assert not is_hopeless([0.1, 0.9], [quiet(0.5)], UP_DOWN)  # the noise is not known yet
    assert not is_hopeless([0.1, 0.9], [], UP_DOWN)


def test_what_lies_within_one_standard_error_of_the_front_is_near():
    error = 0.01 / math.sqrt(3)
    spread = {
        0: quiet(0.5),
        1: quiet(0.5 - 0.9 * error),
        2: quiet(0.5 - 1.1 * error),
        3: [[a, 0.1] for a, _ in quiet(0.2)],
    }
    assert near_front(spread, UP_DOWN) == [0, 1, 3]
    single = {n: values[1:2] for n, values in spread.items()}
    assert near_front(single, UP_DOWN) == [0, 3]  # nothing is known of the noise
    assert near_front({}, UP_DOWN) == []


def test_the_table_of_a_candidate_has_means_of_what_every_seed_reports():
    found = average([{"step": 5, "val/a": 0.1, "device": "cpu", "only": 1.0, "nan": math.nan, "none": None},
                     {"step": 5, "val/a": 0.3, "device": "gpu", "nan": 1.0, "none": 2.0}])  # fmt: skip
    assert found == {"step": 5, "val/a": pytest.approx(0.2), "device": "cpu"}
    assert isinstance(found["step"], int)


@pytest.mark.parametrize("first", [0, 1, 2**32 - 1, 2**32 - 1001])
def test_a_confirmation_has_seeds_that_no_search_uses(first):
    searched, confirmed = search_seeds(first, 100), confirm_seeds(first, 1000)
    assert searched[0] == first
    assert len(set(searched) | set(confirmed)) == 1100
    assert all(0 <= seed < 2**32 for seed in (*searched, *confirmed))
