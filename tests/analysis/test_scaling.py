"""Power laws against those that made the numbers, and scipy's line."""

import math

import numpy as np
import pytest
from scipy import stats

from seqboat_lab.analysis.scaling import fit_power_law
from seqboat_lab.config import ConfigError

SIZES = np.array([1e6, 1e7, 1e8])


def test_an_exact_law_is_found():
    found = fit_power_law(SIZES, 5 * SIZES**-0.3)
    assert (found.a, found.b, found.misfit) == pytest.approx((5, -0.3, 1))
    assert math.isnan(found.low)  # one run a size tells nothing of seeds
    inside, outside, edge, below = found.predict([1e7, 1e9, 1e6 * (1 - 1e-12), 1e5])
    assert inside.y == pytest.approx(5 * 1e7**-0.3)
    assert outside.y == pytest.approx(5 * 1e9**-0.3)
    assert math.isnan(inside.low)
    assert [each.extrapolated for each in (inside, outside, edge, below)] == [False, True, False, True]


def test_it_is_the_least_squares_line_of_the_logarithms():
    rng = np.random.default_rng(0)
    x = np.repeat(SIZES, 4)
    y = 5 * x**-0.3 * np.exp(0.2 * rng.normal(size=12))
    found, line = fit_power_law(x, y), stats.linregress(np.log(x), np.log(y))
    assert (math.log(found.a), found.b) == pytest.approx((line.intercept, line.slope))
    order = rng.permutation(12)
    assert fit_power_law(x[order], y[order]).b == pytest.approx(found.b)
    means = np.log(y).reshape(3, 4).mean(1)
    assert found.misfit == pytest.approx(np.exp(np.abs(means - line.intercept - line.slope * np.log(SIZES)).max()))


def test_intervals_hold_the_truth_about_as_often_as_they_say():
    held = np.zeros(3)
    x, n = np.repeat(SIZES, 5), 300
    for seed in range(n):
        y = 5 * x**-0.3 * np.exp(0.2 * np.random.default_rng(seed).normal(size=15))
        found = fit_power_law(x, y, resamples=300)
        near, far = found.predict([1e7, 1e10])
        truth = ((-0.3, found.low, found.high), (5 * 1e7**-0.3, *near[2:4]), (5 * 1e10**-0.3, *far[2:4]))
        held += [low <= value <= high for value, low, high in truth]
        assert far.high / far.low > near.high / near.low
    assert (held / n > 0.88).all()  # 0.93 in 1,500 such cases, less three standard deviations
    assert (held / n < 0.98).all()


def test_a_curve_that_is_no_power_law_shows_in_the_misfit():
    noisy = np.repeat(SIZES, 3)
    spread = np.exp(0.01 * np.random.default_rng(0).normal(size=9))
    assert fit_power_law(noisy, noisy**-0.5 * spread).misfit < 1.02
    assert fit_power_law(noisy, (1 + 1e4 * noisy**-0.6) * spread).misfit > 1.1


@pytest.mark.parametrize(
    ("x", "y", "message"),
    [
        ([1, 2], [1, 0], "power law, y: 0 is not possible here"),
        ([1, math.nan], [1, 1], "power law, x: nan is not possible here"),
        ([1, 1], [1, 2], "2 x of 1 sizes and 2 y are not possible here"),
        ([1, 2, 3], [1, 2], "3 x of 3 sizes and 2 y are not possible here"),
    ],
)
def test_mistakes_are_one_line(x, y, message):
    with pytest.raises(ConfigError, match=message) as error:
        fit_power_law(x, y)
    assert "\n" not in str(error.value)
