"""A node's learning rate in a few words."""

from __future__ import annotations

from riverrun.schedules import Continued, Decayed, PiecewiseLinear
from riverrun.train.plan import Plan


def described(plan: Plan) -> str:
    """The kind of a schedule, and of one that leads somewhere what it does and where."""
    schedule = plan.schedule
    if isinstance(schedule, Decayed):
        return f"{schedule.shape} decay to {schedule.floor:.3g} over steps {schedule.at:,}-{schedule.end:,}"
    if isinstance(schedule, PiecewiseLinear | Continued):
        return f"{schedule.kind} to {schedule.values[-1]:.3g} at step {schedule.at[-1]:,}"
    return schedule.kind
