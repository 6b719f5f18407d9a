"""Comparisons of an ablation's settings, paired by what they have in common, such as the seed."""

from collections.abc import Mapping, Sequence
from typing import Any

from seqboat_lab.analysis.pareto import is_number
from seqboat_lab.analysis.statistics import LEVEL, Estimate, estimate, holm, p_value

Row = Mapping[str, Any]


def by_setting(rows: Sequence[Row], metric: str, field: str) -> dict[Any, Estimate]:
    """Setting of `field` -> mean of `metric` over its complete trials (seeds, and whatever else was searched)."""
    found: dict[Any, list[float]] = {}
    for row in _complete(rows, metric):
        found.setdefault(row[field], []).append(row[metric])
    return {setting: estimate(values) for setting, values in found.items()}


def paired_differences(
    rows: Sequence[Row], metric: str, field: str, against: Any, searched: Sequence[str]
) -> dict[Any, Estimate]:
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
    return {setting: estimate(differences) for setting, differences in found.items()}


def told(
    differences: Mapping[Any, Estimate], against: Any, unit: str = "", scale: float = 1.0, more_is_better: bool = True
) -> dict[Any, str]:
    """Setting -> the sentence that its paired difference (see `paired_differences`) allows: "A is better than B by 2.1
    points [1.0, 3.2], 5 pairs, p = 0.004", or that they cannot be told apart.

    Brackets are 95 % intervals; p is corrected for the number of comparisons (Holm) and decides.

    Args:
        unit: what `scale` times the metric is counted in, such as points.
    """
    adjusted = holm([p_value(found) for found in differences.values()])
    sentences = {}
    for (setting, found), p in zip(differences.items(), adjusted, strict=True):
        low, high = sorted((scale * found.low, scale * found.high))
        mean = scale * found.mean
        pairs = f"{found.runs} pair{'s' * (found.runs != 1)}"
        by = f"{{:.2g}} {unit}".rstrip()
        if found.runs < 2:
            sentences[setting] = f"{setting} and {against} differ by {by.format(mean)} in one pair, which tells nothing"
        elif p >= 1 - LEVEL:
            interval = f"{by.format(mean)} [{low:.2g}, {high:.2g}], {pairs}, p = {p:.2g}"
            sentences[setting] = f"{setting} and {against} cannot be told apart: {interval}"
        else:
            better = (mean > 0) == more_is_better
            low, high = (low, high) if mean > 0 else (-high, -low)
            interval = f"{by.format(abs(mean))} [{low:.2g}, {high:.2g}], {pairs}, p = {p:.2g}"
            sentences[setting] = f"{setting} is {'better' if better else 'worse'} than {against} by {interval}"
    return sentences


def _complete(rows: Sequence[Row], metric: str) -> list[Row]:
    return [row for row in rows if row["state"] == "complete" and is_number(row.get(metric))]
