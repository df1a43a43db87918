"""Schedules that must know their end: ``total`` and ``budgets`` count from position 0, warm-up included."""

from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import ClassVar

import numpy as np

from riverrun.schedules import shapes
from riverrun.schedules.fields import Budgets, Fraction, PositiveSteps, Steps
from riverrun.schedules.schedule import Schedule
from riverrun.schedules.shapes import Floats


@dataclass(frozen=True, kw_only=True)
class _ToTotal(Schedule):
    """One shape from the end of the warm-up to ``total``, the floor ever after."""

    total: PositiveSteps
    floor: Fraction = 0.1

    horizons: ClassVar[tuple[str, ...]] = ("total",)
    shape: ClassVar[str]

    def check(self) -> None:
        """The warm-up must end by ``total``."""
        if self.warmup > self.total:
            raise ValueError(f"warmup: got {self.warmup}; must be at most {self.total}, the total")

    def turns(self) -> tuple[int, ...]:
        """The total."""
        return (self.total,)

    def body(self, u: Floats) -> Floats:
        """The shape over the steps from the warm-up's end to ``total``."""
        return shapes.decay_shape(self.shape)(shapes.progress(u, self.total - self.warmup), self.floor)


@dataclass(frozen=True, kw_only=True)
class Cosine(_ToTotal):
    """Half a cosine wave from 1 to ``floor`` at ``total``; the floor after it."""

    kind: ClassVar[str] = "cosine"
    shape: ClassVar[str] = "cosine"


@dataclass(frozen=True, kw_only=True)
class Linear(_ToTotal):
    """A straight line from 1 to ``floor`` at ``total``; the floor after it."""

    kind: ClassVar[str] = "linear"
    shape: ClassVar[str] = "linear"


@dataclass(frozen=True, kw_only=True)
class CyclicCosine(Schedule):
    """A cosine to ``floor`` at each of the ``budgets``, with a linear re-warm-up between them.

    Cycle k runs from budget k-1 to budget k. It goes from the floor back to the peak over ``rewarmup`` steps
    (with 0, at once) and down a cosine for the rest. After the last budget the floor holds.
    """

    budgets: Budgets
    rewarmup: Steps = 0
    floor: Fraction = 0.1

    kind: ClassVar[str] = "cyclic-cosine"
    horizons: ClassVar[tuple[str, ...]] = ("budgets",)

    def check(self) -> None:
        """Each warm-up must fit into its cycle."""
        first = self.budgets[0]
        if self.warmup > first:
            raise ValueError(f"warmup: got {self.warmup}; must be at most {first}, the first budget")
        shortest = min((end - start for start, end in pairwise(self.budgets)), default=self.rewarmup)
        if self.rewarmup > shortest:
            raise ValueError(f"rewarmup: got {self.rewarmup}; must be at most {shortest}, the shortest cycle")

    def turns(self) -> tuple[int, ...]:
        """The budgets, and the ends of the warm-ups between them."""
        return (*self.budgets, *(budget + self.rewarmup for budget in self.budgets[:-1]))

    @cached_property
    def cycles(self) -> tuple[Cosine, ...]:
        """Each cycle as a cosine of its own, its position 0 at the cycle's start."""
        first = Cosine(
            warmup=self.warmup, warmup_start=self.warmup_start, total=self.budgets[0], floor=self.floor
        )
        later = (
            Cosine(warmup=self.rewarmup, warmup_start=self.floor, total=end - start, floor=self.floor)
            for start, end in pairwise(self.budgets)
        )
        return (first, *later)

    def multipliers(self, s: Floats) -> Floats:
        """Each position from the cosine of its cycle; cycles that no position falls into cost nothing."""
        starts = (0, *self.budgets)
        inner = self.budgets[:-1]  # a budget itself is the last step of its cycle
        first, last = (int(k) for k in np.searchsorted(inner, (s.min(), s.max())))
        if first == last:
            return self.cycles[first].multipliers(s - starts[first])
        cycle_of = np.searchsorted(inner, s)
        values = np.empty_like(s)
        for k in np.unique(cycle_of):
            inside = cycle_of == k
            values[inside] = self.cycles[k].multipliers(s[inside] - starts[k])
        return values
