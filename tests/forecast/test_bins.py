"""Curves averaged in bins."""

import numpy as np

from riverrun.forecast.bins import binned
from riverrun.forecast.curve import Curve
from riverrun.schedules import Constant, Cosine


def dense(schedule, points=4000):
    steps = np.arange(100, 100 + points)
    losses = 3 + 5 * steps**-0.3 + 0.1 * schedule(steps)
    return Curve.of_schedule("dense", schedule, steps, losses, peak_lr=2.0)


def test_few_points_stay_as_they_are():
    curve = dense(Constant(), 300)
    assert binned(curve) is curve


def test_bins_are_means_in_order_and_hold_all_points():
    curve = dense(Cosine(total=4099, floor=0.1))
    means = binned(curve, 200)
    assert 150 < means.steps.size <= 200
    assert (np.diff(means.steps) > 0).all()
    np.testing.assert_allclose(means.losses, np.interp(means.steps, curve.steps, curve.losses), rtol=2e-3)
    assert means.lr is curve.lr


def test_no_bin_reaches_over_a_jump():
    curve = dense(Constant().decay(at=2001, steps=0, floor=0.2))
    means = binned(curve, 50)
    before, after = means.steps[means.steps <= 2001], means.steps[means.steps > 2001]
    expected = 3 + 5.0 * means.steps**-0.3 + 0.1 * np.where(means.steps <= 2001, 1, 0.2)
    np.testing.assert_allclose(means.losses, expected, rtol=1e-3)
    assert before.size
    assert after.size
