"""C12 and C14: one open-ended run with an average is near the best at every horizon; what is not anytime is not."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from riverrun.averaging.profiles import FixedBeta, HalfLife
from riverrun.schedules import PowerDecay
from riverrun.theory import rates
from riverrun.theory.claims.settings import REGIMES, constant_sweep, named, power_law
from riverrun.theory.comparison import HORIZONS
from riverrun.theory.risk import LAST, risk
from riverrun.theory.slopes import HALF
from riverrun.theory.tuning import best_lr, best_lr_for_all, lr_grid, slope, sweep
from riverrun.verification import Claim, Measurement, near

_LARGEST = 4.0
"""Peaks up to so many times the moderate LR: beyond them a larger peak stands in for a smaller gamma."""


def _tuned_once() -> Iterator[Measurement]:
    for exponents in REGIMES:
        gamma = rates.best_gamma(*exponents)
        problem = power_law(exponents)
        lrs, constant = constant_sweep(exponents)
        envelope = np.array([best_lr(lrs, column)[1] for column in constant[HALF.name].T])
        risks = sweep(
            problem, PowerDecay(exponent=gamma), lr_grid(problem, 2**-10, _LARGEST), HORIZONS, [HALF]
        )
        for name, low, high in ((HALF.name, 1.0, 1.25), (LAST, 2.5, np.inf)):
            worst = best_lr_for_all(risks[name], envelope)[1]
            yield Measurement(what=f"{named(exponents, gamma)}, {name}", value=worst, low=low, high=high)


def _growing_windows() -> Iterator[Measurement]:
    exponents, gamma = (2.0, 3.0), 1 / 3
    problem = power_law(exponents)
    growing = [HalfLife(1 / fraction) for fraction in (0.125, 0.25, 0.5, 1.0)]
    fixed = [FixedBeta(1 - 1 / window) for window in (100, 1000)]
    at = [2**16, 2**17]
    found = risk(
        problem, PowerDecay(exponent=gamma), problem.moderate_lr, at, [*growing, *fixed], engine="macro"
    )
    last = slope(at, found.last[0])
    for profile in growing:
        measured = slope(at, found[profile.name][0])
        yield near(
            f"{profile.name}, slope against minimax", measured, rates.minimax_exponent(*exponents), 0.02
        )
    for other in fixed:
        measured = slope(at, found[other.name][0])
        yield near(f"{other.name}, slope against the last iterate's", measured, last, 0.12)


ANYTIME = (
    Claim(
        number="C12",
        statement=(
            "One open-ended run, its LR tuned once, stays within 1.25 of the constant LR with an average that is tuned "
            "for each horizon; its last iterate does not come within 2.5"
        ),
        measure=_tuned_once,
        quick=False,
    ),
    Claim(
        number="C14",
        statement="Averages whose window grows with the run have the minimax slope; one of fixed length does not",
        measure=_growing_windows,
    ),
)
