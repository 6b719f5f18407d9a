"""Comparisons of an ablation's settings, paired by what they have in common, such as the seed."""

import math
import statistics
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from scipy import stats

from seqboat_lab.analysis.pareto import is_number


class Interval(NamedTuple):
    """A mean with its 95 % confidence interval by Student's t; NaN ends for a single value."""

    mean: float
    low: float
    high: float
    n: int

    @classmethod
    def of(cls, values: Sequence[float]) -> "Interval":
        """Of independent `values`, at least one."""
        mean, n = statistics.fmean(values), len(values)
        if n < 2:
            return cls(mean, math.nan, math.nan, n)
        half = float(stats.t.ppf(0.975, n - 1)) * statistics.stdev(values) / math.sqrt(n)
        return cls(mean, mean - half, mean + half, n)


Row = Mapping[str, Any]


def by_setting(rows: Sequence[Row], metric: str, field: str) -> dict[Any, Interval]:
    """Setting of `field` -> mean of `metric` over its complete trials (seeds, and whatever else was searched)."""
    found: dict[Any, list[float]] = {}
    for row in _complete(rows, metric):
        found.setdefault(row[field], []).append(row[metric])
    return {setting: Interval.of(values) for setting, values in found.items()}


def paired_differences(
    rows: Sequence[Row], metric: str, field: str, against: Any, searched: Sequence[str]
) -> dict[Any, Interval]:
    """Setting of `field` -> mean of `metric` minus that with the setting `against`, over pairs of complete trials.

    Two trials are a pair if all other `searched` fields are the same in both. What they share, such as the luck of an
    initialisation, cancels out. Settings without a pair are left out.
    """
    common = [other for other in searched if other != field]
    values = {(row[field], *(row[other] for other in common)): row[metric] for row in _complete(rows, metric)}
    found: dict[Any, list[float]] = {}
    for (setting, *rest), value in values.items():
        partner = values.get((against, *rest))
        if setting != against and partner is not None:
            found.setdefault(setting, []).append(value - partner)
    return {setting: Interval.of(differences) for setting, differences in found.items()}


def _complete(rows: Sequence[Row], metric: str) -> list[Row]:
    return [row for row in rows if row["state"] == "complete" and is_number(row.get(metric))]
