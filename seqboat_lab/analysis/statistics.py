"""What several seeds say of a candidate: intervals, the chance to be on the front, the attainment surface."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy.special import stdtr, stdtrit  # Student's t and its quantile; scipy.stats takes far longer to import

from seqboat_lab.analysis.pareto import non_dominated

LEVEL = 0.95
RESAMPLES = 4000


class Estimate(NamedTuple):
    """A mean over seeds, its standard error, and half the width of its interval; NaN where one run says nothing of the
    spread."""

    mean: float
    error: float
    half: float
    runs: int

    @property
    def low(self) -> float:
        return self.mean - self.half

    @property
    def high(self) -> float:
        return self.mean + self.half


def estimate(values: Sequence[float] | np.ndarray, level: float = LEVEL) -> Estimate:
    """The mean of independent runs with Student's t interval, mean ± t s / √n, which holds for few runs."""
    values = np.asarray(values, dtype=float)
    n = len(values)
    if n < 2:
        return Estimate(float(values.mean()) if n else math.nan, math.nan, math.nan, n)
    error = float(values.std(ddof=1)) / math.sqrt(n)
    return Estimate(float(values.mean()), error, error * float(stdtrit(n - 1, (1 + level) / 2)), n)


def p_value(found: Estimate) -> float:
    """How often a mean as far from 0 would be seen if it were 0 (two-sided t test); NaN of fewer than two runs."""
    if math.isnan(found.error):
        return math.nan
    if found.error == 0:
        return float(found.mean == 0)
    return 2 * float(stdtr(found.runs - 1, -abs(found.mean) / found.error))


def holm(p_values: Sequence[float]) -> list[float]:
    """p-values of several comparisons, adjusted so that one below 0.05 appears by chance in at most 5 % of such sets
    (Holm 1979), in the order given; NaN stays, and does not count."""
    order = sorted((n for n, p in enumerate(p_values) if not math.isnan(p)), key=lambda n: p_values[n])
    adjusted, highest = list(p_values), 0.0
    for rank, n in enumerate(order):
        highest = max(highest, min(1.0, (len(order) - rank) * p_values[n]))
        adjusted[n] = highest
    return adjusted


def resampled_means(runs: Sequence[np.ndarray], resamples: int = RESAMPLES, seed: int = 0) -> np.ndarray:
    """Bootstrap over seeds: means of every candidate's runs, drawn again with replacement: (resamples, n, m).

    runs: of each of n candidates, its values (seeds, m); a run's objectives stay together. Deviations are scaled by
    √(k / (k - 1)) for k runs: the plain bootstrap of five runs takes the spread for a tenth too small.
    A candidate with one run does not vary, which says more than is known: leave it out.
    """
    generator = np.random.default_rng(seed)
    drawn = []
    for values in runs:
        k = len(values)
        mean = values.mean(0)
        again = values[generator.integers(k, size=(resamples, k))].mean(1)  # (resamples, m)
        drawn.append(mean + (again - mean) * math.sqrt(k / max(k - 1, 1)))
    return np.stack(drawn, axis=1)


def front_probabilities(means: np.ndarray) -> np.ndarray:
    """In which share of the resamples (r, n, m), more is better, each candidate is on the front: (n,)."""
    return np.mean([non_dominated(sample) for sample in means], axis=0)


def attainment(means: np.ndarray, at: np.ndarray, levels: Sequence[float]) -> np.ndarray:
    """The attainment surface (Fonseca and Fleming, 1996) of two objectives, more is better.

    means: resampled fronts (r, n, 2). at: values of the second objective (g,). For each level, the best first
    objective that at least this share of the resamples attains with no less than `at` of the second one:
    (levels, g), -inf where that many do not come so far.
    """
    first, second = means[..., 0], means[..., 1]
    best = np.stack([np.where(second >= x, first, -np.inf).max(1) for x in at], axis=1)  # (r, g)
    ranked = -np.sort(-best, axis=0)
    need = [max(1, math.ceil(level * len(ranked) - 1e-9)) - 1 for level in levels]
    return ranked[need]
