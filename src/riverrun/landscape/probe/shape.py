"""The shape of a loss along a line, decided beyond the noise of which sequences happen to be held out.

Losses are [P, S]: P points in order, S sequences. Sequences stand for independent draws of text, and every difference
is taken in pairs, sequence by sequence, so that what makes a sequence hard for all weights drops out.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np

from riverrun.landscape.probe.sequence_losses import Losses

Verdict = Literal["holds", "does not hold", "undecided"]

NOISE = 3.0
"""Standard errors that a difference must exceed. A line of 11 points has 55 differences, so two would not do."""


@dataclass(frozen=True)
class Difference:
    """A mean of paired differences over sequences, and its standard error; both in nats per token."""

    mean: float
    error: float

    @property
    def is_rise(self) -> bool:
        """Above zero beyond the noise."""
        return self.mean > NOISE * self.error

    @property
    def is_fall(self) -> bool:
        """Below zero beyond the noise."""
        return -self.mean > NOISE * self.error

    def __str__(self) -> str:
        """In thousandths of a nat: "-3.21 ± 0.40", the standard error behind the sign."""
        return f"{1000 * self.mean:+.2f} ± {1000 * self.error:.2f}"


@dataclass(frozen=True)
class Shape:
    """Whether a loss has a shape, and the difference that the verdict hangs on."""

    verdict: Verdict
    decisive: Difference
    evidence: str


def difference(before: Losses, after: Losses) -> Difference:
    """Of the losses [S] after and before; the error is NaN for one sequence, which decides nothing."""
    paired = after - before
    error = float(np.std(paired, ddof=1)) / math.sqrt(len(paired)) if len(paired) > 1 else math.nan
    return Difference(float(np.mean(paired)), error)


def falls_all_the_way(losses: Losses) -> Shape:
    """Whether the loss falls monotonically from the first point to the last.

    Holds if every step falls beyond the noise; does not hold if any point lies above an earlier one beyond the noise.
    """
    steps = [difference(losses[number], losses[number + 1]) for number in range(len(losses) - 1)]
    rises = [
        difference(losses[first], losses[last])
        for first in range(len(losses))
        for last in range(first + 1, len(losses))
    ]
    highest = max(rises, key=lambda rise: rise.mean if rise.is_rise else -math.inf)
    if highest.is_rise:
        whole = difference(losses[0], losses[-1])
        return Shape("does not hold", highest, f"rises by {highest}; from end to end the change is {whole}")
    least = max(steps, key=lambda step: step.mean)
    if all(step.is_fall for step in steps):
        return Shape("holds", least, f"the smallest fall between neighbours is {least}")
    falling = sum(step.is_fall for step in steps)
    return Shape("undecided", least, f"{falling} of {len(steps)} steps fall beyond the noise; least {least}")


def dips_between(losses: Losses) -> Shape:
    """Whether the loss between the ends falls below both of them.

    Holds if a point lies below the lower end beyond the noise; does not hold if all lie above it beyond the noise.
    """
    lower = min((losses[0], losses[-1]), key=np.mean)
    inside = [difference(lower, point) for point in losses[1:-1]]
    deepest = min(inside, key=lambda one: one.mean)
    evidence = f"the lowest point between is {deepest} against the lower end"
    if any(point.is_fall for point in inside):
        return Shape("holds", deepest, evidence)
    if all(point.is_rise for point in inside):
        return Shape("does not hold", deepest, evidence)
    return Shape("undecided", deepest, evidence)


def together(verdicts: list[Verdict]) -> Verdict:
    """Of several lines: does not hold if it fails on any, holds if it holds on all (one at least), else undecided."""
    if "does not hold" in verdicts:
        return "does not hold"
    return "holds" if verdicts and set(verdicts) == {"holds"} else "undecided"
