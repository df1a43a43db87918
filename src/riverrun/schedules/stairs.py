"""Stairs: a piecewise constant learning rate."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from riverrun.schedules.shapes import Floats
from riverrun.schedules.values_at import ValuesAt


@dataclass(frozen=True, kw_only=True)
class Stairs(ValuesAt):
    """1 after the warm-up; from the update after position ``at[k]`` on, ``values[k]``.

    Args:
        at: increasing positions, none within the warm-up; update ``at[k]`` itself still has the value before.
        values: a multiplier of the peak for each of them, lower or higher than the one before.
    """

    kind: ClassVar[str] = "stairs"

    def body(self, u: Floats) -> Floats:
        """The value of the last stair before each position."""
        return np.array((1.0, *self.values))[np.searchsorted(self.at, u + self.warmup)]
