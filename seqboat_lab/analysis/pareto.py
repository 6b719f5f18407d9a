"""Pareto fronts and their hypervolume."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, TypeGuard

import numpy as np


def is_number(value: Any) -> TypeGuard[int | float]:
    """Is it a finite number?"""
    try:
        return isinstance(value, (int, float)) and math.isfinite(value)
    except OverflowError:  # a whole number beyond all floats
        return False


def completed(rows: Sequence[Mapping[str, Any]], objectives: Mapping[str, str]) -> list[Mapping[str, Any]]:
    """The trials that ran to their end and have a finite value of every objective."""
    return [row for row in rows if row["state"] == "complete" and all(is_number(row.get(m)) for m in objectives)]


def feasible(rows: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Without those that break a constraint of their sweep."""
    return [row for row in rows if row.get("feasible") is not False]


def signed(rows: Sequence[Mapping[str, Any]], objectives: Mapping[str, str]) -> np.ndarray:
    """Objective values (rows, objectives) turned so that more is better."""
    values = np.array([[row[m] for m in objectives] for row in rows], dtype=float).reshape(len(rows), len(objectives))
    return turn(values, objectives)


def turn(values: np.ndarray, objectives: Mapping[str, str]) -> np.ndarray:
    """Values (..., objectives) so that more is better; turned twice they are as before."""
    return values * [1.0 if d == "maximize" else -1.0 for d in objectives.values()]


def non_dominated(values: np.ndarray) -> np.ndarray:
    """Which rows of `values` (n, m), more is better, no other row dominates: (n,) bool. Equal rows all stay.

    Takes time n times the size of the front, and memory n.
    """
    kept = np.ones(len(values), dtype=bool)
    left = np.lexsort(values.T[::-1])[::-1]  # the first one is dominated by none that is left
    while len(left):
        first, left = values[left[0]], left[1:]
        behind = (values[left] <= first).all(1) & (values[left] < first).any(1)
        kept[left[behind]] = False
        left = left[~behind]
    return kept


def front_of(rows: Sequence[Mapping[str, Any]], objectives: Mapping[str, str]) -> list[Mapping[str, Any]]:
    """The completed, feasible trials that none other such dominates, best in the first objective first."""
    complete = feasible(completed(rows, objectives))
    values = signed(complete, objectives)
    front = [(v, row) for v, row, keep in zip(values, complete, non_dominated(values), strict=True) if keep]
    return [row for _, row in sorted(front, key=lambda pair: -pair[0][0])]


def hypervolume(values: np.ndarray, reference: np.ndarray) -> float:
    """Volume that the points `values` (n, m), more is better, dominate above `reference` (m,).

    By slicing along the last objective: exact, and fast enough for the fronts of a sweep.
    """
    values = values[(values > reference).all(1)]
    if len(values) == 0:
        return 0.0
    if values.shape[1] == 1:
        return float(values.max() - reference[0])
    values = values[np.argsort(-values[:, -1])]  # from the highest slice down
    floors = np.append(values[1:, -1], reference[-1])
    return sum(
        float(top - floor) * hypervolume(values[: i + 1, :-1], reference[:-1])
        for i, (top, floor) in enumerate(zip(values[:, -1], floors, strict=True))
        if top > floor
    )


SHARES = ("accuracy", "activation_rate", "memory_fill")
"""Metrics from 0 to 1 (as `val/accuracy` or `val/activation_rate/layer_0`), whose worst value is known."""
FIRST_TRIALS = 5
"""The worst of so many completed trials is the reference of an objective without such a bound."""


def kept_reference(
    rows: Sequence[Mapping[str, Any]], objectives: Mapping[str, str], known: Mapping[str, float]
) -> dict[str, float]:
    """The hypervolume's reference point, metric -> worst value that still counts; empty while it is open.

    In this order: what is `known` (fixed by the sweep, or kept from an earlier report); 0 or 1 for a share, whichever
    is worse in its direction; the worst of the first `FIRST_TRIALS` completed trials, or of fewer once no trial is
    under way. Keep the result: taken anew it is the same only as long as those trials are.
    """
    first = completed(rows, objectives)[:FIRST_TRIALS]
    enough = len(first) == FIRST_TRIALS or not any(row["state"] in ("running", "waiting") for row in rows)
    reference = {}
    for metric, direction in objectives.items():
        worst = min if direction == "maximize" else max
        if metric in known:
            reference[metric] = float(known[metric])
        elif (metric.split("/")[1] if "/" in metric else metric) in SHARES:
            reference[metric] = 0.0 if direction == "maximize" else 1.0
        elif first and enough:
            reference[metric] = float(worst(row[metric] for row in first))
        else:
            return {}
    return reference


def hypervolume_history(
    rows: Sequence[Mapping[str, Any]], objectives: Mapping[str, str], reference: Mapping[str, float] | None = None
) -> list[float]:
    """Hypervolume after each completed trial, in the order of `rows`; empty while the reference is open. Trials
    that break a constraint add nothing to it.

    reference: a sweep's, as its report keeps it (`read_sweep(...).reference`); None takes it from the rows.
    """
    reference = kept_reference(rows, objectives, {}) if reference is None else reference
    complete = completed(rows, objectives)
    if not complete or not reference:
        return []
    values = signed(complete, objectives)
    worst = signed([reference], objectives)[0]
    history, front, volume = [], values[:0], 0.0
    for value, row in zip(values, complete, strict=True):
        if feasible([row]) and not (front >= value).all(1).any():  # else it adds nothing
            front = np.concatenate([front, value[None]])
            front = front[non_dominated(front)]
            volume = hypervolume(front, worst)
        history.append(volume)
    return history
