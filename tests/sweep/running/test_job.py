"""A scheduler's worker begins what it can end, and leaves the rest to a fresh job."""

import pytest

from seqboat_lab.sweep.running.job import is_enough


@pytest.mark.parametrize(
    ("left", "whole", "took", "begins"),
    [
        (100, 1000, [], True),  # nobody knows yet
        (100, 1000, [80, 100], True),
        (100, 1000, [150, 100], False),  # a fresh job will do
        (600, 1000, [5000], True),  # longer than any job: it goes on in the next one
        (400, 1000, [5000], False),
        (0, 1000, [], False),
    ],
)
def test_a_trial_begins_where_it_will_end_in_time(left, whole, took, begins):
    assert is_enough(left, whole, took) is begins
