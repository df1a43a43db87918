"""Claims as computations: what is measured, the bounds that a claim sets it, and whether it keeps them."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """One number that a claim is about, with its bounds; both belong to what is allowed.

    Attributes:
        what: which number, in a few words: "a=1.5 b=2.5 gamma=0.4".
        value: what was measured; NaN keeps no bounds.
        low: the least that the claim allows.
        high: the most that it allows.
        strict: whether the bounds themselves are not allowed.
    """

    what: str
    value: float
    low: float = -math.inf
    high: float = math.inf
    strict: bool = False

    def __post_init__(self) -> None:
        # NumPy's scalars would make `holds` one that JSON does not know.
        for name in ("value", "low", "high"):
            object.__setattr__(self, name, float(getattr(self, name)))

    @property
    def holds(self) -> bool:
        """Whether the value lies between the bounds."""
        if self.strict:
            return self.low < self.value < self.high
        return self.low <= self.value <= self.high

    @property
    def slack(self) -> float:
        """The distance to the nearest bound over the width of what is allowed; the smallest is the tightest."""
        least = min(self.value - self.low, self.high - self.value)
        width = self.high - self.low
        if math.isfinite(width):
            return least / width if width else least
        bound = self.low if math.isfinite(self.low) else self.high
        return least / max(abs(bound), 1e-300)

    @property
    def bound(self) -> str:
        """The bounds in words: "0.575 .. 0.625", "<= 0.02", "> 0"."""
        equal = "" if self.strict else "="
        if math.isfinite(self.low) and math.isfinite(self.high):
            return f"{self.low:.6g} .. {self.high:.6g}"
        return f">{equal} {self.low:.6g}" if math.isfinite(self.low) else f"<{equal} {self.high:.6g}"


def near(what: str, value: float, target: float, tolerance: float) -> Measurement:
    """A number that must lie within an absolute tolerance of its target."""
    return Measurement(what=what, value=value, low=target - tolerance, high=target + tolerance)


@dataclass(frozen=True, kw_only=True)
class Claim:
    """A claim that can be computed.

    Attributes:
        number: its name in lists, "C7".
        statement: what is claimed, in one sentence without a full stop.
        measure: computes every number that it is about.
        quick: whether that takes seconds, not minutes.
    """

    number: str
    statement: str
    measure: Callable[[], Iterable[Measurement]]
    quick: bool = True


@dataclass(frozen=True)
class Verified:
    """What a claim came to: its measurements, and the seconds that they took."""

    claim: Claim
    measurements: tuple[Measurement, ...]
    seconds: float

    @property
    def holds(self) -> bool:
        """Whether every measurement keeps its bounds, and there is one."""
        return bool(self.measurements) and all(measurement.holds for measurement in self.measurements)

    @property
    def tightest(self) -> Measurement:
        """The measurement that comes nearest to its bounds, or breaks them furthest; a NaN before all others."""
        return min(
            self.measurements,
            key=lambda one: (one.holds, -math.inf if math.isnan(one.value) else one.slack),
        )


def verify(claim: Claim) -> Verified:
    """Compute a claim."""
    began = time.perf_counter()
    measurements = tuple(claim.measure())
    return Verified(claim, measurements, time.perf_counter() - began)
