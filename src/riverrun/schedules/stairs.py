"""Stairs: a piecewise constant learning rate."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import numpy as np

from riverrun.schedules.fields import Budgets, Number
from riverrun.schedules.schedule import Schedule
from riverrun.schedules.shapes import Floats

Positions = Budgets
"""Increasing whole numbers of steps from 1, as budgets are."""


@dataclass(frozen=True)
class EachFraction:
    """The rule of a list of fractions."""

    unit: str = ""

    def check(self, name: str, value: Any) -> tuple[float, ...]:
        """The fractions as a tuple."""
        if isinstance(value, str) or not isinstance(value, Iterable):
            raise ValueError(f"{name}: got {value!r}; must be a list of fractions")
        rule = Number(minimum=0, maximum=1, noun="a fraction")
        return tuple(float(rule.check(f"{name}[{i}]", element)) for i, element in enumerate(value))


@dataclass(frozen=True, kw_only=True)
class Stairs(Schedule):
    """1 after the warm-up; from the update after position ``at[k]`` on, ``values[k]``.

    Args:
        at: increasing positions, none within the warm-up; update ``at[k]`` itself still has the value before.
        values: a multiplier of the peak for each of them, lower or higher than the one before.
    """

    at: Positions
    values: Annotated[tuple[float, ...], EachFraction()]

    kind: ClassVar[str] = "stairs"
    horizons: ClassVar[tuple[str, ...]] = ("at",)

    def check(self) -> None:
        """One value per stair, and the warm-up must end by the first."""
        if len(self.values) != len(self.at):
            raise ValueError(f"values: got {len(self.values)}; must be {len(self.at)}, one for each of at")
        if self.warmup > self.at[0]:
            raise ValueError(f"warmup: got {self.warmup}; must be at most {self.at[0]}, the first of at")

    def body(self, u: Floats) -> Floats:
        """The value of the last stair before each position."""
        return np.array((1.0, *self.values))[np.searchsorted(self.at, u + self.warmup)]
