"""Schedules that never ask how long training will last. u counts the updates after the warm-up."""

from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np

from riverrun.schedules.fields import Number, PositiveSteps
from riverrun.schedules.schedule import Schedule
from riverrun.schedules.shapes import Floats


@dataclass(frozen=True, kw_only=True)
class Constant(Schedule):
    """1 after the warm-up."""

    kind: ClassVar[str] = "constant"

    def body(self, u: Floats) -> Floats:
        """Ones."""
        return np.ones_like(u)


@dataclass(frozen=True, kw_only=True)
class InverseSqrt(Schedule):
    """sqrt(offset / (u + offset)): the LR has halved 3 ``offset`` steps after the warm-up."""

    offset: PositiveSteps

    kind: ClassVar[str] = "inverse-sqrt"

    def body(self, u: Floats) -> Floats:
        """As the class says."""
        return np.sqrt(self.offset / (u + self.offset))


@dataclass(frozen=True, kw_only=True)
class PowerDecay(Schedule):
    """(offset / (u + offset)) ** exponent, 0 <= exponent < 1; 0 is constant, 0.5 the inverse square root."""

    exponent: Annotated[float, Number(minimum=0, below=1)]
    offset: PositiveSteps = 1

    kind: ClassVar[str] = "power-decay"

    def body(self, u: Floats) -> Floats:
        """As the class says."""
        return (self.offset / (u + self.offset)) ** self.exponent
