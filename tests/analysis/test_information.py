"""Mutual information against distributions whose information is known, and scikit-free oracles."""

import math

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from seqboat_lab.analysis.information import decision_information, entropy, mutual_information, shuffled_within
from seqboat_lab.config import ConfigError


def frame(active, kinds, sequences: int = 10, layer: int = 0) -> pd.DataFrame:
    n = len(active)
    return pd.DataFrame(
        {"sequence": np.arange(n) * sequences // n, "layer": layer, "class": kinds, "active": active,
         "position": np.arange(n)}
    )  # fmt: skip


def test_entropy_and_information_are_those_of_known_tables():
    assert entropy(np.array([1, 1, 2])) == pytest.approx(1.5)
    assert entropy(np.array([[4, 0], [1, 3]])) == pytest.approx([0, stats.entropy([1, 3], base=2)])
    assert mutual_information(np.array([[5, 0], [0, 5]])) == pytest.approx(1)  # one tells the other
    assert mutual_information(np.array([[2, 4], [3, 6]])) == pytest.approx(0)  # independent
    e = 0.1  # a binary symmetric channel with a uniform input: 1 - H(e)
    counts = 1000 * np.array([[1 - e, e], [e, 1 - e]]) / 2
    capacity = 1 + e * math.log2(e) + (1 - e) * math.log2(1 - e)
    assert mutual_information(counts) == pytest.approx(capacity)
    counts = np.random.default_rng(0).integers(1, 50, (3, 2, 4))
    for table, found in zip(counts, mutual_information(counts), strict=True):
        g = stats.chi2_contingency(table, lambda_="log-likelihood", correction=False).statistic
        assert found == pytest.approx(g / (2 * table.sum() * math.log(2)))  # the G test's statistic is 2 n I


def test_decisions_by_class_have_all_and_random_ones_no_information():
    rng = np.random.default_rng(1)
    kinds = rng.choice(["digit", "operator", "bracket"], 2000, p=[0.6, 0.2, 0.2])
    told = frame(kinds == "digit", kinds)
    chance = frame(rng.random(2000) < 0.3, kinds, layer=1)
    one, other = decision_information(pd.concat([told, chance]), resamples=100).to_dict("records")
    assert (one["layer"], other["layer"], one["tokens"]) == (0, 1, 2000)
    assert one["information"] == pytest.approx(one["entropy"])
    assert (one["share"], one["rate"]) == pytest.approx((1, (kinds == "digit").mean()))
    assert one["p"] == pytest.approx(1 / 101)
    bias = 2 / (2 * 2000 * math.log(2))  # (X - 1)(Y - 1) / (2 n ln 2)
    assert other["null"] == pytest.approx(bias, rel=0.25)
    assert abs(other["corrected"]) < other["null_95"]
    assert other["null_95"] == pytest.approx(stats.chi2(2).ppf(0.95) / (2 * 2000 * math.log(2)), rel=0.3)
    assert other["p"] > 0.02


def test_a_rate_that_differs_between_sequences_is_no_information_of_classes():
    """Sequences of other classes that are active more often: the null has that information, too."""
    rng = np.random.default_rng(2)
    first = np.arange(2000) < 1000
    kinds = np.where(rng.random(2000) < np.where(first, 0.9, 0.1), "a", "b")
    active = rng.random(2000) < np.where(first, 0.8, 0.2)
    (row,) = decision_information(frame(active, kinds, sequences=2), resamples=100).to_dict("records")
    assert row["information"] > 0.05
    assert abs(row["corrected"]) < 0.01
    assert row["p"] > 0.02


def test_shuffling_stays_within_its_groups():
    rng = np.random.default_rng(0)
    group = rng.integers(0, 5, 200)
    values = rng.permutation(200)
    shuffled = shuffled_within(values, group, rng)
    assert not np.array_equal(shuffled, values)
    for each in range(5):
        assert sorted(shuffled[group == each]) == sorted(values[group == each])


def test_decisions_that_are_all_the_same_have_nothing_to_tell():
    (row,) = decision_information(frame(np.ones(50, bool), np.array(["a", "b"] * 25))).to_dict("records")
    assert (row["entropy"], row["information"], row["null"], row["p"]) == (0, 0, 0, 1)
    assert math.isnan(row["share"])


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (frame([True], ["a"]).drop(columns="class"), "the table lacks class"),
        (frame([True], [None]), "no token has a class"),
        (pd.concat([frame([True], ["a"])] * 2), "a token has several decisions"),
    ],
)
def test_mistakes_are_one_line(table, message):
    with pytest.raises(ConfigError, match=message) as error:
        decision_information(table)
    assert "\n" not in str(error.value)
