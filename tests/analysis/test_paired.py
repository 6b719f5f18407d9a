"""Paired differences against scipy's paired t-test."""

import math

import numpy as np
import pytest
from scipy import stats

from seqboat_lab.analysis.paired import Interval, by_setting, paired_differences

SEEDS, LUCK = range(6), (0.3, 0.1, 0.5, 0.2, 0.4, 0.0)


def rows() -> list[dict]:
    noise = np.random.default_rng(0).normal(0, 0.01, (2, len(SEEDS)))
    return [
        {"state": "complete", "kernel": kernel, "seed": seed, "y": LUCK[seed] + 0.05 * n + noise[n, seed], "number": n}
        for n, kernel in enumerate(("ema", "s4d"))
        for seed in SEEDS
    ]


def test_intervals_are_those_of_the_paired_t_test():
    table = rows()
    (ema, s4d) = ([row["y"] for row in table if row["kernel"] == kernel] for kernel in ("ema", "s4d"))
    (found,) = paired_differences(table[::-1], "y", "kernel", "ema", ["kernel", "seed"]).values()
    oracle = stats.ttest_rel(s4d, ema).confidence_interval(0.95)
    assert (found.low, found.high) == pytest.approx((oracle.low, oracle.high))
    assert found.mean == pytest.approx(np.mean(np.subtract(s4d, ema)))
    assert found.low > 0  # where the luck of a seed, shared by both, hides it from means alone
    means = by_setting(table, "y", "kernel")
    assert means["s4d"].low < means["ema"].mean
    oracle = stats.ttest_1samp(s4d, 0).confidence_interval(0.95)
    assert (means["s4d"].low, means["s4d"].high, means["s4d"].n) == pytest.approx((oracle.low, oracle.high, 6))


def test_only_complete_pairs_count():
    table = rows()
    table[0]["state"] = "failed"
    table[1]["y"] = None
    table[6 + 2]["state"] = "stopped"
    found = paired_differences(table, "y", "kernel", "ema", ["kernel", "seed"])
    assert found["s4d"].n == 3
    assert paired_differences(table, "y", "kernel", "lru", ["kernel", "seed"]) == {}
    single = Interval.of([0.5])
    assert single.mean == 0.5
    assert math.isnan(single.low)
