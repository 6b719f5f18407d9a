"""What several seeds tell about a candidate: means, standard errors, and whether it has a chance at all."""

import math
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from seqboat_lab.analysis.pareto import non_dominated
from seqboat_lab.sweep.stopping.rules import Values, dominates

LEAST_FREEDOM = 4
"""Degrees of freedom from which on the deviation between seeds is taken for known."""
HOPELESS = 2.0
"""A candidate is hopeless if another one is better by so many standard deviations of their difference in all."""


def mean(values: Sequence[Values]) -> list[float]:
    """Of each objective over the seeds."""
    return [statistics.mean(column) for column in zip(*values, strict=True)]  # exact: equal values have no deviation


def standard_errors(values: Sequence[Values]) -> list[float] | None:
    """Of those means; None of a single seed."""
    if len(values) < 2:
        return None
    squares = _squares(values)
    return [math.sqrt(s / (len(values) - 1) / len(values)) for s in squares]


def deviations(candidates: Sequence[Sequence[Values]]) -> list[float] | None:
    """The standard deviation between seeds of each objective, pooled over candidates: candidate -> seed -> values.

    None as long as too few seeds ran to know it.
    """
    several = [values for values in candidates if len(values) > 1]
    freedom = sum(len(values) - 1 for values in several)
    if freedom < LEAST_FREEDOM:
        return None
    sums = zip(*(_squares(values) for values in several), strict=True)
    return [math.sqrt(math.fsum(column) / freedom) for column in sums]


def _squares(values: Sequence[Values]) -> list[float]:
    centre = mean(values)
    return [
        math.fsum((v - m) ** 2 for v in column) for m, column in zip(centre, zip(*values, strict=True), strict=True)
    ]


def is_hopeless(values: Values, candidates: Sequence[Sequence[Values]], maximize: Sequence[bool]) -> bool:
    """Would a second seed be wasted on a candidate whose first one gave `values`?

    It would if another one's mean is ahead in every objective by `HOPELESS` standard deviations of the difference; an
    objective without any noise only has to be no worse. Never while the noise is not known.
    """
    noise = deviations(candidates)
    if noise is None:
        return False
    for other in candidates:
        slack = [HOPELESS * s * math.sqrt(1 + 1 / len(other)) for s in noise]
        shifted = [v + d if up else v - d for v, d, up in zip(values, slack, maximize, strict=True)]
        if dominates(mean(other), shifted, maximize):
            return True
    return False


def near_front(candidates: Mapping[int, Sequence[Values]], maximize: Sequence[bool]) -> list[int]:
    """The candidates on the front of the means, and those that would be on it if they were one standard error better
    in every objective; with the pooled deviation between seeds, and only the front while that is not known."""
    noise = deviations(list(candidates.values())) or [0.0] * len(maximize)
    means = {name: mean(values) for name, values in candidates.items()}
    turned = np.array(list(means.values())).reshape(len(means), len(maximize)) * np.where(maximize, 1.0, -1.0)
    front = [m for m, kept in zip(means.values(), non_dominated(turned), strict=True) if kept]
    found = []
    for name, centre in means.items():
        errors = [s / math.sqrt(len(candidates[name])) for s in noise]
        shifted = [v + e if up else v - e for v, e, up in zip(centre, errors, maximize, strict=True)]
        if not any(dominates(other, shifted, maximize) for other in front):
            found.append(name)
    return found


def average(metrics: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The means of all numbers that every seed reported; text is the first one's."""
    found: dict[str, Any] = {}
    for key, value in metrics[0].items():
        column = [v for each in metrics if isinstance(v := each.get(key), (int, float)) and math.isfinite(v)]
        if isinstance(value, str):
            found[key] = value
        elif len(column) == len(metrics):
            found[key] = value if len(set(column)) == 1 else statistics.mean(column)
    return found
