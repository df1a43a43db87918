"""Methods against each other and the lower bound, each tuned as it allows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import numpy as np

from riverrun.averaging.profiles import Profile
from riverrun.schedules import WSD, Constant, Cosine, InverseSqrt, Linear, PowerDecay, Schedule
from riverrun.theory.bound import lower_bound
from riverrun.theory.problem import Regression
from riverrun.theory.rates import best_gamma
from riverrun.theory.risk import LAST
from riverrun.theory.slopes import HALF
from riverrun.theory.spectrum import Floats, PowerLaw
from riverrun.theory.tuning import best_lr, best_lr_for_all, lr_grid, sweep, sweep_each

Tuned = Literal["once", "per horizon"]

HORIZONS = tuple(2**k for k in range(10, 22))

_SMALLEST_LR, _LARGEST_LR = 2**-16, 4.0  # multiples of Regression.moderate_lr


@dataclass(frozen=True)
class Compared:
    """What one method reaches.

    Attributes:
        name: the schedule, and its average if it has one.
        tuned: "once": one open-ended run with one LR for all horizons, the one whose worst ratio to the lower bound
            is least; "per horizon": the best LR for each.
        risks: at each horizon, [P].
        lrs: the peak of each, [P].
    """

    name: str
    tuned: Tuned
    risks: Floats
    lrs: Floats


@dataclass(frozen=True)
class Comparison:
    """All methods on one problem.

    Attributes:
        problem: what is learned.
        horizons: where the risk counts, [P].
        average: what averaged methods read.
        bound: `lower_bound` at each horizon, [P].
        methods: those without a horizon first.
    """

    problem: Regression
    horizons: tuple[int, ...]
    average: Profile
    bound: Floats
    methods: tuple[Compared, ...]


def compare(problem: Regression, horizons: Sequence[int] = HORIZONS, average: Profile = HALF) -> Comparison:
    """Constant, 1/sqrt(t) and t^-gamma with an average in one run; constant, cosine, linear and WSD per horizon.

    Decays go to 0; WSD decays linearly over the last 20%. gamma is `best_gamma` of a power-law spectrum; another
    spectrum has none, and its row is left out.

    Raises:
        ValueError: horizons that do not increase from 16 on, or no noise.
    """
    if not horizons or horizons[0] < 16 or any(after <= before for before, after in pairwise(horizons)):
        raise ValueError(f"horizons: got {list(horizons)}; must increase, from 16")
    if not problem.noise:
        raise ValueError("noise: got 0; must be more than 0, for without it the lower bound is 0")
    bound = lower_bound(problem, np.array(horizons))
    lrs = lr_grid(problem, _SMALLEST_LR)
    wide = lr_grid(problem, 2**-10, _LARGEST_LR)
    constant = sweep(problem, Constant(), lrs, horizons, [average])
    open_ended = [("constant", lrs, constant)]
    open_ended += [
        (name, wide, sweep(problem, schedule, wide, horizons, [average]))
        for name, schedule in _horizon_free(problem).items()
    ]
    with_average = f" + {average.name}"
    methods = [
        *(
            _once(f"{name}{with_average}", peaks, risks[average.name], bound)
            for name, peaks, risks in open_ended
        ),
        *(_once(name, peaks, risks[LAST], bound) for name, peaks, risks in open_ended),
        _each(f"constant{with_average}", lrs, constant[average.name]),
        _each("constant", lrs, constant[LAST]),
        *(
            _each(name, lrs, sweep_each(problem, schedule, lrs, horizons))
            for name, schedule in _HORIZON_BOUND.items()
        ),
    ]
    return Comparison(problem, tuple(horizons), average, bound, tuple(methods))


_HORIZON_BOUND: dict[str, Callable[[int], Schedule]] = {
    "cosine": lambda steps: Cosine(total=steps, floor=0.0),
    "linear": lambda steps: Linear(total=steps, floor=0.0),
    "wsd": lambda steps: WSD(budget=steps, decay=0.2, floor=0.0),
}


def _horizon_free(problem: Regression) -> dict[str, Schedule]:
    """Besides the constant one; t^-gamma only where gamma is another than 0 or 1/2."""
    schedules: dict[str, Schedule] = {"1/sqrt(t)": InverseSqrt(offset=1)}
    if isinstance(problem.spectrum, PowerLaw):
        gamma = best_gamma(problem.spectrum.capacity, problem.spectrum.source)
        if 0 < gamma < 0.5:
            schedules[f"t^-{gamma:.3g}"] = PowerDecay(exponent=gamma)
    return schedules


def _once(name: str, lrs: Floats, risks: Floats, bound: Floats) -> Compared:
    row, _ = best_lr_for_all(risks, bound)
    return Compared(name, "once", risks[row], np.full(len(bound), lrs[row]))


def _each(name: str, lrs: Floats, risks: Floats) -> Compared:
    best = np.array([best_lr(lrs, column) for column in risks.T])
    return Compared(name, "per horizon", best[:, 1], best[:, 0])
