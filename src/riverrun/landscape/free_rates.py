"""The best learning rates on one hill, found without being told their form."""

from __future__ import annotations

import numpy as np

from riverrun.landscape.river_formulas import variance_after
from riverrun.schedules.shapes import Floats


def best_rates(steps: int, *, curvature: float, noise: float, start: float) -> Floats:
    """The rates of all updates that together make the last v least, by quasi-Newton descent; of shape (steps,).

    They start from a constant 1/(2a). v is as in `river_formulas`; its logarithm is what is minimised. Its
    gradient goes backwards through the recursion: dv_n/dv_t is the product of (1 - eta a)^2 of the updates
    after t. scipy is needed.
    """
    from scipy.optimize import minimize

    def value_and_gradient(rates: Floats) -> tuple[float, Floats]:
        after = variance_after(rates, curvature=curvature, noise=noise, start=start)
        before = np.concatenate([[start], after[:-1]])
        shrinks = (1 - rates * curvature) ** 2
        sensitivity = np.append(np.cumprod(shrinks[:0:-1])[::-1], 1.0)
        own = -2 * curvature * (1 - rates * curvature) * before + 2 * rates * noise**2
        return float(np.log(after[-1])), sensitivity * own / after[-1]

    found = minimize(
        value_and_gradient,
        np.full(steps, 0.5 / curvature),
        jac=True,
        method="BFGS",
        options={"gtol": 1e-10, "maxiter": 10_000},
    )
    return np.asarray(found.x)
