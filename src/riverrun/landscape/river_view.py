"""What `riverrun landscape river` shows: four schedules in one valley, lines between checkpoints, one path."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from riverrun.errors import SettingError
from riverrun.landscape.descent import Descent, descend, learning_rates, mean_loss_between, walk
from riverrun.landscape.river_runs import cyclic_schedule, wsds_schedule
from riverrun.landscape.valley import Valley, hilly_valley, plane_valley
from riverrun.schedules import WSD, Constant, Schedule
from riverrun.schedules.shapes import Floats

SHORTEST = 40
"""Steps that leave a decay of at least one step before each of the three budgets."""

SHARES = np.linspace(0, 1, 41)
"""Where the losses of a line are taken: 0 at its first end, 1 at its last."""


@dataclass(frozen=True, kw_only=True)
class Ride:
    """One schedule: its learning rates, of shape (steps,), and the mean of its runs."""

    rates: Floats
    descent: Descent


@dataclass(frozen=True, kw_only=True)
class Line:
    """The mean loss between two checkpoints of the WSD run.

    Attributes:
        start: step of the first end.
        end: step of the last.
        losses: at `SHARES`, of their shape.
    """

    start: int
    end: int
    losses: Floats


@dataclass(frozen=True, kw_only=True)
class RiverView:
    """Everything that the table and the figure say.

    Attributes:
        steps: of every run.
        budgets: of WSD-S and cyclic cosine: a quarter, half and all of the steps.
        stable_end: where the decay of WSD starts.
        rides: name -> schedule, in the valley of 40 hills.
        lines: name -> line, in the same valley.
        plane: the valley of the path.
        path: x and y of one WSD run, of shape (steps, 2).
    """

    steps: int
    budgets: tuple[int, ...]
    stable_end: int
    rides: dict[str, Ride]
    lines: dict[str, Line]
    plane: Valley
    path: Floats


def view_river(*, steps: int, peak: float, amplitude: float, seed: int) -> RiverView:
    """Run the schedules in the valley of 40 hills, all with the same noise, and WSD once in the plane.

    Raises:
        SettingError: too few steps, a rate at which runs diverge, a negative amplitude.
    """
    if steps < SHORTEST:
        raise SettingError(
            f"steps: got {steps}; must be at least {SHORTEST}, so that every budget has a decay"
        )
    if not 0 <= amplitude < np.inf:
        raise SettingError(f"curvature: got {amplitude:g}; must be 0, for a straight river, or more")
    valley = hilly_valley(amplitude)
    budgets = (steps // 4, steps // 2, steps)
    wsd = WSD(budget=steps, decay=0.2, floor=0.0)
    stable_end = wsd.boundaries[0][0]
    earlier = stable_end - steps // 10
    schedules: dict[str, Schedule] = {
        "constant": Constant(),
        "WSD": wsd,
        "WSD-S": wsds_schedule(budgets),
        "cyclic cosine": cyclic_schedule(budgets),
    }
    rides = {}
    for name, schedule in schedules.items():
        rates = learning_rates(schedule, steps=steps, peak=peak)
        keep = (earlier, stable_end, steps) if name == "WSD" else ()
        rides[name] = Ride(rates=rates, descent=descend(valley, rates, seed=seed, keep=keep))
    kept = rides["WSD"].descent.kept
    ends = {"stable to decayed": (stable_end, steps), "stable to stable": (earlier, stable_end)}
    lines = {
        name: Line(start=start, end=end, losses=mean_loss_between(valley, kept[start], kept[end], SHARES))
        for name, (start, end) in ends.items()
    }
    plane = plane_valley(amplitude)
    path = [(points.x[0], points.y[0, 0]) for points in walk(plane, rides["WSD"].rates, runs=1, seed=seed)]
    return RiverView(
        steps=steps,
        budgets=budgets,
        stable_end=stable_end,
        rides=rides,
        lines=lines,
        plane=plane,
        path=np.array(path),
    )
