"""What schedules will give: the losses of a run's weights, of its averages and of its decays at some budgets."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from riverrun.forecast.curve import Steps, rates_of
from riverrun.forecast.fitting import Fit
from riverrun.forecast.prediction import LEVEL, Prediction, predict
from riverrun.schedules import Schedule

if TYPE_CHECKING:
    from riverrun.averaging import Profile

RAW = "raw"


@dataclass(frozen=True, kw_only=True)
class DecayChoice:
    """A decay that ends at a budget and takes a share of it, to a floor as a fraction of the LR that it begins at."""

    shape: str = "linear"
    share: float = 0.1
    floor: float = 0.1

    def __post_init__(self) -> None:
        if not 0 < self.share < 1:
            raise ValueError(
                f"share: got {self.share:g}; must be more than 0 and less than 1, as 0.1 for a tenth"
            )

    @property
    def name(self) -> str:
        """ "linear decay 10%"."""
        return f"{self.shape} decay {100 * self.share:.3g}%"

    def of(self, schedule: Schedule, end: int) -> Schedule:
        """A schedule with this decay, which ends at a position."""
        steps = min(end, max(1, round(self.share * end)))
        return schedule.decay(at=end - steps, steps=steps, shape=self.shape, floor=self.floor)


@dataclass(frozen=True, kw_only=True, eq=False)
class Outlook:
    """What a schedule gives at budgets [n] in steps: {readout: its losses at each}."""

    name: str
    budgets: Steps
    readouts: Mapping[str, Prediction]


def outlook(
    fit: Fit,
    name: str,
    for_horizon: Callable[[int], Schedule],
    peak_lr: float,
    budgets: Sequence[int],
    *,
    one_run: bool,
    profiles: Sequence[Profile] = (),
    decay: DecayChoice | None = None,
    series: str | None = None,
    level: float = LEVEL,
) -> Outlook:
    """The losses at each budget.

    Args:
        fit: of a law.
        name: of the schedule.
        for_horizon: the schedule of a run that ends at a budget.
        peak_lr: in the unit of the fitted curves.
        budgets: increasing positions, one at least.
        one_run: whether every horizon has the same schedule.
        profiles: of the averages to forecast.
        decay: that each budget's model could end with, instead of the schedule; for one that does not decay by itself.
        series: "held-out" or "train".
        level: of the intervals.

    Returns:
        "raw", then the averages by name, then the decay.
    """
    steps = np.asarray(budgets)

    def at_each(profile: Profile | None, choice: DecayChoice | None) -> Prediction:
        if one_run and choice is None:
            lr = rates_of(for_horizon(int(steps[-1])), peak_lr, int(steps[-1]))
            return predict(fit, lr, steps, profile=profile, series=series, level=level)
        parts = []
        for end in map(int, steps):
            schedule = for_horizon(end) if choice is None else choice.of(for_horizon(end), end)
            lr = rates_of(schedule, peak_lr, end)
            parts.append(predict(fit, lr, np.array([end]), profile=profile, series=series, level=level))
        return joined(parts)

    readouts = {RAW: at_each(None, None)} | {profile.name: at_each(profile, None) for profile in profiles}
    if decay is not None:
        readouts[decay.name] = at_each(None, decay)
    return Outlook(name=name, budgets=steps, readouts=readouts)


def joined(parts: Sequence[Prediction]) -> Prediction:
    """Predictions one after another."""
    return Prediction(
        steps=np.concatenate([part.steps for part in parts]),
        expected=np.concatenate([part.expected for part in parts]),
        low=np.concatenate([part.low for part in parts]),
        high=np.concatenate([part.high for part in parts]),
        level=parts[0].level,
    )
