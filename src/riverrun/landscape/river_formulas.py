"""What the river valley's arithmetic says: elevation, progress, the greedy decay and averages.

On one hill 1/2 a y^2 with gradient noise of deviation s, v = E y^2 follows v' = (1 - eta a)^2 v + eta^2 s^2.
"""

from __future__ import annotations

import numpy as np

from riverrun.landscape.valley import Valley
from riverrun.schedules.shapes import Floats


def stationary_elevation(valley: Valley, rate: float) -> float:
    """Elevation above a straight river at a constant rate: sum_i eta s^2 / (2 (2 - eta a_i))."""
    return float(np.sum(rate * valley.noise**2 / (2 * (2 - rate * valley.curvatures))))


def stationary_variance(rate: float, *, curvature: float, noise: float) -> float:
    """The v that a constant rate on one hill comes to: eta s^2 / (a (2 - eta a))."""
    return rate * noise**2 / (curvature * (2 - rate * curvature))


def progress(valley: Valley, rates_sum: float) -> float:
    """How far along a straight river the sum of all rates brings a run: l ln(1 + A sum(eta) / l^2)."""
    return float(valley.length * np.log1p(valley.height * rates_sum / valley.length**2))


def variance_after(rates: Floats, *, curvature: float, noise: float, start: float) -> Floats:
    """v after each update from v_0 = start, by the recursion; of shape (steps,)."""
    variances = np.empty(len(rates))
    for step, rate in enumerate(rates):
        start = (1 - rate * curvature) ** 2 * start + (rate * noise) ** 2
        variances[step] = start
    return variances


def greedy_rates(steps: int, *, curvature: float, noise: float, start: float) -> Floats:
    """The rate that lowers v most, update by update: eta = a v / (a^2 v + s^2); of shape (steps,).

    Between updates 1/eta grows by exactly a: the "inverse" decay. From stationarity under a rate eta_0 the
    first is eta_0 / 2.
    """
    rates = np.empty(steps)
    for step in range(steps):
        rates[step] = curvature * start / (curvature**2 * start + noise**2)
        start = (1 - rates[step] * curvature) ** 2 * start + (rates[step] * noise) ** 2
    return rates


def greedy_variance(steps: int, *, curvature: float, noise: float, start: float) -> float:
    """v_n of the greedy decay: 1/v_n = 1/v_0 + n a^2 / s^2."""
    return 1 / (1 / start + steps * curvature**2 / noise**2)


def mismatched_variance(steps: int, *, slope: float, curvature: float, noise: float) -> float:
    """v_n where 1/eta grows by mu < 2a, not a, in an update; for large n: (s^2 / n) / (mu (2a - mu))."""
    return noise**2 / steps / (slope * (2 * curvature - slope))


def averaged_variance(steps: int, *, curvature: float, noise: float) -> float:
    """v of the mean of n iterates at a constant rate, for large n: s^2 / (a^2 n), whatever the rate."""
    return noise**2 / (curvature**2 * steps)
