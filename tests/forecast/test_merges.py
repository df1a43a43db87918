"""Merges as decays."""

import numpy as np
import pytest

from riverrun.averaging import Tail
from riverrun.forecast.merges import rates_of_merge


def test_the_merge_of_vectors_is_the_run_with_its_rates():
    random = np.random.default_rng(0)
    lr, gradients = random.uniform(0.1, 1, 40), random.standard_normal(40)
    iterates = np.cumsum(-lr * gradients)
    positions, weights = (12, 25, 33, 40), (1, 3, 0, 2)
    merged = np.average(iterates[np.array(positions) - 1], weights=weights)
    assert np.sum(-rates_of_merge(lr, positions, weights) * gradients) == pytest.approx(merged)


def test_all_iterates_of_a_tail_are_that_tail():
    lr = np.ones(50)
    merged = rates_of_merge(lr, range(41, 51))
    np.testing.assert_allclose(merged, Tail(0.2).implied_decay(50), atol=1e-12)


def test_one_checkpoint_is_itself():
    lr = np.linspace(1, 2, 30)
    np.testing.assert_array_equal(rates_of_merge(lr, [20]), lr[:20])


@pytest.mark.parametrize(
    ("positions", "weights", "said"),
    [
        ([5, 3], None, "positions"),
        ([5, 40], None, r"positions: got \[5, 40\]"),
        ([0, 4], None, "positions"),
        ([], None, "positions"),
        ([3, 5], [1], "weights"),
        ([3, 5], [-1, 2], "weights"),
        ([3, 5], [0, 0], r"weights: got \[0.0, 0.0\]"),
    ],
)
def test_what_is_no_merge_is_refused(positions, weights, said):
    with pytest.raises(ValueError, match=said):
        rates_of_merge(np.ones(10), positions, weights)
