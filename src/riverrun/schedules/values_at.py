"""What the schedules have in common that are given as values of the multiplier at positions."""

from dataclasses import dataclass
from typing import ClassVar

from riverrun.schedules.fields import Budgets, Fractions
from riverrun.schedules.schedule import Schedule

Positions = Budgets
"""Increasing whole numbers of steps from 1, as budgets are."""


@dataclass(frozen=True, kw_only=True)
class ValuesAt(Schedule):
    """Increasing positions, none within the warm-up, and a multiplier of the peak for each."""

    at: Positions
    values: Fractions

    horizons: ClassVar[tuple[str, ...]] = ("at",)

    def check(self) -> None:
        """One value per position, and the warm-up must end by the first."""
        if len(self.values) != len(self.at):
            raise ValueError(f"values: got {len(self.values)}; must be {len(self.at)}, one for each of at")
        if self.warmup > self.at[0]:
            raise ValueError(f"warmup: got {self.warmup}; must be at most {self.at[0]}, the first of at")

    def turns(self) -> tuple[int, ...]:
        """The positions."""
        return self.at
