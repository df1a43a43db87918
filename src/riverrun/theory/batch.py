"""Several learning-rate schedules evaluated side by side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from riverrun.schedules import Schedule
from riverrun.theory.spectrum import Floats


@dataclass(frozen=True)
class ScheduleBatch:
    """K schedules with a peak LR each.

    Attributes:
        schedules: multipliers of the peak.
        peaks: [K].
    """

    schedules: tuple[Schedule, ...]
    peaks: Floats

    @classmethod
    def of(
        cls, schedules: Schedule | Sequence[Schedule], peaks: float | Sequence[float] | Floats
    ) -> ScheduleBatch:
        """One schedule with several peaks, several with one, or as many of both.

        Raises:
            ValueError: the numbers do not fit, or a peak is not positive and finite.
        """
        many = (schedules,) if isinstance(schedules, Schedule) else tuple(schedules)
        rates = np.atleast_1d(np.asarray(peaks, np.float64))
        count = max(len(many), rates.size)
        if rates.ndim != 1 or len(many) not in (1, count) or rates.size not in (1, count) or not count:
            raise ValueError(
                f"lr: got {rates.size} peaks for {len(many)} schedules; must be one for all, or one for each"
            )
        if not (np.all(rates > 0) and np.all(np.isfinite(rates))):
            raise ValueError(
                f"lr: got {rates[~((rates > 0) & np.isfinite(rates))][0]:g}; must be positive and finite"
            )
        return cls(many * (count // len(many)), np.broadcast_to(rates, (count,)).copy())

    def rates(self, steps: NDArray[np.int64]) -> Floats:
        """Learning rates [K, n] of the updates ``steps`` [n]."""
        values = {schedule: schedule(steps) for schedule in dict.fromkeys(self.schedules)}
        return np.stack([values[schedule] for schedule in self.schedules]) * self.peaks[:, None]

    def knots(self) -> set[int]:
        """Positions after which a schedule goes on by another formula."""
        return {knot for schedule in self.schedules for knot in schedule.knots()}
