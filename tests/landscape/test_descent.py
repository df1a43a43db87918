import numpy as np
import pytest

from riverrun.errors import SettingError
from riverrun.landscape.descent import descend, learning_rates, mean_loss_between, walk, window_averages
from riverrun.landscape.valley import Valley, hilly_valley, plane_valley
from riverrun.schedules import WSD, WSDS, Constant, Cosine, CyclicCosine, InverseSqrt, PowerDecay

SCHEDULES = [
    Constant(warmup=5),
    InverseSqrt(offset=20),
    PowerDecay(exponent=0.4, offset=10),
    Cosine(total=60),
    CyclicCosine(budgets=(20, 60)),
    WSD(budget=60),
    WSDS(budgets=(20, 60), shape="inverse"),
    Constant().decay(at=30, steps=20, floor=0.0),
]


@pytest.mark.parametrize("schedule", SCHEDULES, ids=lambda schedule: schedule.kind)
def test_any_schedule_drives_a_descent(schedule):
    rates = learning_rates(schedule, steps=60, peak=0.5)
    assert rates[9] == 0.5 * schedule(10)
    descent = descend(plane_valley(1.0), rates, runs=4)
    assert descent.loss.shape == (60,)
    assert np.isfinite(descent.loss).all()


def test_without_noise_runs_follow_the_gradient_exactly():
    valley = Valley(curvatures=np.array([0.5, 1.0]), noise=0.0)
    rates = learning_rates(Constant(), steps=3, peak=0.8)
    x = 0.0
    for points in walk(valley, rates, runs=2):
        x += 0.8 / 40 * np.exp(-x / 40)
        np.testing.assert_allclose(points.x, x)
        np.testing.assert_array_equal(points.y, 0)


def test_a_longer_run_begins_with_the_shorter_one():
    valley = hilly_valley()
    short = descend(valley, learning_rates(Constant(), steps=20, peak=0.9), runs=8, seed=4)
    longer = descend(valley, learning_rates(Constant(), steps=30, peak=0.9), runs=8, seed=4)
    np.testing.assert_array_equal(short.loss, longer.loss[:20])


def test_another_seed_is_another_noise():
    valley, rates = plane_valley(), learning_rates(Constant(), steps=5, peak=0.9)
    assert (descend(valley, rates, seed=0).loss != descend(valley, rates, seed=1).loss).all()


def test_points_are_kept_where_asked_and_give_the_noted_losses():
    valley, rates = hilly_valley(1.0), learning_rates(Constant(), steps=10, peak=0.9)
    descent = descend(valley, rates, runs=8, keep=(3, 10))
    assert sorted(descent.kept) == [3, 10]
    for step, points in descent.kept.items():
        assert valley.loss(points).mean() == pytest.approx(descent.loss[step - 1])


def test_window_averages_are_means_of_the_last_iterates():
    valley, rates = plane_valley(1.0), learning_rates(Constant(), steps=12, peak=0.9)
    points = list(walk(valley, rates, runs=3, seed=2))
    windows = (1, 5, 12)
    for window, average in zip(windows, window_averages(valley, rates, windows, runs=3, seed=2), strict=True):
        np.testing.assert_allclose(average.x, np.mean([one.x for one in points[-window:]], axis=0))
        np.testing.assert_allclose(average.y, np.mean([one.y for one in points[-window:]], axis=0))


@pytest.mark.parametrize("window", [0, 13])
def test_a_window_that_the_walk_does_not_have_is_refused(window):
    rates = learning_rates(Constant(), steps=12, peak=0.9)
    with pytest.raises(ValueError, match="must be from 1 to 12"):
        window_averages(plane_valley(), rates, (window,), runs=1)


def test_a_line_begins_and_ends_with_the_checkpoints_own_losses():
    valley, rates = hilly_valley(), learning_rates(Constant(), steps=10, peak=0.9)
    descent = descend(valley, rates, runs=8, keep=(5, 10))
    ends = mean_loss_between(valley, descent.kept[5], descent.kept[10], np.array([0.0, 1.0]))
    np.testing.assert_allclose(ends, descent.loss[[4, 9]])


@pytest.mark.parametrize("amplitude", [0.0, 2.0])
def test_a_rate_at_which_runs_diverge_is_refused_and_the_limit_named(amplitude):
    valley = hilly_valley(amplitude)
    limit = valley.largest_stable_rate
    with pytest.raises(SettingError, match=f"must be below {limit:.4g}, 2 over the largest curvature"):
        descend(valley, np.array([limit]), runs=1)
    descend(valley, np.array([0.999 * limit]), runs=1)


def test_runs_do_diverge_from_the_limit_on_and_not_below_it():
    valley = plane_valley()
    start = np.full((1, 1), 1e-3)

    def end(rate):
        y = start
        for _ in range(2000):
            y = y - rate * valley.curvatures * y
        return abs(y[0, 0])

    assert end(0.99 * valley.largest_stable_rate) < 1e-6 < 1 < end(1.01 * valley.largest_stable_rate)


@pytest.mark.parametrize("steps", [0, -3])
def test_fewer_than_one_step_is_refused(steps):
    with pytest.raises(SettingError, match=f"steps: got {steps}; must be at least 1"):
        learning_rates(Constant(), steps=steps, peak=1.0)


@pytest.mark.parametrize("peak", [0.0, -1.0, float("nan"), float("inf")])
def test_a_peak_that_is_not_a_positive_number_is_refused(peak):
    with pytest.raises(SettingError, match="must be a number above 0"):
        learning_rates(Constant(), steps=1, peak=peak)
