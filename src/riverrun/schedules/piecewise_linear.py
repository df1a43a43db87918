"""A learning rate of straight lines through given points."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from riverrun.schedules.shapes import Floats
from riverrun.schedules.values_at import ValuesAt


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
        """The line between the two points around each position, in the form that is exact at its end."""
        s = u + self.warmup
        line = np.minimum(np.searchsorted(self.at, s), len(self.at) - 1)
        starts, ends = (np.array(points, np.float64)[line] for points in ((self.warmup, *self.at), self.at))
        before, after = (np.array(levels)[line] for levels in ((1.0, *self.values), self.values))
        # A line of no steps, from a point at the warm-up's end, serves no update; its length must only not be zero.
        x = np.minimum((s - starts) / np.maximum(ends - starts, 1), 1)
        return after + (before - after) * (1 - x)
