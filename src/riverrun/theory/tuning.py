"""The best peak learning rate, from a sweep."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import ArrayLike

from riverrun.averaging.profiles import Profile
from riverrun.schedules import Schedule
from riverrun.theory.problem import Regression
from riverrun.theory.risk import BLOCKS, LAST, Engine, RiskWarning, risk
from riverrun.theory.spectrum import Floats


def lr_grid(
    problem: Regression, smallest: float, largest: float | None = None, per_octave: int = 2
) -> Floats:
    """Peak LRs up to ``largest`` (95% of the stability limit if None), geometric, [L], increasing.

    Args:
        problem: whose limit and whose `moderate_lr` count.
        smallest: the first one, in multiples of `Regression.moderate_lr`.
        largest: the last one, in the same multiples.
        per_octave: values per factor of two.
    """
    top = 0.95 * problem.largest_lr if largest is None else largest * problem.moderate_lr
    octaves = np.log2(top / (smallest * problem.moderate_lr))
    return top * 2.0 ** (-np.arange(int(octaves * per_octave), -1, -1) / per_octave)


def sweep(
    problem: Regression,
    schedule: Schedule,
    lrs: Floats,
    at: Sequence[int],
    averages: Sequence[Profile] = (),
    *,
    engine: Engine = "macro",
    blocks: float = BLOCKS,
) -> dict[str, Floats]:
    """Risks by name ("last", and each profile's) of a schedule at several peaks, [L, P].

    A peak that is above the stability limit on the way is a candidate like others; its risk shows it.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RiskWarning)
        found = risk(problem, schedule, lrs, at, averages, engine=engine, blocks=blocks)
    return {name: found[name] for name in found.bias}


def sweep_each(
    problem: Regression,
    schedule: Callable[[int], Schedule],
    lrs: Floats,
    at: Sequence[int],
    *,
    blocks: float = BLOCKS,
) -> Floats:
    """Last iterates of a schedule that must know its horizon, one run for each horizon, [L, P]."""
    return np.concatenate(
        [sweep(problem, schedule(steps), lrs, [steps], blocks=blocks)[LAST] for steps in at], axis=1
    )


def best_lr(lrs: Floats, risks: ArrayLike) -> tuple[float, float]:
    """The best LR and its risk, by a parabola through the logarithms of the best of a grid and its neighbours.

    Args:
        lrs: [L], geometric, increasing.
        risks: [L]; the best must not be the first or, unless the grid ends there for a reason, the last.

    Returns:
        The best itself, without a parabola, where it is at an edge.
    """
    values = np.asarray(risks, np.float64)
    n = int(values.argmin())
    if n in (0, len(lrs) - 1):
        return float(lrs[n]), float(values[n])
    below, here, above = np.log(values[n - 1 : n + 2])
    curvature = below - 2 * here + above
    shift = 0.5 * (below - above) / curvature if curvature > 0 else 0.0
    return float(lrs[n] * (lrs[n + 1] / lrs[n]) ** shift), float(
        np.exp(here - 0.25 * (below - above) * shift)
    )


def best_lr_for_all(risks: Floats, envelope: Floats) -> tuple[int, float]:
    """Which one LR serves all positions best: the least worst ratio to an envelope.

    Args:
        risks: [L, P].
        envelope: [P], what each position could have at best.

    Returns:
        The row, and its worst ratio.
    """
    worst = (risks / envelope).max(axis=1)
    return int(worst.argmin()), float(worst.min())


def slope(steps: ArrayLike, risks: ArrayLike) -> float:
    """The exponent e of risk ~ steps^-e, by least squares over the logarithms."""
    return float(
        -np.polyfit(np.log(np.asarray(steps, np.float64)), np.log(np.asarray(risks, np.float64)), 1)[0]
    )
