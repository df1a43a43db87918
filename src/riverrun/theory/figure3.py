"""The regression experiment of *Anytime Pretraining* (its figure 3): d = 500,000, T = 50,000, noise 0.01.

Constant and 1/sqrt(t) LRs with a uniform average of all iterates, and a cosine that is run anew for each checkpoint,
for a in {1.1, 1.5, 1.9} and b in {a, 2a}. Each method has one LR, a multiple of 1 / tr H, chosen by its mean excess
risk over the checkpoints. The target is w*_i^2 = i^-(b-a), not normalised to length 1.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context

import numpy as np

from riverrun.averaging.profiles import Uniform
from riverrun.schedules import Constant, Cosine, InverseSqrt
from riverrun.theory.bound import lower_bound
from riverrun.theory.problem import Regression
from riverrun.theory.risk import LAST
from riverrun.theory.spectrum import Floats, PowerLaw
from riverrun.theory.tuning import sweep, sweep_each

DIMENSION, NOISE = 500_000, 0.01
CHECKPOINTS = (1000, 2000, 3000, 5000, 8000, 10_000, 20_000, 50_000)
SETTINGS = tuple((a, factor * a) for a in (1.1, 1.5, 1.9) for factor in (1, 2))
MULTIPLIERS = tuple(2.0**k for k in range(-9, 4))
"""Of 1 / tr H. A constant or cosine LR takes those that are stable on this spectrum; 1/sqrt(t) soon falls below."""


@dataclass(frozen=True)
class Panel:
    """One spectrum.

    Attributes:
        capacity: a.
        source: b.
        bound: `lower_bound` at each checkpoint, [P].
        risks: at the chosen multiplier, name -> [P].
        multipliers: name -> the multiple of 1 / tr H chosen.
    """

    capacity: float
    source: float
    bound: Floats
    risks: Mapping[str, Floats]
    multipliers: Mapping[str, float]


def figure3(workers: int | None = None) -> list[Panel]:
    """All panels, in so many processes; one for each processor if None."""
    count = min(workers or os.cpu_count() or 1, len(SETTINGS))
    if count == 1:
        return [panel(*setting) for setting in SETTINGS]
    with ProcessPoolExecutor(count, mp_context=get_context("spawn")) as pool:
        return list(pool.map(panel, *zip(*SETTINGS, strict=True)))


def panel(capacity: float, source: float) -> Panel:
    """The methods on one spectrum, in blocks of updates (`riverrun.theory.macro`)."""
    spectrum = PowerLaw(capacity=capacity, source=source, dimension=DIMENSION)
    problem = Regression(spectrum=spectrum, noise=NOISE)
    lrs = np.array(MULTIPLIERS) / problem.modes.trace
    stable = lrs[lrs < 0.99 * problem.largest_lr]
    average = Uniform()
    swept: dict[str, Floats] = {}
    for name, schedule, peaks in (
        ("constant", Constant(), stable),
        ("1/sqrt(t)", InverseSqrt(offset=1), lrs),
    ):
        risks = sweep(problem, schedule, peaks, CHECKPOINTS, [average])
        swept |= {f"{name} + average": risks[average.name], name: risks[LAST]}
    swept["cosine, run for each"] = sweep_each(
        problem, lambda steps: Cosine(total=steps, floor=0.0), stable, CHECKPOINTS
    )
    rows = {name: int(risks.mean(axis=1).argmin()) for name, risks in swept.items()}
    return Panel(
        capacity,
        source,
        lower_bound(problem, np.array(CHECKPOINTS)),
        {name: risks[rows[name]] for name, risks in swept.items()},
        {name: MULTIPLIERS[row] for name, row in rows.items()},
    )
