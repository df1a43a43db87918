"""Profiles: which past iterates an average holds, and how much of each.

A profile is a probability weight over the iterates tau = 1 .. t, the weights after tau updates. One function
defines it: ``cumulative(tau, t)``, the share of the weight that lies on iterates up to tau.

A profile is *nested* if what it holds at position t, cut off at an earlier t', is in proportion what it held
at t': F_t(tau) = F_t(t') F_t'(tau). Then an average can be kept online. Updated at t' and next at t, it keeps
the fraction F_t(t') of its old value and gives the rest to the new iterate, whatever the gap; nothing starts
from zero, so there is no bias to correct.
"""

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from riverrun.schedules.fields import Number, Steps, check_fields

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Profile(ABC):
    """A probability weight over past iterates at every position t."""

    kind: ClassVar[str]
    """The name in a spec such as "half-life:25"."""

    nested: ClassVar[bool] = True
    """Whether an average of this profile can be kept online."""

    def __post_init__(self) -> None:
        check_fields(self)

    @abstractmethod
    def cumulative(self, tau: ArrayLike, t: int) -> Floats:
        """The share of the weight on iterates <= tau, for 0 <= tau <= t and t >= 1; tau of any shape."""

    @property
    @abstractmethod
    def name(self) -> str:
        """The name in metrics and files, such as "ema-25"."""

    @property
    @abstractmethod
    def spec(self) -> str:
        """The text that `parse_profile` turns back into this profile."""

    def weights(self, t: int, positions: ArrayLike | None = None) -> Floats:
        """The weight of each iterate at position t.

        Args:
            t: the position, at least 1.
            positions: increasing positions up to t at which the average was updated; each stands for the
                iterates since the one before. Default: 1 .. t.

        Returns:
            float64 array as long as ``positions``; its sum is 1 if the last position is t.
        """
        ends = np.arange(1, t + 1) if positions is None else np.asarray(positions)
        return np.diff(self.cumulative(ends, t), prepend=0.0)

    def implied_decay(self, t: int) -> Floats:
        """The LR decay that this average amounts to: the share of each update that it holds.

        An average of iterates is the first of them plus a part of each later update, and an update is in every
        iterate from its own on: 1 - F(s - 1) of it. To first order that is training with the LR multiplied so.

        Returns:
            float64 array of t multipliers, for the updates 1 .. t: from 1 down, none of them below 0.
        """
        return 1.0 - self.cumulative(np.arange(t), t)

    def window_start(self, t: int) -> float | None:
        """Where the window of equal weights (start, t] begins; None for a profile that is no such window."""
        return None


@dataclass(frozen=True)
class HalfLife(Profile):
    """The f-average, "ema-f": a half-life of t / f, so that the window grows with the run.

    Iterate tau has a weight in proportion to tau ** kappa. The paper's online rule keeps 2 ** (-f / (t + 1))
    of the old average at every step; the exact form used here is keep = (1 - gap / t) ** (kappa + 1).

    Args:
        f: the run's age over the half-life; 25 means a half-life of 4% of the run.
    """

    f: Annotated[float, Number(above=0)]

    kind: ClassVar[str] = "half-life"

    @property
    def kappa(self) -> float:
        """The exponent of the weights, f ln 2 - 1. The mean age of the average is t / (kappa + 2)."""
        return self.f * math.log(2) - 1

    def cumulative(self, tau: ArrayLike, t: int) -> Floats:
        """(tau / t) ** (kappa + 1)."""
        return (np.asarray(tau) / t) ** (self.kappa + 1)

    @property
    def name(self) -> str:
        """ "ema-25"."""
        return f"ema-{short(self.f)}"

    @property
    def spec(self) -> str:
        """ "half-life:25"."""
        return f"half-life:{short(self.f)}"


@dataclass(frozen=True)
class Uniform(Profile):
    """Equal weights on the iterates after ``start``; up to ``start``, the current iterate alone."""

    start: Steps = 0

    kind: ClassVar[str] = "uniform"

    def window_start(self, t: int) -> float | None:
        """``start``, or the position before where that is not reached yet."""
        return min(self.start, t - 1)

    def cumulative(self, tau: ArrayLike, t: int) -> Floats:
        """(tau - start) / (t - start), not below 0."""
        if t <= self.start:
            return np.where(np.asarray(tau) < t, 0.0, 1.0)
        share: Floats = np.maximum(np.asarray(tau) - self.start, 0) / (t - self.start)
        return share

    @property
    def name(self) -> str:
        """ "uniform", or "uniform-1000" from a start."""
        return f"uniform-{self.start}" if self.start else "uniform"

    @property
    def spec(self) -> str:
        """ "uniform", or "uniform:from=1000"."""
        return f"uniform:from={self.start}" if self.start else "uniform"


@dataclass(frozen=True)
class Tail(Profile):
    """Equal weights on the last fraction ``alpha`` of the run. Not nested: iterates leave the window again.

    An iterate that the window's edge cuts has the part of its weight that lies within; the last iterate is
    always in.
    """

    alpha: Annotated[float, Number(above=0, maximum=1)]

    kind: ClassVar[str] = "tail"
    nested: ClassVar[bool] = False

    def window_start(self, t: int) -> float | None:
        """(1 - alpha) t, a whole position or not."""
        return (1 - self.alpha) * t

    def cumulative(self, tau: ArrayLike, t: int) -> Floats:
        """1 - (t - tau) / (alpha t), not below 0."""
        return np.maximum(1 - (t - np.asarray(tau)) / (self.alpha * t), 0.0)

    @property
    def name(self) -> str:
        """ "tail-0.2"."""
        return f"tail-{short(self.alpha)}"

    @property
    def spec(self) -> str:
        """ "tail:0.2"."""
        return f"tail:{short(self.alpha)}"


@dataclass(frozen=True)
class FixedBeta(Profile):
    """The usual EMA: weights fall by ``beta`` per step. Its window does not grow: a baseline, not anytime.

    Args:
        beta: the fraction kept per step; the window is about 1 / (1 - beta) steps.
    """

    beta: Annotated[float, Number(above=0, below=1)]

    kind: ClassVar[str] = "ema"

    def cumulative(self, tau: ArrayLike, t: int) -> Floats:
        """(beta ** (t - tau) - beta ** t) / (1 - beta ** t), which is normalised from the first update on."""
        tau = np.asarray(tau)
        rate = math.log(self.beta)
        return np.exp((t - tau) * rate) * np.expm1(tau * rate) / math.expm1(t * rate)

    @property
    def name(self) -> str:
        """ "beta-0.999"."""
        return f"beta-{short(self.beta)}"

    @property
    def spec(self) -> str:
        """ "ema:0.999"."""
        return f"ema:{short(self.beta)}"


def short(value: float) -> str:
    """A float without a trailing ".0"; reads back as the same float."""
    return repr(value).removesuffix(".0")
