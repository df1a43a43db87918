"""Branches: a run forked from a checkpoint, with all of its state, to decay the LR or to go on at the peak."""

from __future__ import annotations

import math
import re
from bisect import bisect_right
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any, Literal

from riverrun.errors import SettingError
from riverrun.runs import Node, RunError, Tree, find_checkpoint
from riverrun.runs.node import TRUNK
from riverrun.schedules import WSD, WSDS, Decayed, Schedule
from riverrun.schedules.shapes import check_floor, decay_shape
from riverrun.train.plan import Plan, build_plan
from riverrun.train.progress import Progress, Quiet
from riverrun.train.recipe import Feed, Recipe, differences
from riverrun.train.session import Note, Origin, Session, open_session, recorded_feeds, recorded_recipe
from riverrun.train.sources import absolute, open_sources, open_stream
from riverrun.train.stretch import Outcome, train_stretch
from riverrun.train.trunk import stopping_position
from riverrun.units import Duration

Accounting = Literal["budget", "cycle", "cumulative"]
Length = Fraction | Duration
"""Of a decay: a share of what its accounting counts, or so much training."""


@dataclass(frozen=True, kw_only=True)
class Decay:
    """A decay to branch off with: shape, length, what a share of it counts (see `WSDS`), last fraction of the LR."""

    shape: str = "linear"
    length: Length = Fraction(1, 10)
    of: Accounting = "budget"
    floor: float = 0.1

    def __post_init__(self) -> None:
        try:
            decay_shape(self.shape)
        except ValueError as error:
            complaint = str(error).removeprefix("shape: ").replace("must be one of", "must be none or one of")
            raise SettingError(f"--decay: {complaint}") from None
        if not 0 <= self.floor <= 1:
            raise SettingError(f"--floor: got {self.floor:g}; must be a fraction from 0 to 1")
        try:
            check_floor(self.shape, self.floor)
        except ValueError as error:
            raise SettingError(f"--{error}") from None


@dataclass(frozen=True, kw_only=True)
class Branch:
    """What a branch will be: nothing is written yet. `end` is where its decay ends; None goes on without an end."""

    node: Node
    recipe: Recipe
    plan: Plan
    origin: Origin
    end: int | None


def parse_length(text: str) -> Length:
    """`"10%"`, `"500 steps"` or `"65M tokens"`."""
    share = re.fullmatch(r"(\d+(?:\.\d+)?)\s*%", text.strip())
    if share is None:
        try:
            length = Duration.parse(text)
        except SettingError as error:
            raise SettingError(f'--length: {error}, or a share like "10%"') from None
        if not length.amount:
            raise SettingError(f'--length: got "{text}"; must be at least one step')
        return length
    fraction = Fraction(share[1]) / 100
    if not 0 < fraction < 1:
        raise SettingError(f'--length: got "{text}"; must be more than 0% and less than 100%')
    return fraction


