"""C7 to C11 and C13: measured slopes against the exponents of `riverrun.theory.rates`."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from riverrun.schedules import Constant, Schedule
from riverrun.theory import rates
from riverrun.theory.claims.settings import (
    EASY,
    HARD,
    REGIMES,
    constant_sweep,
    named,
    power_law,
)
from riverrun.theory.comparison import HORIZONS
from riverrun.theory.risk import LAST
from riverrun.theory.slopes import HALF, Slopes, asymptotic_slopes
from riverrun.theory.tuning import best_lr, lr_grid, slope, sweep_each
from riverrun.verification import Claim, Measurement, near

_GRID = tuple(round(0.1 * n, 1) for n in range(9))
_LATE = [HORIZONS.index(2**13) + n for n in range(9)]


def _slopes(exponents: tuple[float, float], gammas: tuple[float, ...] = _GRID) -> Slopes:
    return asymptotic_slopes(*exponents, gammas)


def _both_exponents() -> Iterator[Measurement]:
    for exponents in (*REGIMES, HARD, EASY[0], EASY[2]):
        capacity, source = exponents
        # At gamma = 0.8 the bias is still three quarters of (1.2, 3)'s risk at 2^44: no slope to measure yet.
        grid = _GRID[:-1] if exponents == EASY[0] else _GRID
        gammas = tuple(sorted({*grid, rates.published_best_gamma(capacity, source)}))
        found = _slopes(exponents, gammas)
        for gamma, averaged, last in zip(found.gammas, found.averaged, found.last, strict=True):
            what = named(exponents, gamma)
            above, below = _tolerance(exponents, gamma)
            target = rates.averaged_exponent(capacity, source, gamma)
            yield Measurement(
                what=f"{what}, averaged", value=averaged, low=target - below, high=target + above
            )
            yield near(f"{what}, last", last, rates.last_exponent(capacity, source, gamma), max(above, 0.025))


def _tolerance(exponents: tuple[float, float], gamma: float) -> tuple[float, float]:
    """Above and below; slopes at gamma = 1/2 bear a logarithm, those of (1.2, 3) beyond it converge slowly."""
    if gamma == 0.5 and exponents[1] >= 2 * exponents[0]:
        return 0.01, 0.04
    return (0.06, 0.06) if exponents == EASY[0] and gamma >= 0.7 else (0.025, 0.025)


def _best_gamma() -> Iterator[Measurement]:
    for exponents in (*REGIMES, HARD, EASY[2]):
        found = _slopes(exponents)
        best = found.gammas[int(np.argmax(found.averaged))]
        yield near(f"{named(exponents)}, best gamma", best, rates.best_gamma(*exponents), 0.1)


def _published_gamma_is_too_large() -> Iterator[Measurement]:
    for exponents in EASY:
        gamma = rates.published_best_gamma(*exponents)
        (averaged,) = _slopes(exponents, (gamma,)).averaged
        short = rates.minimax_exponent(*exponents) - averaged
        yield Measurement(what=f"{named(exponents, gamma)}, short of minimax by", value=short, low=0.15)


def _tuned_constant() -> Iterator[Measurement]:
    late = np.array(HORIZONS)[_LATE]
    for exponents in (*REGIMES, HARD):
        lrs, risks = constant_sweep(exponents)
        best = [best_lr(lrs, risks[HALF.name][:, n]) for n in _LATE]
        yield near(
            f"{named(exponents)}, averaged",
            slope(late, [risk for _, risk in best]),
            rates.tuned_constant_exponent(*exponents),
            0.04,
        )
        yield near(
            f"{named(exponents)}, exponent of the best LR",
            -slope(late, [lr for lr, _ in best]),
            rates.tuned_constant_lr_exponent(*exponents),
            0.1 if exponents == HARD else 0.06,
        )


def _tuned_last() -> Iterator[Measurement]:
    late = np.array(HORIZONS)[_LATE]
    for exponents in (*REGIMES, HARD):
        lrs, risks = constant_sweep(exponents)
        best = [best_lr(lrs, risks[LAST][:, n])[1] for n in _LATE]
        yield near(named(exponents), slope(late, best), rates.tuned_last_exponent(*exponents), 0.03)


def _decays() -> Iterator[Measurement]:
    horizons = [2**27, 2**28, 2**29, 2**30]
    for exponents in REGIMES:
        problem = power_law(exponents, 10**12)
        lrs = lr_grid(problem, 2**-20)
        for decay in (0.0, 0.5, 1.0, 2.0):
            if decay + 1 == exponents[0]:
                continue  # a logarithm bends the slope there

            def schedule(steps: int, decay: float = decay) -> Schedule:
                if not decay:
                    return Constant()
                return Constant().decay(at=0, steps=steps, shape=f"power:{decay}", floor=0.0)

            risks = sweep_each(problem, schedule, lrs, horizons)
            best = [best_lr(lrs, column)[1] for column in risks.T]
            target = rates.tuned_last_exponent(*exponents, decay)
            yield near(f"{named(exponents)} decay={decay:g}", slope(horizons, best), target, 0.025)


EXPONENTS = (
    Claim(
        number="C7",
        statement=(
            "Slopes over T in [2^32, 2^44] are s(gamma) in averages and l(gamma) in last iterates, up to gamma = 0.8 "
            "(for a=1.2 b=3, whose bias still leads beyond it, up to 0.7)"
        ),
        measure=_both_exponents,
        quick=False,
    ),
    Claim(
        number="C8",
        statement="The gamma of the steepest average is max(0, min(1/2, 1 - a/b)), this project's refinement",
        measure=_best_gamma,
        quick=False,
    ),
    Claim(
        number="C9",
        statement="For b > 2a the published gamma, 1 - a/b, falls short of the minimax exponent",
        measure=_published_gamma_is_too_large,
    ),
    Claim(
        number="C10",
        statement="A constant LR with an average, tuned per horizon, has the exponent (b-1)/max(a,b)",
        measure=_tuned_constant,
        quick=False,
    ),
    Claim(
        number="C11",
        statement="A constant LR without one, tuned per horizon, has the exponent (b-1)/(a+b-1)",
        measure=_tuned_last,
        quick=False,
    ),
    Claim(
        number="C13",
        statement="A decay (T-t)^p, tuned per horizon, has the exponent (b-1)/(b-1+max(1, a/(p+1)))",
        measure=_decays,
        quick=False,
    ),
)
