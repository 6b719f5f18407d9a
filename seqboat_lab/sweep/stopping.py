"""Stopping bad trials of a search with several objectives."""

from collections.abc import Sequence

import optuna

from seqboat_lab.sweep.config import Stopping
from seqboat_lab.sweep.study import BROKEN, MEASURED


def dominates(a: Sequence[float], b: Sequence[float], maximize: Sequence[bool]) -> bool:
    """Is `a` no worse than `b` in every objective and better in one?"""
    signed = [(x, y) if up else (-x, -y) for x, y, up in zip(a, b, maximize, strict=True)]
    return all(x >= y for x, y in signed) and any(x > y for x, y in signed)


def should_stop(
    rule: Stopping, values: Sequence[float], others: Sequence[Sequence[float]], maximize: Sequence[bool]
) -> bool:
    """Should a trial with `values` stop, given what other trials had at the same step?"""
    if len(others) < rule.min_trials:
        return False
    return sum(dominates(other, values, maximize) for other in others) > rule.dominated_by * len(others)


def measured_at(study: optuna.Study, step: int, but: int) -> list[list[float]]:
    """Objective values at `step` of all trials except number `but`, and those that broke a constraint there: whatever
    they reach, they must stop none that keeps it."""
    trials = [t for t in study.get_trials(deepcopy=False) if t.number != but]
    trials = [t for t in trials if step not in t.user_attrs.get(BROKEN, ())]
    return [t.user_attrs[MEASURED][str(step)] for t in trials if str(step) in t.user_attrs.get(MEASURED, {})]
