"""Paired differences against scipy's paired t-test."""

import itertools
import math

import numpy as np
import pytest
from scipy import stats

from seqboat_lab.analysis.paired import by_setting, paired_differences, told
from seqboat_lab.analysis.statistics import estimate, holm, p_value

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
    assert (means["s4d"].low, means["s4d"].high, means["s4d"].runs) == pytest.approx((oracle.low, oracle.high, 6))


def test_only_complete_pairs_count():
    table = rows()
    table[0]["state"] = "failed"
    table[1]["y"] = None
    table[6 + 2]["state"] = "stopped"
    found = paired_differences(table, "y", "kernel", "ema", ["kernel", "seed"])
    assert found["s4d"].runs == 3
    assert paired_differences(table, "y", "kernel", "lru", ["kernel", "seed"]) == {}
    single = estimate([0.5])
    assert single.mean == 0.5
    assert math.isnan(single.low)


def test_p_values_are_those_of_the_t_test():
    values = [0.3, 0.1, -0.2, 0.5, 0.4]
    assert p_value(estimate(values)) == pytest.approx(stats.ttest_1samp(values, 0).pvalue)
    assert p_value(estimate([0.5, 0.5])) == 0.0
    assert p_value(estimate([0.0, 0.0])) == 1.0
    assert math.isnan(p_value(estimate([0.5])))


def test_holm_is_the_closed_test_of_bonferroni():
    """Rejects what every set of hypotheses that holds it rejects."""
    for seed in range(5):
        p = [*np.random.default_rng(seed).uniform(0, 0.2, 4), math.nan]
        sets = [s for size in range(1, 5) for s in itertools.combinations(range(4), size)]
        oracle = [max(min(1.0, len(s) * min(p[j] for j in s)) for s in sets if i in s) for i in range(4)]
        assert holm(p)[:4] == pytest.approx(oracle)
        assert math.isnan(holm(p)[4])


def test_sentences_say_what_the_seeds_allow():
    clear, unclear, single = estimate([0.02, 0.021, 0.022, 0.021]), estimate([0.03, -0.02, 0.0, 0.01]), estimate([0.1])
    found = told({"A": clear, "B": unclear, "C": single}, "D", "points", scale=100)
    low, high = 100 * clear.low, 100 * clear.high
    assert found["A"].startswith(f"A is better than D by 2.1 points [{low:.2g}, {high:.2g}], 4 pairs, p = ")
    assert found["B"].startswith("B and D cannot be told apart: 0.5 points [")
    assert found["C"] == "C and D differ by 10 points in one pair, which tells nothing"
    assert told({"A": clear}, "D", "bits", more_is_better=False)["A"].startswith(
        "A is worse than D by 0.021 bits [0.02"
    )
    minus = estimate([-0.02, -0.021, -0.022, -0.021])
    assert told({"A": minus}, "D")["A"].startswith(f"A is worse than D by 0.021 [{clear.low:.2g}, {clear.high:.2g}], 4")
