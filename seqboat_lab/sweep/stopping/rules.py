"""Which trials of a search with several objectives stop early, and which of those go on later.

Pure functions of numbers: nothing here knows a study, so that a search can be replayed from a table.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from optuna._hypervolume import _solve_hssp
from optuna.study._multi_objective import _fast_non_domination_rank

from seqboat_lab.sweep.stopping.config import (
    LATEST,
    STOPPING_CONFIGS,
    AnyStoppingConfig,
    DominatedConfig,
    SuccessiveHalvingConfig,
)

Values = Sequence[float]
"""One value for each objective."""
MARGIN = 0.1
"""The reference point lies this share of an objective's range beyond its worst value, so that the ends of a front have
some volume of their own."""


def make_rule(config: AnyStoppingConfig, maximize: Sequence[bool]) -> "StoppingRule":
    """The rule of some settings; `maximize` says for each objective whether more is better."""
    return STOPPING_CONFIGS.implementation(config.rule)(config, maximize)


class StoppingRule:
    """What decides; derive from it for a rule of your own."""

    def __init__(self, config: Any, maximize: Sequence[bool]):
        self.config, self.maximize = config, tuple(maximize)

    def steps(self, max_steps: int, val_every: int) -> list[int]:
        """The steps at which a trial may stop: here every validation but the last."""
        return list(range(val_every, max_steps, val_every))

    def stops(self, values: Values, others: Sequence[Values]) -> bool:
        """Does a trial with `values` stop, given what the `others` had at the same step so far?"""
        raise NotImplementedError

    def goes_on(self, measured: Mapping[int, Mapping[int, Values]], stopped: Mapping[int, int]) -> list[int]:
        """The stopped trials that go on after all, most urgent first.

        Args:
            measured: step -> trial -> its values there, for all trials and all steps at which they may stop.
            stopped: trial -> the step at which it stopped last.
        """
        return []


class Dominated(StoppingRule):
    config: DominatedConfig

    def stops(self, values: Values, others: Sequence[Values]) -> bool:
        if len(others) < self.config.min_trials:
            return False
        dominating = sum(dominates(other, values, self.maximize) for other in others)
        return dominating > self.config.dominated_by * len(others)


class SuccessiveHalving(StoppingRule):
    config: SuccessiveHalvingConfig

    def steps(self, max_steps: int, val_every: int) -> list[int]:
        return rungs(max_steps, val_every, self.config.eta, self.config.first)

    def stops(self, values: Values, others: Sequence[Values]) -> bool:
        return len(others) not in self._best([*others, values])

    def goes_on(self, measured: Mapping[int, Mapping[int, Values]], stopped: Mapping[int, int]) -> list[int]:
        found = []
        for step in sorted(set(stopped.values()), reverse=True):  # those who have come furthest first
            trials = sorted(measured.get(step, {}))
            best = self._best([measured[step][trial] for trial in trials])
            found += [trials[i] for i in best if stopped.get(trials[i]) == step]
        return found

    def _best(self, points: Sequence[Values]) -> list[int]:
        """At least one, so that the first trial goes on, and the second where it is the better one."""
        return best(points, self.maximize, math.ceil(len(points) / self.config.eta))


def dominates(a: Values, b: Values, maximize: Sequence[bool]) -> bool:
    """Is `a` no worse than `b` in every objective and better in one?"""
    signed = [(x, y) if up else (-x, -y) for x, y, up in zip(a, b, maximize, strict=True)]
    return all(x >= y for x, y in signed) and any(x > y for x, y in signed)


def rungs(max_steps: int, val_every: int, eta: int, first: float) -> list[int]:
    """Steps at the shares first, first * eta, first * eta^2, ... up to `LATEST` of training, each rounded up to a
    validation before the last one; none if there is none."""
    found: list[int] = []
    share = first
    while share <= LATEST:
        step = math.ceil(share * max_steps / val_every - 1e-9) * val_every
        if step < max_steps and step not in found:
            found.append(step)
        share *= eta
    return found


def best(points: Sequence[Values], maximize: Sequence[bool], k: int) -> list[int]:
    """The places of the `k` best of `points`, better fronts first.

    Whole fronts of the non-dominated sorting as long as they fit; of the one that does not, the points that dominate
    most volume together, chosen greedily by what each adds (Guerreiro et al. 2016, doi 10.1162/EVCO_a_00188). Each
    objective counts by its range over all points, and one that is the same for all does not count. Among equals the
    first come first.
    """
    if not points or k < 1:
        return []
    loss = np.array(points, dtype=float) * [-1.0 if up else 1.0 for up in maximize]
    low, extent = loss.min(0), np.ptp(loss, 0)
    loss = (loss - low) / np.where(extent > 0, extent, 1)
    ranks = _fast_non_domination_rank(loss, n_below=k)
    found: list[int] = []
    for rank in range(ranks.max() + 1):
        front = np.flatnonzero(ranks == rank)
        size = min(len(front), k - len(found))
        found += _solve_hssp(loss[front], front, size, np.full(len(maximize), 1 + MARGIN)).tolist()
        if len(found) == k:
            break
    return found
