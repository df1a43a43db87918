"""The average that amounts to a decay of the learning rate."""

from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np
from numpy.typing import ArrayLike

from riverrun.averaging.profiles import Floats, Profile, short
from riverrun.schedules.fields import Fraction, Number
from riverrun.schedules.shapes import ShapeName, check_floor, decay_shape


@dataclass(frozen=True)
class DecayLike(Profile):
    """What a decay of the LR over the last ``fraction`` of the run would give, to first order, without the decay.

    With S = t - steps, and w_i the multiplier of update S + i in a decay over ``steps`` updates (`Schedule.decay`),
    the iterates theta_S .. theta_t weigh c_0 = 1 - w_1, c_j = w_j - w_(j+1), and the last one c = w_steps, the floor.
    The sum of the updates then has each of them multiplied by w. Linear to zero gives equal weights on all but the
    last; "sqrt" gives most to the oldest.

    Args:
        shape: "linear", "cosine", "sqrt", "exponential", "inverse" or "power:P".
        fraction: of the run that the decay would take, rounded to whole steps; it begins at position 1 or later.
        floor: the last multiplier; more than 0 for exponential and inverse.
    """

    shape: ShapeName
    fraction: Annotated[float, Number(above=0, maximum=1)]
    floor: Fraction = 0.0

    kind: ClassVar[str] = "decay-like"
    nested: ClassVar[bool] = False

    def __post_init__(self) -> None:
        super().__post_init__()
        check_floor(self.shape, self.floor)
        kind, _, exponent = self.shape.partition(":")
        if exponent:  # "power:2.0" and "power:2" are one profile, of one name
            object.__setattr__(self, "shape", f"{kind}:{short(float(exponent))}")

    def steps(self, t: int) -> int:
        """The length of the decay that ends at t."""
        return min(round(self.fraction * t), t - 1)

    def cumulative(self, tau: ArrayLike, t: int) -> Floats:
        """1 - w of the next update: 0 before the decay begins, 1 at t."""
        tau, steps = np.asarray(tau, dtype=np.float64), self.steps(t)
        start = t - steps
        x = np.clip((tau + 1 - start) / max(steps, 1), 0.0, 1.0)
        share = np.where(tau < start, 0.0, 1.0 - decay_shape(self.shape)(x, self.floor))
        return np.where(tau < t, share, 1.0)

    @property
    def name(self) -> str:
        """ "decay-like-sqrt-0.2", with "-floor-0.1" for a floor other than 0."""
        floor = f"-floor-{short(self.floor)}" if self.floor else ""
        return f"decay-like-{self.shape.replace(':', '-')}-{short(self.fraction)}{floor}"

    @property
    def spec(self) -> str:
        """ "decay-like:sqrt:0.2", with ":floor=0.1" for a floor other than 0."""
        floor = f":floor={short(self.floor)}" if self.floor else ""
        return f"decay-like:{self.shape}:{short(self.fraction)}{floor}"
