"""Dominance, ranks, rungs, and the rules that stop a trial or let it go on."""

import itertools
import math

import numpy as np
import pytest

from seqboat_lab.analysis.pareto import hypervolume
from seqboat_lab.config import ConfigError
from seqboat_lab.config.schema import build
from seqboat_lab.sweep.definition.config import SweepConfig
from seqboat_lab.sweep.stopping.config import DominatedConfig, SuccessiveHalvingConfig
from seqboat_lab.sweep.stopping.rules import best, dominates, make_rule, rungs

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
    rule = make_rule(DominatedConfig(min_trials=4, dominated_by=0.5), UP_DOWN)
    better, cheaper = (0.5, 0.3), (0.1, 0.1)
    mine = (0.4, 0.4)
    assert not rule.stops(mine, [better] * 3)  # too few measured
    assert rule.stops(mine, [better] * 3 + [cheaper])
    assert not rule.stops(mine, [better] * 2 + [cheaper] * 2)  # exactly half: goes on
    assert rule.steps(500, 125) == [125, 250, 375]
    assert rule.goes_on({125: {0: better, 1: mine}}, {1: 125}) == []


@pytest.mark.parametrize(
    ("max_steps", "val_every", "eta", "first", "expected"),
    [
        (1000, 1, 3, 0.1, [100, 300]),  # 900 is too late to save anything
        (500, 125, 3, 0.1, [125, 250]),  # 50 and 150, at the next validations
        (100, 10, 2, 0.1, [10, 20, 40]),
        (100, 30, 2, 0.1, [30, 60]),  # 10 and 20 fall together
        (100, 10, 3, 0.5, [50]),
        (100, 50, 2, 0.5, [50]),
        (100, 100, 3, 0.1, []),  # only the last validation
        (3, 1, 3, 1 / 3, [1]),
    ],
)
def test_rungs_are_geometric_shares_of_training_at_validations_that_happen(max_steps, val_every, eta, first, expected):
    assert rungs(max_steps, val_every, eta, first) == expected


def fronts_by_definition(points, maximize) -> list[set[int]]:
    """Peeling: a front is what nothing that is left dominates."""
    left, found = set(range(len(points))), []
    while left:
        found.append({i for i in left if not any(dominates(points[j], points[i], maximize) for j in left)})
        left -= found[-1]
    return found


@pytest.mark.parametrize("objectives", [1, 2, 3])
def test_better_fronts_come_first_and_the_cut_one_keeps_volume(objectives):
    draw = np.random.default_rng(objectives)
    for _ in range(40):
        n = int(draw.integers(1, 12))
        points = draw.integers(0, 5, (n, objectives)) / 4  # with equals
        maximize = tuple(bool(up) for up in draw.integers(0, 2, objectives))
        fronts = fronts_by_definition(points, maximize)
        for k in range(1, n + 1):
            found = best(points.tolist(), maximize, k)
            assert len(set(found)) == k
            whole, left = [], k
            for front in fronts:
                if len(front) > left:
                    break
                whole, left = [*whole, front], left - len(front)
            assert set().union(*whole) <= set(found)
            if not left:
                continue
            cut = fronts[len(whole)]
            chosen = set(found) - set().union(*whole)
            assert chosen <= cut
            # greedy choice reaches at least 1 - 1/e of the largest volume of so many (it is submodular)
            signs = np.where(maximize, 1.0, -1.0)
            scale = np.where(np.ptp(points, 0) > 0, np.ptp(points, 0), 1)
            high = signs * points / scale
            reference = high.min(0) - 0.1
            largest = max(hypervolume(high[list(some)], reference) for some in itertools.combinations(cut, left))
            assert hypervolume(high[list(chosen)], reference) >= (1 - 1 / math.e) * largest - 1e-9


def test_of_two_near_equals_and_a_lone_end_the_end_is_kept():
    near = [(0.60, 0.50), (0.605, 0.505)]
    lone = (0.30, 0.05)
    assert set(best([*near, lone, (0.1, 0.9)], UP_DOWN, 2)) in ({0, 2}, {1, 2})


@pytest.mark.parametrize("flops", [[7.0, 7.0, 7.0, 7.0], [1e9, 2e9, 3e9, 4e9]])
def test_an_objective_known_from_the_start_counts_by_its_range_or_not_at_all(flops):
    accuracy = [0.2, 0.5, 0.4, 0.3]
    points = list(zip(accuracy, flops, strict=True))
    if len(set(flops)) == 1:  # as if it were not there
        assert best(points, UP_DOWN, 2) == best([(a,) for a in accuracy], (True,), 2) == [1, 2]
    else:  # 2 and 3 cost more than 1 and are worse; the cheapest one is on the front
        assert set(best(points, UP_DOWN, 2)) == {0, 1}
        rescaled = [(a, f / 1e9) for a, f in points]
        assert best(rescaled, UP_DOWN, 1) == best(points, UP_DOWN, 1) == [1]  # units do not matter


