"""A schedule: the multiplier of the peak learning rate as a pure function of the position."""

from collections.abc import Mapping
from dataclasses import MISSING, dataclass, fields
from typing import TYPE_CHECKING, Any, ClassVar, overload

import numpy as np
from numpy.typing import NDArray

from riverrun.schedules.fields import LARGEST_STEP, Fraction, Steps, check_fields, rules, unknown_name
from riverrun.schedules.shapes import Floats

if TYPE_CHECKING:
    from riverrun.schedules.decays import Decayed

CHUNK = 8192
"""Elements evaluated at a time: a chunk and its temporaries stay in the processor's nearest caches."""


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """The multiplier of the peak LR for the s-th update, s = 1, 2, ...: a warm-up, then a body.

    The warm-up is linear: ``warmup_start + (1 - warmup_start) s / warmup`` for s <= warmup, so its last step
    uses the peak exactly. ``schedule(0)`` serves plots only: the warm-up's start value, or the body's start
    (1.0) where there is no warm-up.

    A subclass is a frozen, keyword-only dataclass with a ``kind``, its own fields and a `body`; a schedule
    made of others overrides `multipliers` instead. Schedules compare, hash, pickle and print by their fields.

    Args:
        warmup: length of the warm-up in steps; 0 for none.
        warmup_start: the fraction of the peak at which the warm-up starts.

    Raises:
        ValueError: an argument is outside its range; the message names it.
    """

    warmup: Steps = 0
    warmup_start: Fraction = 0.0

    kind: ClassVar[str] = ""
    """The name in recipes and in `to_dict`."""

    horizons: ClassVar[tuple[str, ...]] = ()
    """The fields that say when training, or a part of it, ends."""

    def __post_init__(self) -> None:
        check_fields(self)
        self.check()

    def check(self) -> None:
        """Raise `ValueError` where single fields are right but do not fit together."""

    def body(self, u: Floats) -> Floats:
        """Multipliers ``u`` updates after the warm-up; float64, of u's shape, in memory of its own."""
        raise NotImplementedError(f"{type(self).__name__} has no body")

    def multipliers(self, s: Floats) -> Floats:
        """Multipliers at the positions ``s``, a non-empty float64 array of whole numbers >= 0."""
        u = s - self.warmup
        if not self.warmup or u.min() > 0:
            return self.body(u)
        warming = self.warmup_start + (1 - self.warmup_start) * (s / self.warmup)
        return np.where(u > 0, self.body(np.maximum(u, 0)), warming)

    @overload
    def __call__(self, step: int) -> float: ...
    @overload
    def __call__(self, step: NDArray[np.integer[Any]]) -> Floats: ...
    def __call__(self, step: int | NDArray[np.integer[Any]]) -> float | Floats:
        """The multiplier of the peak LR for update ``step``.

        Args:
            step: an integer >= 0, or an integer array of any shape.

        Returns:
            A float, or a float64 array of the same shape. Both agree bit for bit.

        Raises:
            ValueError: a step is negative, not an integer, or above 2**53.
        """
        steps = np.asarray(step)
        if steps.dtype.kind not in "iu":
            raise ValueError(f"step: got {step!r}; must be an integer from 0 to 2**53, or an array of them")
        for extreme in (steps.min(), steps.max()) if steps.size else ():
            if not 0 <= extreme <= LARGEST_STEP:
                raise ValueError(f"step: got {extreme}; must be an integer from 0 to 2**53")
        values = np.empty(steps.shape)
        source, target = steps.reshape(-1), values.reshape(-1)
        for start in range(0, source.size, CHUNK):
            chunk = slice(start, start + CHUNK)
            target[chunk] = self.multipliers(source[chunk].astype(np.float64))
        return values if steps.ndim or isinstance(step, np.ndarray) else float(values)

    @property
    def horizon_free(self) -> bool:
        """Whether the value at every step is independent of when training ends."""
        return not self.horizon_values()

    def horizon_values(self) -> dict[str, Any]:
        """The values that depend on a horizon, by field name ("base.total" for one within a base)."""
        return {name: getattr(self, name) for name in self.horizons}

    def knots(self) -> tuple[int, ...]:
        """Positions, increasing, after which another formula holds; between two of them the values are smooth.

        What sums or averages a schedule over long stretches need not look between them for jumps.
        """
        return tuple(sorted({self.warmup, *self.turns()} - {0}))

    def turns(self) -> tuple[int, ...]:
        """The knots after the warm-up's end."""
        return ()

    @classmethod
    def step_fields(cls) -> tuple[str, ...]:
        """The fields that are durations or positions in steps."""
        durations = [name for name, rule in rules(cls).items() if rule.unit == "steps"]
        return tuple(f.name for f in fields(cls) if f.init and f.name in durations)

    def decay(
        self, *, at: int, steps: int, shape: str = "linear", floor: float = 0.1, after: str = "hold"
    ) -> "Decayed":
        """This schedule with a decay over the ``steps`` updates after position ``at``; see `Decayed`."""
        from riverrun.schedules.decays import Decayed  # it derives from this class

        return Decayed(base=self, at=at, steps=steps, shape=shape, floor=floor, after=after)

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON and TOML: ``{"kind": "inverse-sqrt", "warmup": 5000, ...}``."""
        values = {f.name: getattr(self, f.name) for f in fields(self) if f.init}
        return {"kind": self.kind} | {name: _plain(value) for name, value in values.items()}

    @staticmethod
    def from_dict(data: Mapping[str, Any]) -> "Schedule":
        """The schedule that `to_dict` wrote, of any kind; fields with a default may be left out.

        Raises:
            ValueError: an unknown kind or field (with the nearest name), a field missing, a wrong value.
        """
        known = kinds()
        if data.get("kind") not in list(known):  # a list takes unhashable values too
            raise unknown_name("kind", data.get("kind"), known)
        kind = known[data["kind"]]
        own = [f for f in fields(kind) if f.init]
        names = [f.name for f in own]
        values = {name: value for name, value in data.items() if name != "kind"}
        for name in values:
            if name not in names:
                raise unknown_name(f"{kind.kind} schedule", name, names)
        if isinstance(values.get("base"), Mapping):
            values["base"] = Schedule.from_dict(values["base"])
        missing = [f.name for f in own if f.default is MISSING and f.name not in values]
        if missing:
            raise ValueError(f"{kind.kind} schedule: has no {' and no '.join(missing)}; must be given")
        return kind(**values)


def kinds() -> dict[str, type[Schedule]]:
    """Every kind of schedule, by the name that `to_dict` and recipes use."""

    def below(parent: type[Schedule]) -> list[type[Schedule]]:
        return [kind for child in parent.__subclasses__() for kind in (child, *below(child))]

    # A subclass without a name of its own is no kind: it must not take its parent's place.
    return {kind.kind: kind for kind in below(Schedule) if kind.__dict__.get("kind")}


def _plain(value: Any) -> Any:
    if isinstance(value, Schedule):
        return value.to_dict()
    if isinstance(value, float):
        return float(value)  # of a subclass too
    return list(value) if isinstance(value, tuple) else value
