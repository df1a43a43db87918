"""Decays: a stretch that lowers the LR of any schedule, and the schedules made of a constant and decays."""

from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Annotated, Any, ClassVar

from riverrun.schedules.fields import Budgets, Fraction, OneOf, PositiveSteps, Steps, check_fields
from riverrun.schedules.horizon_free import Constant
from riverrun.schedules.on_base import OnBase
from riverrun.schedules.schedule import Schedule
from riverrun.schedules.shapes import Floats, ShapeName, check_floor, decay_shape, progress

After = Annotated[str, OneOf(("hold", "return"))]
Accounting = Annotated[str, OneOf(("budget", "cycle", "cumulative"))]


@dataclass(frozen=True, kw_only=True)
class Decayed(OnBase):
    """``base`` up to position ``at``; then a decay from the LR it has there; what `Schedule.decay` returns.

    Update s, at < s <= at + steps, uses ``base(at)`` times the shape at x = (s - at) / steps: the last step
    of the decay uses the floor exactly. Afterwards the floor holds (``after="hold"``) or the base goes on as
    if there had been no decay (``after="return"``). A decay may start anywhere, from any LR, also within a
    warm-up or another decay. One of no steps at all has reached its floor by the next update.

    Args:
        base: the schedule to decay; the warm-up is its own.
        at: the position the decay starts from; update ``at`` itself is still the base's.
        steps: length of the decay.
        shape: "linear", "cosine", "sqrt", "exponential", "inverse" or "power:P".
        floor: the end of the decay as a fraction of ``base(at)``; more than 0 for exponential and inverse.
        after: "hold" or "return".
    """

    at: Steps
    steps: Steps
    shape: ShapeName = "linear"
    floor: Fraction = 0.1
    after: After = "hold"

    kind: ClassVar[str] = "decayed"
    horizons: ClassVar[tuple[str, ...]] = ("at", "steps")

    def check(self) -> None:
        """The shape must be able to reach the floor."""
        check_floor(self.shape, self.floor)

    @property
    def end(self) -> int:
        """The position at which the decay has reached its floor."""
        return self.at + self.steps

    def turns(self) -> tuple[int, ...]:
        """The base's, and both ends of the decay."""
        return (*self.base.turns(), self.at, self.end)

    @cached_property
    def level(self) -> float:
        """The multiplier that the decay starts from."""
        return self.base(self.at)

    def multipliers(self, s: Floats) -> Floats:
        """The base's, lowered."""
        values = self.base.multipliers(s)
        self.lower(values, s)
        return values

    def lower(self, values: Floats, s: Floats) -> None:
        """Write the decay over ``values``, the base's multipliers at the positions ``s``, in place."""
        inside = s > self.at
        if self.after == "return":
            inside &= s <= self.end
        x = progress(s[inside] - self.at, self.steps)
        values[inside] = self.level * decay_shape(self.shape)(x, self.floor)