def test_the_cheapest_trial_is_no_free_rider_among_many_on_the_front():
    """Nothing can dominate it, however bad it is; it goes on only for what it adds."""
    points = [(0.11, 1.0), (0.5, 1.05), (0.7, 2.0), (0.8, 3.0)]
    assert 0 not in best(points, UP_DOWN, 2)


def test_the_first_trial_goes_on_and_a_worse_second_stops():
    rule = make_rule(SuccessiveHalvingConfig(eta=3), UP_DOWN)
    good, bad = (0.5, 0.3), (0.4, 0.4)
    assert not rule.stops(bad, [])
    assert rule.stops(bad, [good])
    assert not rule.stops(good, [bad])
    assert rule.stops(bad, [good, good])
    assert rule.stops(bad, [good, bad, bad])  # two of four go on, and among equals the first
    assert not rule.stops((0.4, 0.39), [good, bad, bad])
    assert rule.stops(bad, [good] * 5)


def test_a_stopped_trial_goes_on_once_it_is_among_the_best_furthest_first():
    rule = make_rule(SuccessiveHalvingConfig(eta=2), (True,))
    first = {0: (0.9,), 1: (0.8,)}
    assert rule.goes_on({10: first}, {1: 10}) == []
    more = {**first, 2: (0.1,), 3: (0.2,)}
    assert rule.goes_on({10: more}, {1: 10, 2: 10, 3: 10}) == [1]
    assert rule.goes_on({10: more}, {2: 10, 3: 10}) == []  # 1 went on already
    late = {0: (0.5,), 1: (0.6,)}
    assert rule.goes_on({10: {**more, 4: (0.99,)}, 20: late}, {1: 20, 4: 10, 2: 10}) == [1, 4]


def test_simulated_searches_end_with_one_in_eta_at_each_rung():
    """Whatever order trials come in, once all is measured and those who may have gone on, the best third of each rung,
    rounded up, is past it."""
    draw = np.random.default_rng(0)
    rule = make_rule(SuccessiveHalvingConfig(eta=3), UP_DOWN)
    steps = [10, 30]
    for _ in range(10):
        values = {trial: tuple(draw.random(2)) for trial in range(27)}
        measured: dict[int, dict[int, tuple[float, float]]] = {step: {} for step in steps}
        stopped: dict[int, int] = {}
        done: set[int] = set()

        def run(trial: int, after: int = 0, values=values, measured=measured, stopped=stopped, done=done) -> None:
            stopped.pop(trial, None)
            for step in (s for s in steps if s > after):
                others = list(measured[step].values())
                measured[step][trial] = values[trial]
                if rule.stops(values[trial], others):
                    stopped[trial] = step
                    return
            done.add(trial)

        for trial in range(27):
            run(trial)
            while found := rule.goes_on(measured, stopped):
                run(found[0], stopped[found[0]])
        past_first = set(measured[30])
        assert set(best([values[t] for t in range(27)], UP_DOWN, 9)) <= past_first
        assert 9 <= len(past_first) < 18  # those that were among the best when few were measured, too
        second = sorted(past_first)
        finished = best([values[t] for t in second], UP_DOWN, math.ceil(len(second) / 3))
        assert {second[i] for i in finished} <= done
        assert len(done) < 13


BASE = {"name": "x", "experiment": "lra/listops_short", "objectives": {"val/accuracy": "maximize"},
        "space": {"model.memory_size": {"choices": [2, 4]}}}  # fmt: skip


def test_a_sweep_file_without_a_rule_means_the_one_there_was():
    old = build(SweepConfig, BASE | {"stopping": {"min_trials": 3, "dominated_by": 0.4}})
    assert old.stopping == DominatedConfig(min_trials=3, dominated_by=0.4)
    assert build(SweepConfig, BASE | {"stopping": None}).stopping is None
    assert build(SweepConfig, BASE).stopping is None
    named = build(SweepConfig, BASE | {"stopping": "successive_halving"})
    assert named.stopping == SuccessiveHalvingConfig(eta=3, first=0.2)


@pytest.mark.parametrize(
    ("stopping", "message"),
    [
        ({"rule": "sucessive_halving"}, r"^stopping.rule: unknown stopping rule 'sucessive_halving' \(did you mean 'successive_halving'\?\)"),
        ({"rule": "successive_halving", "eta": 1}, r"^stopping.eta: 1 .*at least 2"),
        ({"rule": "successive_halving", "first": 0.6}, r"^stopping.first: 0.6 .*above 0, up to 0.5"),
        ({"rule": "successive_halving", "first": 0}, r"^stopping.first: 0.0 .*above 0"),
        ({"rule": "successive_halving", "first": float("nan")}, r"^stopping.first: nan .*above 0"),
        ({"rule": "successive_halving", "min_trials": 3}, r"^stopping.min_trials: unknown field"),
        ({"eta": 3}, r"^stopping.eta: unknown field of DominatedConfig"),
    ],
)  # fmt: skip
def test_impossible_rules_are_one_line(stopping, message):
    with pytest.raises(ConfigError, match=message) as caught:
        build(SweepConfig, BASE | {"stopping": stopping})
    assert "\n" not in str(caught.value)
