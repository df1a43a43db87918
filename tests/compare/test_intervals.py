import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as some
from scipy import stats

from riverrun.compare.intervals import Interval, in_mnats, interval, paired_differences


@given(some.lists(some.floats(-10, 10), min_size=2, max_size=8).filter(lambda values: np.ptp(values) > 1e-6))
def test_the_interval_is_that_of_scipy(values):
    found = interval(values)
    low, high = stats.ttest_1samp(values, 0.0).confidence_interval(0.95)
    assert (found.mean, found.low, found.high) == pytest.approx((np.mean(values), low, high))
    assert found.count == len(values)
    assert found.half_width == pytest.approx((high - low) / 2)


def test_three_seeds_by_hand():
    # The standard deviation of 1, 2, 3 is 1, and the 97.5% quantile of t with two degrees of freedom 4.302653.
    found = interval([1.0, 2.0, 3.0])
    assert found.half_width == pytest.approx(4.302653 / math.sqrt(3), rel=1e-6)


@pytest.mark.parametrize("seeds", [2, 3, 5])
def test_the_interval_holds_the_true_mean_in_95_of_100_comparisons(seeds):
    samples = np.random.default_rng(seeds).normal(7.0, 3.0, (4000, seeds))
    held = sum(found.low <= 7.0 <= found.high for found in map(interval, samples))
    assert held / 4000 == pytest.approx(0.95, abs=0.012)


@pytest.mark.parametrize("values", [[], [2.5], [1.0, math.nan], [1.0, math.inf]])
def test_what_tells_nothing_of_the_spread_has_the_whole_line(values):
    found = interval(values)
    assert (found.low, found.high, found.count) == (-math.inf, math.inf, len(values))
    assert found.mean == 2.5 if values == [2.5] else math.isnan(found.mean)


def test_equal_values_have_an_interval_of_no_width():
    assert interval([0.5, 0.5, 0.5]) == Interval(0.5, 0.5, 0.5, 3)


def test_differences_are_paired_by_seed():
    luck = {1: 10.0, 2: -40.0, 3: 300.0, 4: 7.0}
    ours = {seed: value + 0.25 for seed, value in luck.items() if seed != 4}
    theirs = {seed: value for seed, value in reversed(luck.items()) if seed != 1}
    assert paired_differences(ours, theirs) == {2: 0.25, 3: 0.25}


@pytest.mark.parametrize(
    ("difference", "text"),
    [
        (Interval(0.0074, 0.0051, 0.0097, 3), "+7.4 ± 2.3"),
        (Interval(-0.00001, -0.002, 0.00198, 3), "+0.0 ± 2.0"),
        (Interval(0.0074, -math.inf, math.inf, 1), "+7.4"),
        (Interval(math.nan, -math.inf, math.inf, 2), "-"),
    ],
)
def test_in_thousandths_of_a_nat(difference, text):
    assert in_mnats(difference) == text
