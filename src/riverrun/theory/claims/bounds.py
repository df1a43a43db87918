"""C5 and C6: nothing is below the lower bound, and a constant LR with an average comes near it."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import numpy as np

from riverrun.averaging.profiles import HalfLife, Uniform
from riverrun.schedules import WSD, Constant, Cosine, InverseSqrt, Linear, PowerDecay, Schedule
from riverrun.theory.bound import lower_bound
from riverrun.theory.claims.settings import (
    EASY,
    HARD,
    REGIMES,
    constant_sweep,
    few_modes,
    named,
    power_law,
)
from riverrun.theory.comparison import HORIZONS
from riverrun.theory.problem import Regression
from riverrun.theory.risk import Engine
from riverrun.theory.slopes import HALF
from riverrun.theory.tuning import best_lr, lr_grid, sweep
from riverrun.verification import Claim, Measurement


def _nothing_below() -> Iterator[Measurement]:
    exact = ((1.5, 2.5), (2.0, 1.5), (1.3, 4.5))
    for exponents, noise, batch in itertools.product(exact, (0.01, 1.0), (1, 16)):
        problem = few_modes(exponents, 64, noise=noise, batch=batch)
        yield _least_ratio(
            problem, 2**9, "exact", 1e-9, f"{named(exponents)} noise={noise:g} B={batch}, exact"
        )
    for exponents in (*REGIMES, HARD, *EASY):
        yield _least_ratio(power_law(exponents), 2**18, "macro", 1e-3, f"{named(exponents)}, macro")


def _least_ratio(problem: Regression, steps: int, engine: Engine, tolerance: float, what: str) -> Measurement:
    """The least risk over the bound, of many schedules at many LRs with many averages."""
    schedules: list[Schedule] = [
        Constant(),
        InverseSqrt(offset=1),
        PowerDecay(exponent=0.3),
        Linear(total=steps, floor=0.0),
        Cosine(total=steps, floor=0.0),
        WSD(budget=steps, decay=0.2, floor=0.0),
    ]
    bound = float(lower_bound(problem, steps))
    lrs = lr_grid(problem, 2**-6)
    averages = [HALF, HalfLife(4), HalfLife(25), Uniform()]
    least = min(
        float(risks.min())
        for schedule in schedules
        for risks in sweep(problem, schedule, lrs, [steps], averages, engine=engine).values()
    )
    return Measurement(what=f"{what}, least risk over the bound", value=least / bound, low=1 - tolerance)


def _near_the_bound() -> Iterator[Measurement]:
    for exponents in REGIMES:
        lrs, risks = constant_sweep(exponents)
        bounds = lower_bound(power_law(exponents), np.array(HORIZONS))
        for n, steps in enumerate(HORIZONS):
            if steps >= 2**16:
                ratio = best_lr(lrs, risks[HALF.name][:, n])[1] / bounds[n]
                yield Measurement(what=f"{named(exponents)} T={steps}", value=ratio, low=1.05, high=1.45)


BOUNDS = (
    Claim(
        number="C5",
        statement="No schedule and no average lies below the lower bound",
        measure=_nothing_below,
        quick=False,
    ),
    Claim(
        number="C6",
        statement="A tuned constant LR with the average of the last half lies 1.05 to 1.45 times above the bound",
        measure=_near_the_bound,
        quick=False,
    ),
)
