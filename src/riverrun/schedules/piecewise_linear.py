"""Learning rates of straight lines through given points, from the warm-up's end or from another schedule's path."""

from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import numpy as np

from riverrun.schedules.fields import Fractions
from riverrun.schedules.on_base import OnBase
from riverrun.schedules.shapes import Floats
from riverrun.schedules.values_at import Positions, ValuesAt


@dataclass(frozen=True, kw_only=True)
class PiecewiseLinear(ValuesAt):
    """Straight lines from 1 at the warm-up's end through ``values[k]`` at ``at[k]``; the last value holds.

    The first line joins the warm-up's last update (position 0 where there is none) to update ``at[0]``, and each
    update ``at[k]`` has ``values[k]`` exactly. So ``at=(P, ...), values=(1, ...)`` begins with a plateau at the
    peak up to position P, and ``at=(total,), values=(floor,)`` is `Linear` bit for bit.

    Args:
        at: increasing positions, none within the warm-up. The first may be the warm-up's last update: that one has
            the peak, so the first value is then 1.
        values: a multiplier of the peak for each of them, lower or higher than the one before.
    """

    kind: ClassVar[str] = "piecewise-linear"

    def check(self) -> None:
        """Besides, the warm-up's last update cannot have two values."""
        super().check()
        if self.warmup == self.at[0] and self.values[0] != 1:
            raise ValueError(
                f"values[0]: got {self.values[0]:g}; must be 1 at position {self.at[0]}, the warm-up's last update. "
                "For another value begin at a later position"
            )

    def body(self, u: Floats) -> Floats:
        """The lines from the warm-up's end."""
        return lines(u + self.warmup, (self.warmup, *self.at), (1.0, *self.values))


@dataclass(frozen=True, kw_only=True)
class Continued(OnBase):
    """``base`` up to ``at[0]``; then straight lines through ``values[k]`` at ``at[k + 1]``; the last value holds.

    The first line begins at the LR that the base has at update ``at[0]``, which is still the base's; each later
    update of ``at`` has its value exactly. To `PiecewiseLinear` it is what `Decayed` is to the other shapes: a future
    of its own for a run with any past.

    Args:
        base: the schedule up to ``at[0]``; the warm-up is its own.
        at: increasing positions, two or more. The first may lie anywhere, also within a warm-up or a decay.
        values: a multiplier of the peak for each of them but the first, lower or higher than the one before.
    """

    at: Positions
    values: Fractions

    kind: ClassVar[str] = "continued"
    horizons: ClassVar[tuple[str, ...]] = ("at",)

    def check(self) -> None:
        """Two positions at least, and one value for each but the first."""
        if len(self.at) < 2:
            raise ValueError(
                f"at: got {list(self.at)}; must be two positions or more, the first on the base's path"
            )
        if len(self.values) != len(self.at) - 1:
            raise ValueError(
                f"values: got {len(self.values)}; must be {len(self.at) - 1}, one for each of at but the first"
            )

    def turns(self) -> tuple[int, ...]:
        """The base's up to the first position, and the positions."""
        return (*(turn for turn in self.base.turns() if turn < self.at[0]), *self.at)

    @cached_property
    def level(self) -> float:
        """The multiplier that the first line begins at."""
        return self.base(self.at[0])

    def multipliers(self, s: Floats) -> Floats:
        """The base's, and the lines over it."""
        values = self.base.multipliers(s)
        after = s > self.at[0]
        if after.any():
            values[after] = lines(s[after], self.at, (self.level, *self.values))
        return values


def lines(s: Floats, at: tuple[int, ...], values: tuple[float, ...]) -> Floats:
    """Straight lines through points, from the first one on; the last value holds.

    Args:
        s: positions, none before ``at[0]``.
        at: increasing positions of the points, two or more.
        values: one for each of them, met exactly but for the first.
    """
    line = np.minimum(np.searchsorted(at[1:], s), len(at) - 2)
    starts, ends = (np.array(points, np.float64)[line] for points in (at, at[1:]))
    before, after = (np.array(levels)[line] for levels in (values, values[1:]))
    # A line of no steps, from a point at a warm-up's end, serves no update; its length must only not be zero.
    x = np.minimum((s - starts) / np.maximum(ends - starts, 1), 1)
    return after + (before - after) * (1 - x)