def plan_branch(
    tree: Tree,
    *,
    source: str = "trunk",
    at: int | Duration | Literal["latest"] = "latest",
    budget: Duration | None = None,
    decay: Decay | None = Decay(),
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
    plan = build_plan(recipe, open_sources(recipe.data)[0][0].vocabulary)
    before = list(_decays_on_the_way(tree, parent))
    if budget is not None:
        if decay is None:
            raise SettingError("--budget: names where a decay ends; with --decay none name --at and --until")
        start, end = _for_budget(plan, before, budget, decay)
        if all(checkpoint.step != start for checkpoint in parent.checkpoints()):
            raise RunError(_no_fork_point(plan, parent, before, budget, decay, start))
        checkpoint = find_checkpoint(parent, start)
    else:
        if at == "latest":
            latest = parent.latest_checkpoint(note)
            if latest is None:
                raise RunError(f"{parent.path}: has no checkpoint yet; train it first")
            checkpoint = latest
        else:
            checkpoint = find_checkpoint(parent, at if isinstance(at, int) else plan.step_at(at))
        end = 0 if decay is None else _end_from(plan, before, checkpoint.step, decay)
        if decay is not None and end <= checkpoint.step:
            raise SettingError(f"--length: a decay of no steps from step {checkpoint.step:,}; make it longer")
    start = checkpoint.step
    origin = Origin(parent, checkpoint)
    named = None if name is None else _named(tree, name, origin)
    # What a branch reads is settled when it is made: a parent that was fed since does not change it.
    feeds = _feeds(plan, parent, start, data)
    if named is not None and named.exists and data is None:
        feeds = recorded_recipe(named).data.feeds
    recipe = replace(
        recipe,
        schedule=_schedule(recipe.schedule, start, end - start, decay),
        data=absolute(replace(recipe.data, feeds=feeds)),
        optimizer=replace(recipe.optimizer, peak_lr=peak_lr or recipe.optimizer.peak_lr),
    )
    changed = differences(recorded_recipe(named), recipe) if named is not None and named.exists else []
    if changed:
        raise RunError(f"--name: {name} is there already: {changed[0]}; take another name")
    # Raises what the new schedule and data cannot be, before anything is written.
    planned = build_plan(recipe, plan.decoder.vocabulary)
    open_stream(planned)
    node = named or _same_branch(tree, recipe, origin)
    shape = "stable" if decay is None else "decay"
    stem = f"{shape}-{start}" + (f"-{decay.shape.replace(':', '-')}" if decay else "")
    return Branch(
        node=node or _free_name(tree, stem),
        recipe=recipe,
        plan=planned,
        origin=origin,
        end=None if decay is None else end,
    )


def train_branch(
    branch: Branch, until: Duration | str | None = None, *, progress: Progress | None = None
) -> Outcome:
    """Train a branch to the end of its decay, or one without a decay to `until`; the same call resumes.

    Everything of the fork's state goes along: weights, optimizer moments, averages, the place in the data.
    """
    told = progress or Quiet()
    if branch.end is None:
        fork = branch.origin.checkpoint.step
        if stopping_position(until, branch.plan, fork) <= fork and not branch.node.exists:
            raise SettingError(
                f'--until: got "{until}"; the branch begins at step {fork:,}, so name a later position'
            )

    def opened() -> Session:
        return open_session(branch.recipe, branch.node, told.note, branch.origin)

    def stop(session: Session) -> float:
        if branch.end is not None:
            return branch.end
        return stopping_position(until, session.plan, session.state.step)

    return train_stretch(branch.node, opened, stop, told)


def _for_budget(plan: Plan, before: list[tuple[int, int]], budget: Duration, decay: Decay) -> tuple[int, int]:
    """Where a decay for a budget begins and ends; the boundaries of `WSDS` follow the same accounting."""
    nominal = plan.step_at(budget)
    spent = sum(last - first for first, last in before)
    last_end = max((last for _, last in before), default=0)
    end = nominal + spent if decay.of == "budget" else nominal
    if isinstance(decay.length, Fraction):
        start = end - round(decay.length * (nominal - last_end if decay.of == "cycle" else nominal))
    else:  # the last position from which so much training ends in time
        length = decay.length
        start = bisect_right(range(end + 1), end, key=lambda position: _after(plan, position, length)) - 1
    if start < last_end or start < 0:
        raise SettingError(
            f'--length: got "{_written(decay.length)}"; a decay that ends at the budget of {budget} would begin at '
            f"step {start:,}, before {'the start' if not last_end else f'the end of the decay before it, {last_end:,}'}"
        )
    if start == end:
        raise SettingError(f"--length: a decay of no steps at the budget of {budget}; make it longer")
    return start, end


def _written(length: Length) -> str:
    return f"{float(100 * length):g}%" if isinstance(length, Fraction) else str(length)


def _end_from(plan: Plan, before: list[tuple[int, int]], start: int, decay: Decay) -> int:
    """Where a decay from position `start` ends."""
    done = [(first, min(last, start)) for first, last in before if first < start]
    if isinstance(decay.length, Duration):
        return _after(plan, start, decay.length)
    uncounted = {
        "budget": sum(last - first for first, last in done),
        "cycle": max((last for _, last in done), default=0),
        "cumulative": 0,
    }[decay.of]
    return round((start - uncounted) / (1 - decay.length)) + uncounted


def _after(plan: Plan, start: int, length: Duration) -> int:
    """The position at which `length` more is trained."""
    if length.unit == "steps":
        return start + int(length.amount)
    tokens = plan.tokens(start) + length.tokens(plan.tokens_per_x)
    return plan.step_at(Duration(Fraction(tokens), "tokens"))


def _no_fork_point(
    plan: Plan, parent: Node, before: list[tuple[int, int]], budget: Duration, decay: Decay, start: int
) -> str:
    there = {saved.step: _end_from(plan, before, saved.step, decay) for saved in parent.checkpoints()}
    ends = [f"{step:,} (ends at {end:,})" for step, end in there.items() if end > step]
    return (
        f"{parent.path}: a decay that ends at the budget of {budget} begins at step {start:,}, and no checkpoint is "
        f"kept there; there are {', '.join(ends) or 'none'}. Name one with --at, or have it kept in time with "
        f'--set checkpoints.at=["{start} steps"]'
    )


def _decays_on_the_way(tree: Tree, node: Node) -> Iterator[tuple[int, int]]:
    """Where each decay on the way to the tip of `node` began and ended."""
    lineage = tree.lineage(node)
    forks = [above.parent.step if above.parent else 0 for above in lineage]
    for above, first, leave in zip(lineage, forks, [*forks[1:], math.inf], strict=True):
        recipe = recorded_recipe(above)
        schedule = build_plan(recipe, open_sources(recipe.data)[0][0].vocabulary).schedule
        for start, end in _decays_of(schedule):
            if first <= start < leave:
                yield start, int(min(end, leave))


def _decays_of(schedule: Schedule) -> Iterator[tuple[int, int]]:
    if isinstance(schedule, WSD | WSDS):
        yield from schedule.boundaries
    elif isinstance(schedule, Decayed):
        yield from _decays_of(schedule.base)
        yield schedule.at, schedule.end


def _schedule(table: Mapping[str, Any], start: int, steps: int, decay: Decay | None) -> dict[str, Any]:
    """The recipe's schedule with a decay, or as it would be without its decays."""
    if decay is not None:
        return {
            "kind": Decayed.kind,
            "base": dict(table),
            "at": f"{start} steps",
            "steps": f"{steps} steps",
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
    """The parent's feeds, its later ones too; with a feed of its own, those before the fork and that one."""
    feeds = (*plan.recipe.data.feeds, *recorded_feeds(parent))
    if data is None:
        return feeds
    samples = plan.sizes.samples(start)
    past = (feed for feed in feeds if plan.samples_at(feed.at) < samples)
    fork = Duration(Fraction(samples * plan.decoder.context), "tokens")
    return (*past, replace(data, at=fork))


def _same_branch(tree: Tree, recipe: Recipe, origin: Origin) -> Node | None:
    """The branch that was asked for before, to go on with."""
    asked = recipe.to_dict()
    for node in tree.nodes():
        if node.parent == origin.fork and recorded_recipe(node).to_dict() == asked:
            return node
    return None


def _free_name(tree: Tree, stem: str) -> Node:
    names = (stem if number == 1 else f"{stem}-{number}" for number in range(1, 1_000_000))
    return next(node for node in map(tree.branch, names) if not node.exists)


def _named(tree: Tree, name: str, origin: Origin) -> Node:
    """The branch of that name, new or begun from the same fork."""
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", name) or name == TRUNK:
        raise SettingError(
            f"--name: got {name!r}; letters, digits, dots, dashes and underscores make a name, and trunk is taken"
        )
    node = tree.branch(name)
    if node.exists and (fork := node.parent) is not None and fork != origin.fork:
        raise RunError(
            f"--name: {name} is there already, from step {fork.step:,} of {fork.node}; take another name, or go on "
            f"with it by --from {fork.node} --at {fork.step}"
        )
    return node
