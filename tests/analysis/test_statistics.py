"""Intervals, chances and attainment against formulas, enumeration and simulations."""

import itertools
import math

import numpy as np
import pytest
from scipy import stats

from seqboat_lab.analysis.statistics import (
    attainment,
    estimate,
    front_probabilities,
    resampled_means,
)


def test_the_interval_is_the_textbooks_and_covers_what_it_says():
    values = [0.471, 0.456, 0.459, 0.453, 0.48]
    found = estimate(values)
    low, high = stats.t.interval(0.95, 4, np.mean(values), stats.sem(values))
    assert (found.mean - found.half, found.mean + found.half) == pytest.approx((low, high))
    assert found.error == pytest.approx(stats.sem(values))
    draws = np.random.default_rng(1).normal(size=(2000, 4))
    covered = np.mean([abs(e.mean) <= e.half for e in map(estimate, draws)])
    assert covered == pytest.approx(0.95, abs=0.015)


def test_one_run_has_no_interval_and_none_no_mean():
    assert (estimate([0.5]).mean, estimate([0.5]).runs) == (0.5, 1)
    assert math.isnan(estimate([0.5]).error)
    assert math.isnan(estimate([0.5]).half)
    assert math.isnan(estimate([]).mean)


def test_resampled_means_vary_as_the_standard_error_says():
    values = np.random.default_rng(0).normal(size=(5, 2)) * [1, 100]
    means = resampled_means([values], 40_000)[:, 0]
    assert (abs(means.mean(0) - values.mean(0)) < 4 * stats.sem(values) / math.sqrt(40_000)).all()
    assert means.std(0) == pytest.approx(values.std(0, ddof=1) / math.sqrt(5), rel=0.02)
    assert np.corrcoef(means.T)[0, 1] == pytest.approx(np.corrcoef(values.T)[0, 1], abs=0.03)  # runs stay whole


def test_chances_are_those_of_all_resamples_enumerated():
    runs = [np.array([[3.0, 0.0], [5.0, 1.0]]), np.array([[4.0, 0.5], [4.2, 0.4]])]
    on_front = []
    for picks in itertools.product(itertools.product(range(2), repeat=2), repeat=2):
        a, b = (
            r.mean(0) + (r[list(pick)].mean(0) - r.mean(0)) * math.sqrt(2) for r, pick in zip(runs, picks, strict=True)
        )
        beats = lambda x, y: (x >= y).all() and (x > y).any()  # noqa: E731
        on_front.append([not beats(b, a), not beats(a, b)])
    assert front_probabilities(resampled_means(runs, 20_000)) == pytest.approx(np.mean(on_front, 0), abs=0.01)


def test_the_chance_to_beat_another_is_the_normal_distributions():
    generator = np.random.default_rng(3)
    a, b = generator.normal(0.30, 1, (40, 1)), generator.normal(0.0, 1, (40, 1))
    z = (a.mean() - b.mean()) / math.hypot(stats.sem(a[:, 0]), stats.sem(b[:, 0]))
    chances = front_probabilities(resampled_means([a, b], 20_000))
    assert chances == pytest.approx([stats.norm.cdf(z), stats.norm.cdf(-z)], abs=0.02)


def test_attainment_is_the_definition():
    means = np.random.default_rng(0).integers(0, 6, size=(20, 4, 2)).astype(float)
    at, levels = np.arange(7.0), [0.05, 0.5, 0.95, 1.0]
    for surface, level in zip(attainment(means, at, levels), levels, strict=True):
        for x, best in zip(at, surface, strict=True):
            share = lambda y, x=x: np.mean([((s[:, 0] >= y) & (s[:, 1] >= x)).any() for s in means])  # noqa: E731
            possible = [y for y in np.arange(6.0) if share(y) >= level]
            assert best == (max(possible) if possible else -np.inf)


def test_without_noise_all_attainment_surfaces_are_the_staircase():
    means = np.repeat([[[0.9, -0.5], [0.5, -0.2], [0.4, -0.4]]], 7, axis=0)
    for surface in attainment(means, np.array([-0.6, -0.5, -0.3, -0.2, -0.1]), [0.025, 0.5, 0.975]):
        assert surface.tolist() == [0.9, 0.9, 0.5, 0.5, -np.inf]
