"""A node's learning rate in a few words."""

from __future__ import annotations

from riverrun.schedules import Decayed
from riverrun.train.plan import Plan


def described(plan: Plan) -> str:
    """The kind of a schedule, or what a decay does and where."""
    schedule = plan.schedule
    if isinstance(schedule, Decayed):
        return f"{schedule.shape} decay to {schedule.floor:.3g} over steps {schedule.at:,}-{schedule.end:,}"
    return schedule.kind
