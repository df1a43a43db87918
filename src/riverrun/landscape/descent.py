"""Stochastic gradient descent in a valley, many runs at a time, at the learning rates of a schedule."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from riverrun.errors import SettingError
from riverrun.landscape.noise import generator
from riverrun.landscape.valley import Points, Valley
from riverrun.schedules import Schedule
from riverrun.schedules.shapes import Floats

RUNS = 256
"""Runs that a figure or a claim takes the mean of."""


def learning_rates(schedule: Schedule, *, steps: int, peak: float) -> Floats:
    """The rates of the updates 1 .. steps, of shape (steps,).

    Raises:
        SettingError: fewer than one step, or a peak that is not a positive number.
    """
    if steps < 1:
        raise SettingError(f"steps: got {steps}; must be at least 1")
    if not 0 < peak < np.inf:
        raise SettingError(f"peak LR: got {peak:g}; must be a number above 0")
    return peak * schedule(np.arange(1, steps + 1))


def walk(valley: Valley, rates: Floats, *, runs: int = RUNS, seed: int = 0) -> Iterator[Points]:
    """The points after each update, one yield per rate.

    Two walks with one seed meet the same noise at the same step, so that schedules are compared pairwise.

    Raises:
        SettingError: a rate at which runs diverge across the valley, naming the limit; a negative seed.
    """
    if rates.max() >= valley.largest_stable_rate:
        raise SettingError(
            f"peak LR: got {rates.max():g}; must be below {valley.largest_stable_rate:.4g}, "
            "2 over the largest curvature, or runs diverge"
        )
    random = generator(seed)
    points = valley.springs(runs)
    for rate in rates:
        gradient = valley.gradient(points)
        noise = valley.noise * random.standard_normal((runs, 1 + valley.hills))
        points = Points(
            points.x - rate * (gradient.x + noise[:, 0]),
            points.y - rate * (gradient.y + noise[:, 1:]),
        )
        yield points


@dataclass(frozen=True, kw_only=True)
class Descent:
    """What the runs of one schedule came to, as means over the runs.

    Attributes:
        river: height of the river below, after each update; of shape (steps,).
        elevation: above the river, after each update; of shape (steps,).
        kept: step -> the points of all runs after it.
    """

    river: Floats
    elevation: Floats
    kept: dict[int, Points]

    @property
    def loss(self) -> Floats:
        """The mean loss after each update, of shape (steps,)."""
        return self.river + self.elevation


def descend(
    valley: Valley, rates: Floats, *, runs: int = RUNS, seed: int = 0, keep: Collection[int] = ()
) -> Descent:
    """Walk to the end and note the mean height and elevation of every step, and the points at some.

    Args:
        valley: where.
        rates: of the updates, of shape (steps,).
        runs: how many at a time.
        seed: of the noise.
        keep: steps whose points are kept.
    """
    river, elevation = np.empty(len(rates)), np.empty(len(rates))
    kept = {}
    for step, points in enumerate(walk(valley, rates, runs=runs, seed=seed), start=1):
        river[step - 1] = valley.river(points).mean()
        elevation[step - 1] = valley.elevation(points).mean()
        if step in keep:
            kept[step] = points
    return Descent(river=river, elevation=elevation, kept=kept)


def window_averages(
    valley: Valley, rates: Floats, windows: Sequence[int], *, runs: int = RUNS, seed: int = 0
) -> list[Points]:
    """The mean of the last n iterates of each run, for every n of `windows`, each between 1 and the steps.

    Raises:
        ValueError: a window that the walk does not have.
    """
    if not all(1 <= window <= len(rates) for window in windows):
        raise ValueError(f"windows: got {list(windows)}; each must be from 1 to {len(rates)}, the steps")
    total = valley.springs(runs)
    starts = {len(rates) - window for window in windows}
    before = {0: total}
    for step, points in enumerate(walk(valley, rates, runs=runs, seed=seed), start=1):
        total = Points(total.x + points.x, total.y + points.y)
        if step in starts:
            before[step] = total
    means = []
    for window in windows:
        start = before[len(rates) - window]
        means.append(Points((total.x - start.x) / window, (total.y - start.y) / window))
    return means


def mean_loss_between(valley: Valley, start: Points, end: Points, shares: Floats) -> Floats:
    """The loss on the straight line between two checkpoints, mean over runs; of the shape of `shares`."""
    return np.array([valley.loss(start.toward(end, share)).mean() for share in shares])
