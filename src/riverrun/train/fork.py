"""Where a branch begins and where its decay ends, given what lies on disk."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Literal

from riverrun.errors import SettingError
from riverrun.runs import Node, RunError, Tree
from riverrun.train.costs import recorded_plan
from riverrun.train.decay import Decay, Span, decays_of, end_from, span_for_budget
from riverrun.train.plan import Plan
from riverrun.train.session import Note
from riverrun.units import Duration

At = int | Duration | Literal["latest"]


def fork_at(parent: Node, plan: Plan, at: At, note: Note) -> int:
    """The position to fork at; `RunError` where nothing is saved yet to be the latest."""
    if at == "latest":
        latest = parent.latest_checkpoint(note)
        if latest is None:
            raise RunError(f"{parent.path}: has no checkpoint yet; train it first")
        return latest.step
    return at if isinstance(at, int) else plan.step_at(at)


def decay_end(tree: Tree, parent: Node, plan: Plan, start: int, decay: Decay) -> int:
    """Where a decay from position `start` ends, given those on the way there."""
    end = end_from(plan, list(_decays_on_the_way(tree, parent)), start, decay)
    if end <= start:
        raise SettingError(f"--length: a decay of no steps from step {start:,}; make it longer")
    return end


def fork_for_budget(tree: Tree, parent: Node, plan: Plan, budget: Duration, decay: Decay) -> tuple[int, int]:
    """Where a decay that ends at a budget begins and ends; `RunError` says which fork points there are instead."""
    before = list(_decays_on_the_way(tree, parent))
    start, end = span_for_budget(plan, before, budget, decay)
    if all(checkpoint.step != start for checkpoint in parent.checkpoints()):
        raise RunError(_no_fork_point(plan, parent, before, budget, decay, start))
    return start, end


def _no_fork_point(
    plan: Plan, parent: Node, before: Sequence[Span], budget: Duration, decay: Decay, start: int
) -> str:
    there = {saved.step: end_from(plan, before, saved.step, decay) for saved in parent.checkpoints()}
    ends = [f"{step:,} (ends at {end:,})" for step, end in there.items() if end > step]
    if not there or start > max(there):
        way_out = f"Train {parent.id} to that step first, or name another with --at"
    elif parent.parent is None:
        way_out = f'Name one with --at, or have it kept in time with --set checkpoints.at=["{start} steps"]'
    else:
        way_out = "Name one with --at"
    return (
        f"{parent.path}: a decay that ends at the budget of {budget} begins at step {start:,}, and no checkpoint is "
        f"kept there; there are {', '.join(ends) or 'none'}. {way_out}"
    )


def _decays_on_the_way(tree: Tree, node: Node) -> Iterator[Span]:
    """Where each decay on the way to `node`, and of its own, begins and ends, whether it is over or still to come."""
    lineage = tree.lineage(node)
    forks = [above.parent.step if above.parent else 0 for above in lineage]
    for above, first, leave in zip(lineage, forks, [*forks[1:], math.inf], strict=True):
        for start, end in decays_of(recorded_plan(above).schedule):
            if first <= start < leave:
                yield start, int(min(end, leave))
