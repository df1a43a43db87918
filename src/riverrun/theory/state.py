"""The second moments that the recursions carry from update to update."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from riverrun.theory.accumulators import Accumulator
from riverrun.theory.problem import Regression
from riverrun.theory.spectrum import Floats, Modes

BIAS, VARIANCE = 0, 1


@dataclass
class State:
    """Moments of the error d = w - w* and of averages U of it, times the eigenvalue, summed over each bin.

    The recursions are linear in the starting error and in the noise, so two runs hold them apart, exactly: in the
    first axis, `BIAS` starts from w* without noise, `VARIANCE` from nothing with it.

    Attributes:
        last: lambda E[d^2], [2, K, G].
        cross: lambda E[U d] of each accumulator.
        average: lambda E[U^2] of each accumulator.
        noise: the labels' variance in each run, [2, 1].
    """

    last: Floats
    cross: dict[Accumulator, Floats]
    average: dict[Accumulator, Floats]
    noise: Floats

    @classmethod
    def start(cls, problem: Regression, modes: Modes, rows: int) -> State:
        """At w = 0, for so many schedules."""
        last = np.zeros((2, rows, modes.rate.size))
        last[BIAS] = modes.source
        return cls(last, {}, {}, np.array([[0.0], [problem.noise]]))

    def activate(self, wanted: Sequence[Accumulator]) -> None:
        """Let go of accumulators that are not wanted any more, and begin those that are new."""
        nothing = np.zeros_like(self.last)
        self.cross = {one: self.cross.get(one, nothing) for one in wanted}
        self.average = {one: self.average.get(one, nothing) for one in wanted}
