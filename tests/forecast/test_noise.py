import numpy as np
import pytest

from riverrun.forecast.coverage import Scatter, noise
from riverrun.forecast.noise import MISFIT, Noise, noise_of

pytestmark = pytest.mark.filterwarnings("error")


def made(size, correlation=0.0, points=400, curves=3, seed=0):
    random = np.random.default_rng(seed)
    return [noise(Scatter(size=size, correlation=correlation), points, random) for _ in range(curves)]


@pytest.mark.parametrize("correlation", [0.0, 0.5, 0.8])
def test_size_and_memory_are_those_of_the_noise(correlation):
    found = [noise_of(made(3e-3, correlation, seed=seed)) for seed in range(10)]
    assert np.mean([one.size for one in found]) == pytest.approx(3e-3, rel=0.06)
    assert np.mean([one.memory for one in found]) == pytest.approx(
        (1 + correlation) / (1 - correlation), rel=0.25
    )


def test_outliers_count_for_little():
    residuals = made(1e-3)
    clean = noise_of(residuals).size
    for one in residuals:
        one[::33] += 0.05
    assert noise_of(residuals).size < 1.5 * clean


def test_a_short_curve_that_is_fitted_badly_is_seen_beside_a_long_one_that_is_fitted_well():
    long, short = made(1e-3, points=300, curves=1)[0], np.full(60, 8e-3)
    well, badly = noise_of([long]), noise_of([long, short])
    assert badly.size > 1.2 * well.size
    assert badly.effective > 3 * well.effective


def test_the_order_of_curves_does_not_matter_and_no_pair_reaches_over_two_of_them():
    one, other = made(1e-3, 0.8, curves=2)
    assert noise_of([one, other]) == noise_of([other, one])
    assert noise_of([np.full(40, 1e-3), np.full(40, -1e-3)]).memory > 5


def test_parameters_that_were_fitted_take_from_the_residuals():
    residuals = made(1e-3, points=40, curves=1)
    assert noise_of(residuals, free=5).size > noise_of(residuals).size
    assert noise_of(residuals, free=1000).size < 2 * noise_of(residuals).size


@pytest.mark.parametrize(
    "residuals", [[np.zeros(10)], [np.zeros(1)], [np.array([1e-3])], [np.zeros(3), np.ones(1)]]
)
def test_residuals_of_nothing_or_of_few_points_are_a_noise_still(residuals):
    found = noise_of(residuals)
    assert np.isfinite([found.size, found.memory]).all()
    assert found.size > 0
    assert found.memory >= 1


def test_a_fit_never_counts_points_as_more_exact_than_laws_are():
    assert Noise(1e-9, 1.0).effective == pytest.approx(MISFIT)
    assert Noise(0.01, 4.0).effective == pytest.approx(0.02, rel=0.01)
