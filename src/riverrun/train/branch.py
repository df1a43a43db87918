"""Branches: a run forked from a checkpoint, with all of its state, to decay the LR or to go on at the peak."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

from riverrun.errors import SettingError
from riverrun.runs import Checkpoint, Node, Tree, find_checkpoint
from riverrun.schedules import WSD, WSDS, Decayed
from riverrun.train.branch_names import free_name, known_branch, named_branch
from riverrun.train.decay import TENTH, Decay
from riverrun.train.fork import At, fork_at, fork_for_budget
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
    """What a branch will be, or is already. `end` is where its decay ends; None goes on without an end."""

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
        peak_lr: another peak from the fork on.
        data: a corpus that joins in at the fork (its `at` does not count); None goes on with the source's data.
        name: of the node; None makes one from the fork.
        note: told about damaged checkpoints that were passed over.

    Raises:
        RunError, CheckpointError: no such node, no checkpoint there, or a damaged one.
        SettingError: a decay that is longer than its budget, or no decay at all.
    """
    if peak_lr is not None and not 0 < peak_lr < math.inf:
        raise SettingError(f"--peak-lr: got {peak_lr:g}; must be a positive number")
    parent = tree.node(source)
    recipe = recorded_recipe(parent)
    sources = open_sources(recipe.data)
    plan = build_plan(recipe, sources[0][0].vocabulary)
    end: int | None
    if budget is None:
        start, end = fork_at(tree, parent, plan, at, decay, note)
    elif decay is not None:
        start, end = fork_for_budget(tree, parent, plan, budget, decay)
    else:
        raise SettingError("--budget: names where a decay ends; with --decay none name --at and --until")
    recipe = replace(
        recipe,
        schedule=_schedule(recipe.schedule, start, end, decay),
        data=absolute(replace(recipe.data, feeds=_feeds(plan, parent, start, data))),
        optimizer=replace(recipe.optimizer, peak_lr=peak_lr or recipe.optimizer.peak_lr),
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
        shape = "stable" if decay is None else "decay"
        node = free_name(tree, f"{shape}-{start}" + (f"-{decay.shape.replace(':', '-')}" if decay else ""))
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
    """Train a branch to `until`, or to the end of its decay; the same call resumes.

    Everything of the fork's state goes along: weights, optimizer moments, averages, the place in the data. No
    schedule sees `until`: a decay that is stopped before its end goes on as if it had not been.
    """
    told = progress or Quiet()
    fork = branch.origin.checkpoint.step
    if stopping_position(until, branch.plan, fork) <= fork and not branch.node.exists:
        raise SettingError(
            f'--until: got "{until}"; the branch begins at step {fork:,}, so name a later position'
        )

    def opened() -> Session:
        return open_session(branch.recipe, branch.node, told.note, branch.origin)

    def stop(session: Session) -> float:
        return min(branch.end or math.inf, stopping_position(until, session.plan, session.state.step))

    return train_stretch(branch.node, opened, stop, told)


def _schedule(table: Mapping[str, Any], start: int, end: int | None, decay: Decay | None) -> dict[str, Any]:
    """The recipe's schedule with a decay, or as it would be without its decays."""
    if decay is not None and end is not None:
        return {
            "kind": Decayed.kind,
            "base": dict(table),
            "at": f"{start} steps",
            "steps": f"{end - start} steps",
            "shape": decay.shape,
            "floor": decay.floor,
        }
    undecayed = dict(table)
    while undecayed["kind"] == Decayed.kind:
        undecayed = dict(undecayed["base"])
    if undecayed["kind"] in (WSD.kind, WSDS.kind):
        kept = {key: value for key, value in undecayed.items() if key.startswith("warmup")}
        return {"kind": "constant", **kept}
    return undecayed


def _feeds(plan: Plan, parent: Node, start: int, data: Feed | None) -> tuple[Feed, ...]:
    """The parent's feeds, its later ones too; with a feed of its own, those up to the fork and that one."""
    feeds = (*plan.recipe.data.feeds, *recorded_feeds(parent))
    if data is None:
        return feeds
    samples = plan.sizes.samples(start)
    past = (feed for feed in feeds if plan.samples_at(feed.at) <= samples)
    fork = Duration(Fraction(samples * plan.decoder.context), "tokens")
    return (*past, replace(data, at=fork))
