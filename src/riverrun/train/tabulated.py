"""A schedule's values looked up, for a loop that asks step by step."""

from __future__ import annotations

import numpy as np

from riverrun.schedules import Schedule

_STEPS = 4096


class Tabulated:
    """The same values as the schedule, evaluated thousands of steps at a time.

    One evaluation costs some 50 microseconds whether for one step or for hundreds: as much as the whole optimizer of a
    small model. Scalars and arrays agree bit for bit (see `Schedule`), so nothing but time changes.
    """

    def __init__(self, schedule: Schedule):
        self._schedule = schedule
        self._first = 0
        self._values: list[float] = []

    def __call__(self, step: int) -> float:
        """The multiplier of the `step`-th update."""
        if not 0 <= step - self._first < len(self._values):
            self._first = step
            self._values = self._schedule(np.arange(step, step + _STEPS)).tolist()
        return self._values[step - self._first]
