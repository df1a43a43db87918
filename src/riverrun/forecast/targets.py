"""How long a family of schedules must train until its loss has come down to a target."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from riverrun.forecast.curve import Floats, Steps, rates_of
from riverrun.forecast.fitting import Fit
from riverrun.forecast.prediction import LEVEL, check_level, drawn_offsets, drawn_values
from riverrun.forecast.seen import Seen, see_readout
from riverrun.schedules import Schedule

if TYPE_CHECKING:
    from riverrun.averaging import Profile

Family = Callable[[int], Schedule]
"""The schedule for a total of t updates. Of a horizon-free schedule: ``lambda t: schedule``."""

_PER_E_FOLD = 5
"""Budgets on the grid for each factor of e."""
_DRAWS = 200


@dataclass(frozen=True)
class Reach:
    """The budget at which a loss is reached.

    Attributes:
        target: the loss, in nats.
        step: the first budget from which on the expected loss is at most the target; None if that is not by ``last``.
        earliest, latest: the interval of that budget that leaves out half of 1 - level at either side, for what is not
            known of the parameters, without measurement scatter; None where it is not by ``last``.
        probability: that the target is reached by ``last``.
        level: of the interval.
        first, last: the smallest and the largest budget looked at. A step that equals ``first`` may mean that a
            smaller budget is enough.
        at_last: the loss expected at ``last``.
        floor: L0, the loss without end and without LR; no budget reaches a target that is not above it. Of an
            average, what it comes to there. A schedule that keeps its LR may stay above it for good.
    """

    target: float
    step: int | None
    earliest: int | None
    latest: int | None
    probability: float
    level: float
    first: int
    last: int
    at_last: float
    floor: float

    @property
    def possible(self) -> bool:
        """Whether the law reaches the target at all, after however many updates."""
        return self.target > self.floor


def reach(
    fit: Fit,
    family: Family,
    peak_lr: float,
    target: float,
    *,
    last: int,
    first: int | None = None,
    profile: Profile | None = None,
    series: str | None = None,
    level: float = LEVEL,
    seed: int = 0,
) -> Reach:
    """The smallest budget whose loss at the end is at most a target, and at every larger budget too.

    Losses of budgets are looked at on a geometric grid, between whose points they are taken to fall; the step is then
    found exactly, with `loss(step) <= target < loss(step - 1)`.

    Args:
        fit: of any law.
        family: the schedule for a budget, in updates.
        peak_lr: its peak, in the unit of the fitted curves.
        target: a loss in nats.
        last: the largest budget that counts.
        first: the smallest one; by default where the warm-up of ``family(last)`` has ended, or about the smallest that
            the family has room for: it may answer others with `ValueError`.
        profile: of an average of the weights whose loss counts; None for the weights themselves.
        series: as for `riverrun.forecast.prediction.predict`.
        level: of the interval.
        seed: of the draws of the parameters.

    Raises:
        ValueError: an argument outside its range, or an unknown series.
    """
    name = fit.series(series)
    if not (np.isfinite(target) and target > 0):
        raise ValueError(f"target: got {target:g}; must be a loss in nats, more than 0")
    check_level(level)
    if last < 1:
        raise ValueError(f"last: got {last}; must be at least 1 step")
    first = _smallest(family, last) if first is None else first
    if not 1 <= first <= last:
        raise ValueError(f"last: got {last:,}; must be at least {first:,}, the smallest budget looked at")

    def seen(step: int) -> Seen:
        return see_readout(rates_of(family(step), peak_lr, step), np.array([step]), profile)

    def offsets_at(steps: Steps) -> Floats:
        return np.array([fit.offset(profile, int(step)) for step in steps])

    def losses(values: Floats, seens: list[Seen], off: Floats) -> Floats:
        found = np.array([fit.law.losses(values, one, fit.scale)[0][0] for one in seens])
        return np.asarray(found * np.exp(off))

    values, offsets = fit.values[name], np.zeros(_DRAWS)
    if profile is not None:
        offsets = drawn_offsets(fit, name, profile, last, seed, _DRAWS) - fit.offset(profile, last)
    budgets = _grid(first, last)
    seens = [seen(int(step)) for step in budgets]
    offsets_there = offsets_at(budgets)
    expected = losses(values, seens, offsets_there)
    step = _last_above(expected, target)
    found = None
    if step is not None:
        found = first
        if step >= 0:
            above, found = int(budgets[step]), int(budgets[step + 1])
            while found - above > 1:
                middle = (above + found) // 2
                if losses(values, [seen(middle)], offsets_at(np.array([middle])))[0] <= target:
                    found = middle
                else:
                    above = middle
    crossings = np.array(
        [
            _crossing(budgets, losses(drawn, seens, offsets_there + off), target)
            for drawn, off in zip(drawn_values(fit, name, seed, _DRAWS), offsets, strict=True)
        ]
    )
    # Budgets that are not by `last` are infinite, so quantiles must be one of the crossings.
    low, high = np.quantile(crossings, [(1 - level) / 2, (1 + level) / 2], method="inverted_cdf")
    return Reach(
        target=target,
        step=found,
        earliest=int(np.ceil(low)) if np.isfinite(low) else None,
        latest=int(np.ceil(high)) if np.isfinite(high) else None,
        probability=float(np.isfinite(crossings).mean()),
        level=level,
        first=first,
        last=last,
        at_last=float(expected[-1]),
        floor=float(values[0] * np.exp(fit.offset(profile, last))),
    )


def _smallest(family: Family, last: int) -> int:
    """The first budget on the grid that the family has a schedule for."""
    for budget in _grid(min(max(family(last).warmup, 1), last), last)[:-1]:
        try:
            family(int(budget))
        except ValueError:
            continue
        return int(budget)
    return last


def _grid(first: int, last: int) -> Steps:
    number = 2 + round(_PER_E_FOLD * np.log(last / first))
    return np.unique(np.rint(np.geomspace(first, last, number)).astype(np.int64))


def _last_above(losses: Floats, target: float) -> int | None:
    """The last index whose loss is above the target, -1 if there is none; None if it is the last of all."""
    above = np.flatnonzero(losses > target)
    if not above.size:
        return -1
    return None if above[-1] == losses.size - 1 else int(above[-1])


def _crossing(budgets: Steps, losses: Floats, target: float) -> float:
    """The budget from which on losses are at most the target, between grid points by straight lines over log t."""
    place = _last_above(losses, target)
    if place is None:
        return float("inf")
    if place < 0:
        return float(budgets[0])
    before, after = losses[place : place + 2]
    share = (before - target) / (before - after)
    start, end = np.log(budgets[place : place + 2])
    return float(np.exp(start + share * (end - start)))
