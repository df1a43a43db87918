import numpy as np
import pytest

from riverrun.landscape.descent import learning_rates, walk, window_averages
from riverrun.landscape.free_rates import best_rates
from riverrun.landscape.river_formulas import (
    averaged_variance,
    greedy_rates,
    greedy_variance,
    progress,
    stationary_elevation,
    variance_after,
)
from riverrun.landscape.river_runs import wsd_lengths, wsds_schedule
from riverrun.landscape.valley import Valley
from riverrun.schedules import Constant

HILL = {"curvature": 0.8, "noise": 0.2}


def hill_without_a_river():
    """One hill beside a river that is flat."""
    return Valley(curvatures=np.array([HILL["curvature"]]), noise=HILL["noise"], height=0.0)


def test_the_recursion_of_the_variance_is_that_of_simulated_runs():
    valley = hill_without_a_river()
    rates = learning_rates(Constant().decay(at=10, steps=20, floor=0.1), steps=30, peak=0.9)
    formula = variance_after(rates, start=0.0, **HILL)
    simulated = [np.mean(points.y**2) for points in walk(valley, rates, runs=40_000)]
    np.testing.assert_allclose(simulated, formula, rtol=0.05)


def test_the_recursion_settles_at_the_stationary_elevation():
    rates = np.full(500, 0.9)
    variance = variance_after(rates, start=0.0, **HILL)[-1]
    elevation = stationary_elevation(hill_without_a_river(), 0.9)
    assert HILL["curvature"] * variance / 2 == pytest.approx(elevation, rel=1e-12)


def test_progress_solves_the_rivers_equation():
    valley = hill_without_a_river()
    valley = Valley(curvatures=valley.curvatures, noise=0.0, height=2.0, length=7.0)
    small = 1e-3
    speed = (progress(valley, 50 + small) - progress(valley, 50 - small)) / (2 * small)
    assert speed == pytest.approx(2.0 / 7.0 * np.exp(-progress(valley, 50.0) / 7.0))
    assert progress(valley, 0.0) == 0


def test_from_stationarity_the_first_greedy_rate_is_half_the_rate_before():
    start = 0.9 * HILL["noise"] ** 2 / (HILL["curvature"] * (2 - 0.9 * HILL["curvature"]))
    assert greedy_rates(1, start=start, **HILL)[0] == pytest.approx(0.45, rel=1e-12)


def test_the_greedy_decay_is_the_inverse_shape_of_the_schedules():
    start = 0.9 * HILL["noise"] ** 2 / (HILL["curvature"] * (2 - 0.9 * HILL["curvature"]))
    rates = greedy_rates(31, start=start, **HILL)
    schedule = Constant().decay(at=1, steps=30, shape="inverse", floor=float(rates[-1] / rates[0]))
    np.testing.assert_allclose(learning_rates(schedule, steps=31, peak=float(rates[0])), rates)


@pytest.mark.parametrize("factor", [0.5, 0.9, 1.1, 2.0])
def test_no_multiple_of_the_greedy_rates_ends_lower(factor):
    best = greedy_variance(50, start=0.1, **HILL)
    rates = greedy_rates(50, start=0.1, **HILL)
    assert variance_after(rates, start=0.1, **HILL)[-1] == pytest.approx(best, rel=1e-12)
    assert variance_after(factor * rates, start=0.1, **HILL)[-1] > best


def test_rates_found_freely_do_not_need_a_start_from_stationarity():
    found = best_rates(10, start=3.0, **HILL)
    np.testing.assert_allclose(found, greedy_rates(10, start=3.0, **HILL), rtol=1e-4)


@pytest.mark.parametrize("peak", [0.4, 1.2])
def test_the_average_has_the_same_variance_whatever_the_rate(peak):
    valley, steps = hill_without_a_river(), 2000
    rates = learning_rates(Constant(), steps=steps, peak=peak)
    (average,) = window_averages(valley, rates, (steps,), runs=4000)
    assert np.mean(average.y**2) == pytest.approx(averaged_variance(steps, **HILL), rel=0.08)


def test_wsd_pays_for_the_decays_that_it_throws_away():
    budgets = (1500, 3000, 6000)
    lengths = wsd_lengths(budgets)
    assert lengths == [1500, 2850, 5565]
    # Everything that was computed: the stable steps of the longest run once, and every decay.
    decays = [round(0.1 * length) for length in lengths]
    for number, budget in enumerate(budgets, start=1):
        assert lengths[number - 1] - decays[number - 1] + sum(decays[:number]) == budget
    assert [end for _, end in wsds_schedule(budgets).boundaries] == list(budgets)
