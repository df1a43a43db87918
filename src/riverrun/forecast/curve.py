"""A loss curve and the learning rates that made it: what laws are fitted to."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from riverrun.schedules import Schedule

if TYPE_CHECKING:
    from riverrun.averaging import Profile  # it brings torch along

Floats = NDArray[np.float64]
Steps = NDArray[np.int64]
Kind = tuple[str, bool]
"""A series, and whether averages of the weights were measured."""

LONGEST = 20_000_000
"""Updates that a curve or a forecast may have: the LR of each is held in memory."""


@dataclass(frozen=True, eq=False)
class Curve:
    """Losses at positions of one run, and the LR of every update up to the last of them at least.

    Args:
        name: for tables and errors.
        steps: [n], increasing positions from 1; position s is where s updates are done.
        losses: [n], positive, in nats; training losses should be means over bins or smoothed, a
            few hundred of them: where the LR changes all along, the cost of a fit grows with their square.
        lr: [updates], ``lr[s - 1]`` is the learning rate of update s, at least 0, and one above 0 up to the first
            position. Curves that are fitted together have their LRs in the same unit.
        series: what was measured, "train" or "held-out". Curves of one series have their lowest loss in common, and
            the size of their noise; between series both may differ.
        profile: of the average of the weights that was measured; None for the weights themselves.

    Raises:
        ValueError: lengths that do not fit, steps that do not increase, losses that are not positive numbers, an LR
            that ends before the curve does, or one that is 0 up to its first point.
    """

    name: str
    steps: Steps
    losses: Floats
    lr: Floats
    series: str = "train"
    profile: Profile | None = None

    def __post_init__(self) -> None:
        steps, losses, lr = np.asarray(self.steps), np.asarray(self.losses, float), np.asarray(self.lr, float)
        if steps.ndim != 1 or steps.shape != losses.shape or not steps.size:
            raise ValueError(
                f"{self.name}: got {steps.size} steps and {losses.size} losses; must be as many, and one at least"
            )
        if not np.array_equal(steps, np.rint(steps)) or steps[0] < 1 or (np.diff(steps) <= 0).any():
            raise ValueError(
                f"{self.name}: steps must be whole numbers from 1 that increase; clean the curve first"
            )
        if not np.isfinite(losses).all() or (losses <= 0).any():
            raise ValueError(f"{self.name}: losses must be positive numbers; clean the curve first")
        check_rates(self.name, lr, int(steps[0]))
        if lr.size < steps[-1]:
            raise ValueError(
                f"{self.name}: the learning rates end at step {lr.size:,}, the curve at step {int(steps[-1]):,}; give "
                "the schedule up to there, or a part of the curve"
            )
        for field, value in (("steps", steps.astype(np.int64)), ("losses", losses), ("lr", lr)):
            object.__setattr__(self, field, value)

    @classmethod
    def of_schedule(
        cls,
        name: str,
        schedule: Schedule,
        steps: ArrayLike,
        losses: ArrayLike,
        *,
        peak_lr: float = 1.0,
        series: str = "train",
        profile: Profile | None = None,
    ) -> Curve:
        """A curve whose LR is a schedule of this package times its peak."""
        steps = np.asarray(steps)
        rates = rates_of(schedule, peak_lr, int(steps.max(initial=1)))
        return cls(name, steps, np.asarray(losses, float), rates, series, profile)

    def between(self, first: int, last: int) -> Curve:
        """The part at positions first .. last, which must hold a point."""
        inside = (self.steps >= first) & (self.steps <= last)
        return replace(self, steps=self.steps[inside], losses=self.losses[inside])

    def thinned(self, most: int) -> Curve:
        """At most that many of its points, evenly chosen, the first and the last among them."""
        kept = np.unique(np.linspace(0, self.steps.size - 1, most).round().astype(int))
        return replace(self, steps=self.steps[kept], losses=self.losses[kept])

    @property
    def kind(self) -> Kind:
        """What noise is common to: its series, and whether it is of an average."""
        return self.series, self.profile is not None


def rates_of(schedule: Schedule, peak_lr: float, updates: int) -> Floats:
    """The LR of updates 1 .. updates.

    Raises:
        ValueError: more than `LONGEST` updates.
    """
    if updates > LONGEST:
        raise ValueError(f"steps: got {updates:,}; forecasts reach to step {LONGEST:,}")
    return peak_lr * schedule(np.arange(1, updates + 1))


def check_rates(name: str, lr: Floats, first: int) -> None:
    """Raise `ValueError` unless learning rates are numbers of at least 0, and not all 0 up to a first position.

    Where the LR has been 0 all along nothing has moved, and laws that see it have no loss.
    """
    if lr.ndim != 1 or not lr.size or not np.isfinite(lr).all() or (lr < 0).any() or not lr.any():
        raise ValueError(f"{name}: learning rates must be numbers of at least 0, and not all of them 0")
    if not lr[:first].any():
        begun = int(np.flatnonzero(lr)[0]) + 1
        raise ValueError(
            f"{name}: the learning rate is 0 up to step {first:,}; must be above 0 before the first point. Leave out "
            f"what lies before step {begun:,}"
        )
