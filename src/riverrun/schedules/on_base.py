"""Schedules that follow another one up to a position, and then go a way of their own."""

from dataclasses import dataclass, field
from typing import Any

from riverrun.schedules.fields import Fraction, Steps
from riverrun.schedules.schedule import Schedule


@dataclass(frozen=True, kw_only=True)
class OnBase(Schedule):
    """What `Decayed` and `Continued` share: ``base``, whose warm-up is theirs and whose horizons are among theirs."""

    base: Schedule
    warmup: Steps = field(init=False, repr=False)
    warmup_start: Fraction = field(init=False, repr=False)

    def __post_init__(self) -> None:
        if not isinstance(self.base, Schedule):
            raise ValueError(f"base: got {self.base!r}; must be a schedule")
        object.__setattr__(self, "warmup", self.base.warmup)
        object.__setattr__(self, "warmup_start", self.base.warmup_start)
        super().__post_init__()

    def horizon_values(self) -> dict[str, Any]:
        """Its own, and its base's under "base."."""
        within = {f"base.{name}": value for name, value in self.base.horizon_values().items()}
        return super().horizon_values() | within