@dataclass(frozen=True, kw_only=True)
class _StableThenDecay(Schedule):
    """A constant with one decay per budget: what `WSD` and `WSDS` share."""

    decay: Fraction = 0.1  # type: ignore[assignment]  # the field hides the method: see _DecayFraction
    of: Accounting = "budget"
    shape: ShapeName = "linear"
    floor: Fraction = 0.1

    after: ClassVar[str]

    def __post_init__(self) -> None:
        check_fields(self)
        fraction = _DecayFraction(self.decay)
        fraction.schedule = self
        object.__setattr__(self, "decay", fraction)
        self.check()

    @property
    def nominal_budgets(self) -> tuple[int, ...]:
        """The budgets as given."""
        raise NotImplementedError

    def check(self) -> None:
        """The warm-up must end by the first decay, and each decay before the next one starts."""
        check_floor(self.shape, self.floor)
        stable_end = self.boundaries[0][0]
        if self.warmup > stable_end:
            raise ValueError(f"warmup: got {self.warmup}; must be at most {stable_end}, the stable end")
        for (_, before), (start, end) in pairwise(self.boundaries):
            if start < before:
                raise ValueError(
                    f"decay: got {self.decay}; must be smaller, or the budgets further apart: "
                    f"the decay to {end} would start at {start}, within the one to {before}"
                )

    @cached_property
    def boundaries(self) -> tuple[tuple[int, int], ...]:
        """The position where each decay starts (the stable end) and where it ends, in steps."""
        pairs: list[tuple[int, int]] = []
        spent = 0  # steps of the decays so far, which nominal budgets do not count
        before = 0
        for end in self.nominal_budgets:
            counted = end - before if self.of == "cycle" else end
            length = round(float(self.decay) * counted)
            if self.of == "budget":
                end += spent
                spent += length
            pairs.append((end - length, end))
            before = end
        return tuple(pairs)

    def turns(self) -> tuple[int, ...]:
        """Both ends of every decay."""
        return tuple(position for boundary in self.boundaries for position in boundary)

    @cached_property
    def decays(self) -> tuple[Decayed, ...]:
        """Each decay of the constant trunk, in order."""
        trunk = Constant(warmup=self.warmup, warmup_start=self.warmup_start)
        return tuple(
            trunk.decay(at=start, steps=end - start, shape=self.shape, floor=self.floor, after=self.after)
            for start, end in self.boundaries
        )

    def multipliers(self, s: Floats) -> Floats:
        """The trunk's, lowered by each decay; a decay that no position falls into costs nothing."""
        values = self.decays[0].base.multipliers(s)
        first, last = s.min(), s.max()
        for decay in self.decays:
            if decay.at < last and (first <= decay.end or decay.after == "hold"):
                decay.lower(values, s)
        return values


@dataclass(frozen=True, kw_only=True)
class WSD(_StableThenDecay):
    """Warm-up, stable, decay: constant until ``budget - round(decay * budget)``, at the floor by ``budget``.

    Checkpoints for several budgets are branches of one stable run, each with a WSD of its own; the steps of
    their decays are thrown away. After the budget the floor holds.

    Args:
        budget: the position at which the decay ends.
        decay: length of the decay as a fraction of the budget, never in steps.
        of: what the fraction counts, as in `WSDS`; with a single budget all three are the same.
        shape: see `Decayed`.
        floor: see `Decayed`.
    """

    budget: PositiveSteps

    kind: ClassVar[str] = "wsd"
    horizons: ClassVar[tuple[str, ...]] = ("budget",)
    after: ClassVar[str] = "hold"

    @property
    def nominal_budgets(self) -> tuple[int, ...]:
        """The one budget."""
        return (self.budget,)


@dataclass(frozen=True, kw_only=True)
class WSDS(_StableThenDecay):
    """WSD-S: one trajectory that decays for each budget and goes on from there at the peak LR.

    There is no re-warm-up, and after the last decay the peak holds, so that appending a budget changes
    nothing before its own decay. Published accounting ("budget"): budgets 12500, 25000, 50000 with decay 0.1
    decay over 11250-12500, 23750-26250, 48750-53750; the stable steps are then those of WSD at equal total
    compute.

    Args:
        budgets: increasing; their meaning depends on ``of``.
        decay: length of each decay as a fraction, never in steps.
        of: what the fraction counts. "budget": the budgets B_k are nominal, decay k has round(decay B_k)
            steps and ends at B_k plus the steps of the decays before it. "cycle" and "cumulative": the
            budgets are the ends themselves, and decay k is the fraction of the steps since the last end, or
            of all steps up to its own.
        shape: see `Decayed`.
        floor: see `Decayed`.
    """

    budgets: Budgets

    kind: ClassVar[str] = "wsds"
    horizons: ClassVar[tuple[str, ...]] = ("budgets",)
    after: ClassVar[str] = "return"

    @property
    def nominal_budgets(self) -> tuple[int, ...]:
        """All of them."""
        return self.budgets


class _DecayFraction(float):
    """The field ``decay`` of WSD and WSD-S: a float that, called, is the `Schedule.decay` it hides.

    The papers call the fraction "decay", and every schedule has a method of that name. With a plain float
    ``WSDS(...).decay(at=...)`` would fail, on these two schedules only.
    """

    schedule: Schedule

    def __call__(self, **arguments: Any) -> Decayed:
        return Schedule.decay(self.schedule, **arguments)
