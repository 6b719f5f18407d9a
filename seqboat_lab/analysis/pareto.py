"""Pareto fronts and their hypervolume."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np


def signed(rows: Sequence[Mapping[str, Any]], objectives: Mapping[str, str]) -> np.ndarray:
    """Objective values (rows, objectives) turned so that more is better."""
    values = np.array([[row[m] for m in objectives] for row in rows], dtype=float).reshape(len(rows), len(objectives))
    return values * [1.0 if d == "maximize" else -1.0 for d in objectives.values()]


def non_dominated(values: np.ndarray) -> np.ndarray:
    """Which rows of `values` (n, m), more is better, no other row dominates: (n,) bool. Equal rows all stay."""
    no_worse = (values[:, None] >= values[None]).all(-1)  # [i, j]: i no worse than j
    better = (values[:, None] > values[None]).any(-1)
    return ~(no_worse & better).any(0)


def front_of(rows: Sequence[Mapping[str, Any]], objectives: Mapping[str, str]) -> list[Mapping[str, Any]]:
    """The completed trials that none other dominates, best in the first objective first."""
    complete = [row for row in rows if row["state"] == "complete"]
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


def reference_point(rows: Sequence[Mapping[str, Any]], objectives: Mapping[str, str]) -> np.ndarray:
    """Worst value of each objective, signed: 0 for an accuracy, 1 for a rate, else the worst completed trial."""
    worst = signed([row for row in rows if row["state"] == "complete"], objectives).min(0)
    bounds = {"accuracy": 0.0, "activation_rate": -1.0}
    return np.array([bounds.get(m.split("/")[1] if "/" in m else m, w) for m, w in zip(objectives, worst, strict=True)])


def hypervolume_history(rows: Sequence[Mapping[str, Any]], objectives: Mapping[str, str]) -> list[float]:
    """Hypervolume after each completed trial, in the order of `rows`."""
    complete = [row for row in rows if row["state"] == "complete"]
    if not complete:
        return []
    values, reference = signed(complete, objectives), reference_point(rows, objectives)
    return [hypervolume(values[: n + 1], reference) for n in range(len(values))]
