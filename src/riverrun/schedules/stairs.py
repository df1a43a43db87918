"""Stairs: a piecewise constant learning rate."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from riverrun.schedules.fields import Budgets, Fractions
from riverrun.schedules.schedule import Schedule
from riverrun.schedules.shapes import Floats

Positions = Budgets
"""Increasing whole numbers of steps from 1, as budgets are."""


@dataclass(frozen=True, kw_only=True)
class Stairs(Schedule):
    """1 after the warm-up; from the update after position ``at[k]`` on, ``values[k]``.

    Args:
        at: increasing positions, none within the warm-up; update ``at[k]`` itself still has the value before.
        values: a multiplier of the peak for each of them, lower or higher than the one before.
    """

    at: Positions
    values: Fractions

    kind: ClassVar[str] = "stairs"
    horizons: ClassVar[tuple[str, ...]] = ("at",)

    def check(self) -> None:
        """One value per stair, and the warm-up must end by the first."""
        if len(self.values) != len(self.at):
            raise ValueError(f"values: got {len(self.values)}; must be {len(self.at)}, one for each of at")
        if self.warmup > self.at[0]:
            raise ValueError(f"warmup: got {self.warmup}; must be at most {self.at[0]}, the first of at")

    def turns(self) -> tuple[int, ...]:
        """Where each stair begins."""
        return self.at

    def body(self, u: Floats) -> Floats:
        """The value of the last stair before each position."""
        return np.array((1.0, *self.values))[np.searchsorted(self.at, u + self.warmup)]
