"""Replayed searches: the table is a full factorial, and what a replay says follows from it."""

import itertools
import math
from dataclasses import replace

import numpy as np
import pytest

from benchmarks import search, search_report
from benchmarks.search_replay import Moment, Replay, best_possible, configuration, ends_of
from benchmarks.search_table import SWEEP, TABLE, Point, factors, grid, read_table
from seqboat_lab.sweep.definition.config import load_sweep
from seqboat_lab.sweep.definition.samplers import RandomSearchConfig
from seqboat_lab.sweep.stopping.config import DominatedConfig, SuccessiveHalvingConfig


@pytest.fixture(scope="module")
def sweep():
    return replace(load_sweep(SWEEP), sampler=RandomSearchConfig())


@pytest.fixture(scope="module")
def table(sweep):
    return read_table(sweep)


def moments(sweep, table, seed=3, budget=6000, **fields) -> list[Moment]:
    return Replay(replace(sweep, seed=seed, **fields), table, seed).run(budget)


def test_the_table_holds_every_validation_of_every_configuration(sweep, table):
    assert TABLE.stat().st_size < 300_000
    assert [tuple(params.values()) for params in grid(sweep)] == list(table)
    assert len(table) == 216
    for curves in table.values():
        for curve in curves:
            assert [point.updates for point in curve] == list(range(30, 301, 30))
            assert all(0 <= p.accuracy <= 1 and 0 <= p.rate <= 1 for p in curve)
            assert all(a.seconds < b.seconds for a, b in itertools.pairwise(curve))


def test_numbers_between_the_levels_stand_for_the_nearest_by_ratio(sweep):
    first = {key: values[0] for key, values in factors(sweep).items()}
    for lr, level in ((1e-3, 1e-3), (1.7e-3, 1e-3), (1.8e-3, 3e-3), (1.7e-2, 1e-2), (1.8e-2, 3e-2)):
        assert configuration(sweep, first | {"optim.lr": lr})[-1] == level


def test_without_stopping_every_trial_costs_all_its_updates_and_the_hypervolume_only_grows(sweep, table):
    found = moments(sweep, table)
    assert found == moments(sweep, table)
    assert found != moments(sweep, table, seed=4)
    assert len(found) in (19, 20)  # of 300 updates each; two workers share 6,000
    volumes = [moment.hypervolume for moment in found]
    assert volumes == sorted(volumes)
    assert volumes[-1] <= best_possible(sweep, table)
    one = {(round(max(a - 0.25, 0) * (1 + r), 9)) for a, r in ends_of(table).values()}
    assert round(volumes[0], 9) in one  # a single point's area above the reference (0.25, 1)


def test_best_possible_is_the_area_under_the_staircase(sweep, table):
    ends = np.array(list(ends_of(table).values()))
    steps = np.linspace(0, 1, 20001)  # rate up to which a point counts
    heights = [max((a for a, r in ends if -r <= x), default=0.25) - 0.25 for x in steps]
    area = np.mean(np.clip(heights, 0, None))
    assert best_possible(sweep, table) == pytest.approx(area, abs=1e-3)


@pytest.mark.parametrize("rule", [DominatedConfig(), SuccessiveHalvingConfig(first=0.2)])
def test_stopping_completes_fewer_updates_worth_of_trials_and_spends_no_more(sweep, table, rule):
    found = moments(sweep, table, stopping=rule)
    assert found[-1].updates <= 6000 + 30
    assert 0 < len(found) < 20


def test_a_search_finds_the_front_of_a_table_with_one_good_configuration(sweep, table):
    """A rule that may trust what it sees spends less until it has it."""
    good = next(key for key in table if key[1:] == (12, "s4d", 0.01))

    def curve(accuracy):
        return [[Point(30 * i, accuracy, 0.2, float(i)) for i in range(1, 11)]]

    made = {key: curve(0.9 if key[1:] == good[1:] else 0.5) for key in table}
    whole, halved = (
        [search_report.updates_to(moments(sweep, made, s, 12_000, stopping=rule), 0.65 * 0.8 - 1e-9) for s in range(5)]
        for rule in (None, SuccessiveHalvingConfig(first=0.1))
    )
    assert np.median(halved) < 0.6 * np.median(whole)


def test_what_the_page_says_of_searches():
    found = [Moment(300, 0.1), Moment(600, 0.3), Moment(900, 0.3), Moment(1200, 0.5)]
    assert [search_report.value_at(found, x) for x in (0, 300, 899, 5000)] == [0, 0.1, 0.3, 0.5]
    assert [search_report.updates_to(found, x) for x in (0.1, 0.2, 0.5, 0.6)] == [300, 600, 1200, math.inf]
    assert search_report.median_interval([1.0] * 9) == (1, 1, 1)
    middle, low, high = search_report.median_interval([*range(28), math.inf, math.inf])
    assert low < middle < high < math.inf
    baseline = [search.Search([Moment(3000, 0.4), Moment(9000, 0.5)], 0.1)] * 3
    ours = [search.Search([Moment(3000, 0.48), Moment(9000, 0.48)], 0.1)] * 3
    said = search_report.verdict({search.BASELINE: baseline, search.DEFAULT: ours}, 0.5, 9000)
    assert "0.33 of the budget of Optuna's default sampler (9,000); reached." in said
    assert "ended at 96.0% of final; **not reached**." in said
