"""Measured exponents of power schedules, where T is so large that constants no longer bend the slope."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from riverrun.averaging.profiles import Profile, Tail
from riverrun.schedules import PowerDecay
from riverrun.theory.problem import Regression
from riverrun.theory.risk import risk
from riverrun.theory.spectrum import LARGEST_DIMENSION, PowerLaw
from riverrun.theory.tuning import slope

ASYMPTOTIC = tuple(2**k for k in range(32, 45, 2))
"""Where slopes are measured: over four decades, as far as the macro engine is fast."""

HALF = Tail(0.5)
"""The average of the last half of the run: over a fixed share, so that its constant does not hide the rate."""

_LARGEST_GAMMA = 0.95


@dataclass(frozen=True)
class Slopes:
    """Exponents by least squares over `ASYMPTOTIC`, for each gamma of a power schedule (t+1)^-gamma.

    Attributes:
        gammas: the exponents of the schedules.
        averaged: of the risk of an average.
        last: of the risk of the last iterate.
    """

    gammas: tuple[float, ...]
    averaged: tuple[float, ...]
    last: tuple[float, ...]


def asymptotic_slopes(
    capacity: float, source: float, gammas: Sequence[float], average: Profile = HALF, batch: int = 1
) -> Slopes:
    """Slopes at the peak LR `Regression.moderate_lr`, noise 1, in 1e13 dimensions.

    Args:
        capacity: a > 1.
        source: b > 1.
        gammas: increasing, from 0 up to 0.95.
        average: over a fixed share of the run.
        batch: samples per update.

    Raises:
        ValueError: an argument is out of range.
    """
    if not gammas or gammas[0] < 0 or gammas[-1] > _LARGEST_GAMMA or any(b <= a for a, b in pairwise(gammas)):
        raise ValueError(f"gammas: got {list(gammas)}; must increase, from 0 up to {_LARGEST_GAMMA}")
    spectrum = PowerLaw(capacity=capacity, source=source, dimension=LARGEST_DIMENSION)
    problem = Regression(spectrum=spectrum, batch=batch)
    schedules = [PowerDecay(exponent=gamma) for gamma in gammas]
    found = risk(problem, schedules, problem.moderate_lr, ASYMPTOTIC, [average], engine="macro")

    def fitted(name: str) -> tuple[float, ...]:
        return tuple(slope(ASYMPTOTIC, row) for row in found[name])

    return Slopes(tuple(gammas), fitted(average.name), fitted("last"))
