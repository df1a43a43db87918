import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from riverrun.schedules import SHAPES, Constant, decay_shape

ALL = [*SHAPES, "power:0.5", "power:2", "power:7.5"]


@pytest.mark.parametrize(
    ("shape", "mean"),
    [("linear", 0.55), ("cosine", 0.55), ("sqrt", 0.40), ("exponential", 0.391), ("inverse", 0.256)],
)
def test_mean_over_a_decay_to_a_tenth(shape, mean):
    x = (np.arange(100_000) + 0.5) / 100_000
    assert decay_shape(shape)(x, 0.1).mean() == pytest.approx(mean, abs=5e-4)


def test_inverse_at_the_published_points():
    x = np.array([0, 0.1, 0.25, 0.5, 0.75, 1])
    expected = [1, 0.526, 0.308, 0.182, 0.129, 0.1]
    np.testing.assert_allclose(decay_shape("inverse")(x, 0.1), expected, atol=5e-4)


def test_shapes_follow_their_formulas():
    x, r = np.linspace(0.01, 0.99, 50), 0.07
    formulas = {
        "linear": 1 - (1 - r) * x,
        "cosine": r + (1 - r) * (1 + np.cos(np.pi * x)) / 2,
        "sqrt": r + (1 - r) * (1 - np.sqrt(x)),
        "exponential": r**x,
        "inverse": 1 / (x / r + (1 - x)),
        "power:3": r + (1 - r) * (1 - x) ** 3,
    }
    for name, values in formulas.items():
        np.testing.assert_allclose(decay_shape(name)(x, r), values, rtol=1e-14, err_msg=name)
    np.testing.assert_array_equal(decay_shape("power:1")(x, r), decay_shape("linear")(x, r))


@pytest.mark.parametrize("shape", ALL)
@given(floor=st.floats(1e-6, 1))
def test_the_ends_are_exact_and_the_way_down_is_monotone(shape, floor):
    x = np.linspace(0, 1, 101)
    values = decay_shape(shape)(x, floor)
    assert values[0] == 1.0
    assert values[-1] == floor
    assert (np.diff(values) <= 1e-15).all()


@pytest.mark.parametrize("shape", [name for name in ALL if name not in ("exponential", "inverse")])
def test_a_floor_of_zero_is_reached_exactly(shape):
    assert Constant().decay(at=3, steps=9, shape=shape, floor=0)(12) == 0.0


@pytest.mark.parametrize("shape", ["exponential", "inverse"])
def test_shapes_that_cannot_reach_zero_say_so(shape):
    with pytest.raises(ValueError, match=f"floor: got 0; must be more than 0 for the shape '{shape}'"):
        Constant().decay(at=3, steps=9, shape=shape, floor=0)


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ("inverted", "shape: got 'inverted'; .*did you mean 'inverse'"),
        ("power", "shape: got 'power'; .*'power:2'"),
        ("power:x", "shape: got 'power:x'"),
        ("power:0", "power:0.*more than 0"),
        ("power:nan", "power:nan.*more than 0"),
        (3, "shape: got 3"),
        (["linear"], "shape: got"),
    ],
)
def test_unknown_shapes(shape, message):
    with pytest.raises(ValueError, match=message):
        Constant().decay(at=3, steps=9, shape=shape)


def test_greedy_decay_on_a_quadratic_is_the_inverse_rule():
    """L = gamma x^2 / 2 with gradient noise sigma^2: the LR that minimises the next step's variance.

    x' = (1 - eta gamma) x - eta noise. Its best eta is gamma v / (gamma^2 v + sigma^2), which gives
    1/v' = 1/v + gamma^2 / sigma^2; started from the stationary variance under a constant LR eta it is
    eta / (2 + t eta gamma) exactly.
    """
    gamma, sigma, eta = 0.7, 1.3, 0.4
    variance = eta * sigma**2 / (gamma * (2 - eta * gamma))
    assert gamma * variance / 2 == pytest.approx(eta * sigma**2 / (2 * (2 - eta * gamma)))
    rates = np.linspace(0, eta, 200_001)
    for t in range(20):
        after = (1 - rates * gamma) ** 2 * variance + rates**2 * sigma**2
        best = eta / (2 + t * eta * gamma)
        assert rates[after.argmin()] == pytest.approx(best, abs=eta / 200_000)
        following = (1 - best * gamma) ** 2 * variance + best**2 * sigma**2
        assert 1 / following == pytest.approx(1 / variance + gamma**2 / sigma**2)
        variance = following


def test_greedy_decay_is_the_inverse_shape():
    """eta / (2 + t eta gamma), t = 0 .. n, scaled to start at 1, is `inverse` with its end as floor."""
    n, slope = 50, 0.3
    t = np.arange(n + 1)
    greedy = 2 / (2 + t * slope)
    np.testing.assert_allclose(decay_shape("inverse")(t / n, greedy[-1]), greedy, rtol=1e-14)
