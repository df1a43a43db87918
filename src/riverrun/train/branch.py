"""Branches: a run forked from a checkpoint, with all of its state, to decay the LR or to go on at the peak."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

from riverrun.errors import SettingError
from riverrun.ranks import Ranks
from riverrun.runs import Checkpoint, Node, Tree, find_checkpoint
from riverrun.train.branch_course import decay_course, given_course
from riverrun.train.branch_names import free_name, known_branch, named_branch
from riverrun.train.decay import TENTH, Decay
from riverrun.train.fork import At
from riverrun.train.plan import Plan, build_plan
from riverrun.train.progress import Progress, Quiet
from riverrun.train.recipe import Feed, Recipe
from riverrun.train.session import Note, Origin, Session, open_session, recorded_feeds, recorded_recipe
from riverrun.train.sources import absolute, open_sources, open_stream
from riverrun.train.stretch import Outcome, train_stretch
from riverrun.train.trunk import stopping_position
from riverrun.units import Duration


@dataclass(frozen=True, kw_only=True)
class Branch:
    """What a branch will be, or is already. `end` is where its decay or schedule ends; None goes on without."""

    node: Node
    recipe: Recipe
    plan: Plan
    origin: Origin
    end: int | None


def plan_branch(
    tree: Tree,
    *,
    source: str = "trunk",
    at: At = "latest",
    budget: Duration | None = None,
    decay: Decay | None = TENTH,
    schedule: Mapping[str, Any] | None = None,
    peak_lr: float | None = None,
    data: Feed | None = None,
    name: str | None = None,
    note: Note = lambda text: None,
) -> Branch:
    """What a branch will be, from what lies on disk; the checkpoint it forks from is read and verified.

    Args:
        tree: where it grows.
        source: the node to fork from.
        at: the position to fork at, or the latest good checkpoint.
        budget: where the decay shall end, instead of `at`: the fork is then at (1 - share) times the budget.
        decay: None goes on with the schedule that the source would have without its decays.
        schedule: a table like `[schedule]` of a recipe, in place of `decay`, which then does not count. Up to the fork
            it must give every update the learning rate that it had.
        peak_lr: another peak from the fork on.
        data: a corpus that joins in at the fork (its `at` does not count); None goes on with the source's data.
        name: of the node; None makes one from the fork.
        note: told about damaged checkpoints that were passed over.

    Raises:
        RunError, CheckpointError: no such node, no checkpoint there, or a damaged one.
        SettingError: a decay that is longer than its budget, or no decay at all; a schedule that cannot be, that had
            another past, or that is over by the fork.
    """
    if peak_lr is not None and not 0 < peak_lr < math.inf:
        raise SettingError(f"--peak-lr: got {peak_lr:g}; must be a positive number")
    parent = tree.node(source)
    recipe = recorded_recipe(parent)
    sources = open_sources(recipe.data)
    plan = build_plan(recipe, sources[0][0].vocabulary)
    peak = peak_lr or recipe.optimizer.peak_lr
    if schedule is None:
        course = decay_course(tree, parent, plan, at, budget, decay, note)
    elif budget is None:
        course = given_course(tree, parent, plan, at, schedule, peak, note)
    else:
        raise SettingError(f"--budget: got {budget}, but --schedule says itself where it ends; leave it out")
    start, end = course.start, course.end
    recipe = replace(
        recipe,
        schedule=course.table,
        data=absolute(replace(recipe.data, feeds=_feeds(plan, parent, start, data))),
        optimizer=replace(recipe.optimizer, peak_lr=peak),
    )
    # Raises what the new schedule and data cannot be, before anything is written.
    planned = build_plan(recipe, plan.decoder.vocabulary)
    open_stream(planned, sources)
    node = (
        named_branch(tree, name, recipe, parent, start, own_feed=data is not None)
        if name
        else known_branch(tree, planned, parent, start, end)
    )
    if node is None:
        node = free_name(tree, course.name)
    if node.exists:
        # What a branch reads is settled when it is made: a parent that was fed since does not change it.
        recipe = recorded_recipe(node)
        checkpoint = Checkpoint(parent.checkpoint_folder / f"{start:08d}", start)
    else:
        checkpoint = find_checkpoint(parent, start)
    return Branch(node=node, recipe=recipe, plan=planned, origin=Origin(parent, checkpoint), end=end)


def train_branch(
    branch: Branch, until: Duration | str | None = None, *, progress: Progress | None = None
) -> Outcome:
    """Train a branch to `until`, or to the end of its decay or schedule; the same call resumes.

    Everything of the fork's state goes along: weights, optimizer moments, averages, the place in the data. No
    schedule sees `until`: a decay that is stopped before its end goes on as if it had not been.
    """
    told = progress or Quiet()
    fork = branch.origin.checkpoint.step
    if stopping_position(until, branch.plan, fork) <= fork and not branch.node.exists:
        raise SettingError(
            f'--until: got "{until}"; the branch begins at step {fork:,}, so name a later position'
        )

    def opened(ranks: Ranks) -> Session:
        return open_session(branch.recipe, branch.node, told.note, branch.origin, ranks)

    def stop(session: Session) -> float:
        return min(branch.end or math.inf, stopping_position(until, session.plan, session.state.step))

    return train_stretch(branch.node, opened, stop, told, branch.recipe.engine.patience)


def _feeds(plan: Plan, parent: Node, start: int, data: Feed | None) -> tuple[Feed, ...]:
    """The parent's feeds, its later ones too; with a feed of its own, those up to the fork and that one."""
    feeds = (*plan.recipe.data.feeds, *recorded_feeds(parent))
    if data is None:
        return feeds
    samples = plan.sizes.samples(start)
    past = (feed for feed in feeds if plan.samples_at(feed.at) <= samples)
    fork = Duration(Fraction(samples * plan.decoder.context), "tokens")
    return (*past, replace(data, at=fork))
