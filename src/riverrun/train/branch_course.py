"""The course of a branch: where it begins and ends, and the schedule that it follows, decayed or given."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from riverrun.errors import SettingError
from riverrun.runs import Node, Tree
from riverrun.schedules import WSD, WSDS, Decayed, Schedule
from riverrun.train.costs import reached, recorded_plan
from riverrun.train.decay import Decay, end_of
from riverrun.train.fork import At, decay_end, fork_at, fork_for_budget
from riverrun.train.plan import Plan
from riverrun.train.schedule_table import check_schedule_table, resolve_schedule, table_of
from riverrun.train.session import Note
from riverrun.units import Duration

SAME = 1e-12
"""Relative difference up to which two learning rates are the same, computed by different formulas."""


@dataclass(frozen=True, kw_only=True)
class Course:
    """From position `start` to `end` (None: on and on) by the schedule `table`; `name` is one for its node."""

    start: int
    end: int | None
    table: dict[str, Any]
    name: str


def decay_course(
    tree: Tree, parent: Node, plan: Plan, at: At, budget: Duration | None, decay: Decay | None, note: Note
) -> Course:
    """The parent's schedule with a decay, from `at` or for a budget; with None, as it would be without its decays."""
    table = plan.recipe.schedule
    if decay is None:
        if budget is not None:
            raise SettingError("--budget: names where a decay ends; with --decay none name --at and --until")
        start = fork_at(parent, plan, at, note)
        return Course(start=start, end=None, table=undecayed(table), name=f"stable-{start}")
    if budget is None:
        start = fork_at(parent, plan, at, note)
        end = decay_end(tree, parent, plan, start, decay)
    else:
        start, end = fork_for_budget(tree, parent, plan, budget, decay)
    name = f"decay-{start}-{decay.shape.replace(':', '-')}"
    return Course(start=start, end=end, table=decayed(table, start, end, decay), name=name)


def given_course(
    tree: Tree, parent: Node, plan: Plan, at: At, table: Mapping[str, Any], peak_lr: float, note: Note
) -> Course:
    """A schedule that is given, from `at` to its end; the past that it tells must be the one there was."""
    try:
        check_schedule_table(table, "schedule")
        schedule = resolve_schedule(table, "schedule", plan.step_at, "Mend it in the table [schedule]")
    except SettingError as error:
        raise SettingError(f"--schedule: {error}") from None
    start, end = fork_at(parent, plan, at, note), end_of(schedule)
    _check_past(tree, parent, schedule, peak_lr, start)
    if end is not None and end <= start:
        raise SettingError(
            f"--schedule: got one that ends at step {end:,}; must end after the fork at step {start:,}. Fork earlier, "
            "or take --decay none to go on"
        )
    return Course(start=start, end=end, table=table_of(schedule), name=f"{schedule.kind}-{start}")


def decayed(table: Mapping[str, Any], start: int, end: int, decay: Decay) -> dict[str, Any]:
    """The table of a schedule with a decay."""
    return {
        "kind": Decayed.kind,
        "base": dict(table),
        "at": f"{start} steps",
        "steps": f"{end - start} steps",
        "shape": decay.shape,
        "floor": decay.floor,
    }


def undecayed(table: Mapping[str, Any]) -> dict[str, Any]:
    """The table of a schedule as it would be without its decays."""
    base = dict(table)
    while base["kind"] == Decayed.kind:
        base = dict(base["base"])
    if base["kind"] in (WSD.kind, WSDS.kind):
        kept = {key: value for key, value in base.items() if key.startswith("warmup")}
        return {"kind": "constant", **kept}
    return base


def _check_past(tree: Tree, parent: Node, schedule: Schedule, peak_lr: float, start: int) -> None:
    """Compare the learning rate of every update up to the fork with the one that it was done with."""
    lineage = tree.lineage(parent)
    forks = [above.parent.step if above.parent else 0 for above in lineage]
    # A fork that nothing has come to yet is told by the search for its checkpoint.
    leaves = [*forks[1:], min(start, reached(parent))]
    for above, first, last in zip(lineage, forks, leaves, strict=True):
        done, steps = recorded_plan(above), np.arange(first + 1, last + 1)
        had = done.recipe.optimizer.peak_lr * done.schedule(steps)
        has = peak_lr * schedule(steps)
        differs = np.flatnonzero(~np.isclose(has, had, rtol=SAME, atol=0))
        if not differs.size:
            continue
        step = int(steps[differs[0]])
        agreed = step - 1
        before = above.parent.node if above.parent and agreed == first else above.id
        raise SettingError(
            f"--schedule: got the learning rate {has[differs[0]]:.13g} at step {step:,}; must be {had[differs[0]]:.13g}"
            f", as it was in {above.id}, for a branch keeps its past. "
            + (
                f"Fork earlier: --from {before} --at {agreed} at most"
                if agreed
                else "Begin anew: riverrun train"
            )
        )
