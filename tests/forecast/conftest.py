"""Fits made by hand: parameters, and how well they are known, as small runs leave them."""

from collections.abc import Callable

import numpy as np
import pytest

from riverrun.forecast.curve import Curve
from riverrun.forecast.fitting import Fit
from riverrun.forecast.laws import LAWS, Scale
from riverrun.forecast.noise import Noise
from riverrun.forecast.seen import see_curve

SCALE = Scale(lr=1e-3, summed=3.0, step=4000.0, loss=3.0)
VALUES = {
    "river": (2.5, np.log(0.6), np.log(0.45), np.log(0.12), 4.5, -0.6, 0.6, 0.8, 0.1, 0.9),
    "multi-power": (2.5, np.log(0.6), np.log(0.45), np.log(0.12), 4.5, -0.6, 0.6),
    "momentum": (2.5, np.log(0.6), np.log(0.45), np.log(0.12), 5.5),
    "power": (2.5, np.log(0.6), np.log(0.45)),
}


@pytest.fixture(scope="session")
def made() -> Callable[..., Fit]:
    """A function from a law's name, and the standard deviation of all its parameters, to a fit."""

    def make(law: str = "river", spread: float = 0.02) -> Fit:
        values = np.array(VALUES[law])
        return Fit(
            law=LAWS[law],
            scale=SCALE,
            values={"train": values},
            noise={("train", False): Noise(2e-3, 1.0)},
            covariance={"train": np.eye(values.size) * spread**2},
            known=dict.fromkeys(LAWS[law].names, 1.0),
            at_edge=(),
            curves=(),
        )

    return make


@pytest.fixture
def simulate() -> Callable[..., Curve]:
    """A function from a name, a schedule and steps to the curve that a law gives them, with independent noise if any.

    Its other arguments are the law's name, the noise's size relative to the loss, how much higher the loss is than
    the law's, and fields of the curve.
    """

    def make(name, schedule, steps, *, law="river", size=0.0, above=0.0, peak_lr=1e-3, **fields):
        steps = np.asarray(steps)
        plain = Curve.of_schedule(name, schedule, steps, np.ones(steps.size), peak_lr=SCALE.lr, **fields)
        losses = above + LAWS[law].losses(np.array(VALUES[law]), see_curve(plain), SCALE)[0]
        random = np.random.default_rng(len(name) * 1000 + sum(map(ord, name)))
        losses = losses * np.exp(size * random.standard_normal(steps.size))
        return Curve.of_schedule(name, schedule, steps, losses, peak_lr=peak_lr, **fields)

    return make
