"""What laws of the loss are fitted to: the curves of a run directory, its schedule, where it stands."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import cache
from pathlib import Path

import numpy as np

from riverrun.averaging import Profile, profile_named
from riverrun.errors import SettingError
from riverrun.forecast import Curve
from riverrun.forecast.curve import LONGEST, Floats
from riverrun.runs import Node, Tree
from riverrun.runs.metrics import read_records as read_lines
from riverrun.schedules import Schedule
from riverrun.train.costs import path, recorded_plan
from riverrun.train.curves import TRAIN, Losses, in_growing_bins, recorded_losses
from riverrun.train.plan import Plan
from riverrun.train.recipe import Data
from riverrun.train.session import recorded_feeds
from riverrun.train.sources import absolute
from riverrun.units import Duration, short_count

HELD_OUT = "held-out"
_BINS = 48
"""Of a trunk's training losses."""
_FEWEST_BINS = 2
"""Of training losses, whose mean is rough; a single readout at a decay's end tells most of all."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Source:
    """What is known of a run.

    Attributes:
        name: for titles.
        curves: what laws are fitted to, and what they are held against.
        schedule: of the trunk, times `peak_lr`.
        now: the position that it stands at.
        profiles: the averages that it keeps.
        path, node, plan: of a riverrun run; positions of files are steps.
        seconds_per_step: measured; None where nothing tells.
        notes: what was cleaned, left out or taken for granted.
    """

    name: str
    curves: tuple[Curve, ...]
    schedule: Schedule
    peak_lr: float
    now: int
    profiles: tuple[Profile, ...]
    path: Path | None = None
    node: str = "trunk"
    plan: Plan | None = None
    seconds_per_step: float | None = None
    notes: tuple[str, ...] = ()

    def position(self, option: str, text: str) -> int:
        """The position that an option names: a duration, or a bare number of steps.

        Raises:
            SettingError: it is neither, or lies further away than forecasts reach.
        """
        if text.isdecimal():
            step = int(text)
        else:
            try:
                duration = Duration.parse(text)
            except SettingError as error:
                raise SettingError(f"{option}: {error}, or a bare number of steps") from None
            step = self.step_at(option, duration)
        if step > LONGEST:
            raise SettingError(f'{option}: got "{text}", step {step:,}; forecasts reach to step {LONGEST:,}')
        return step

    def step_at(self, option: str, duration: Duration) -> int:
        """The first position at which so much training is done."""
        if self.plan is not None:
            return self.plan.step_at(duration)
        return steps_of_a_file(option, duration)

    def tokens(self, step: int) -> int | None:
        """Tokens of a position; None where nobody knows them."""
        return None if self.plan is None else self.plan.tokens(step)

    def label(self, step: int) -> str:
        """A position for people: tokens where they are known, else steps."""
        tokens = self.tokens(step)
        return f"step {step:,}" if tokens is None else f"{short_count(tokens)} tokens"

    def also(self, others: Source | None, profiles: Sequence[Profile]) -> Source:
        """This one with the curves of other runs of the same model, and other averages where some are named."""
        return replace(
            self,
            curves=self.curves + (others.curves if others else ()),
            notes=self.notes + (others.notes if others else ()),
            profiles=tuple(profiles) or self.profiles,
        )


def steps_of_a_file(option: str, duration: Duration) -> int:
    """The position in a file, which knows neither tokens nor multiples of 1x."""
    if duration.unit != "steps":
        raise SettingError(f'{option}: got "{duration}"; a file tells steps alone, so name it in steps')
    return int(duration.amount)


def source_of_run(
    run: Path, node: str, after: float, recorded_of: Callable[[Node], list[Losses]] = recorded_losses
) -> Source:
    """The curves of a run directory: a node's and those of all branches on the same data.

    Points before the share `after` of the run, or before twice its warm-up, are left out: laws are about what follows.
    `recorded_of` gives the losses of a node, for who has read them already.
    """
    recorded_of = cache(recorded_of)
    tree = Tree.open(run)
    trunk = tree.node(node)
    plan = recorded_plan(trunk)
    if trunk.merged:
        raise SettingError(f"--node: {node} is a merge, which has no losses on the way; name a run")
    if plan.recipe.optimizer.name == "schedule-free-adamw":
        raise SettingError(
            f"{run}: was trained with {plan.recipe.optimizer.name}, whose readouts are averages; laws are about others"
        )
    recorded = recorded_of(trunk)
    if not recorded:
        raise SettingError(f"{trunk.path}: has no metrics yet; train it first")
    now = max(int(one.steps[-1]) for one in recorded)
    first = max(round(after * now), 2 * plan.schedule.warmup, 1)
    curves = _curves_of(tree, trunk, recorded, first, now)
    notes = [
        f"{trunk.id} {one.name}: {one.missing} losses were no numbers; left out"
        for one in recorded
        if one.missing
    ]
    for other in tree.nodes():
        if other.id == trunk.id or other.merged:
            continue
        others = recorded_of(other)
        end = max((int(one.steps[-1]) for one in others), default=0)
        if _data(other, end) != _data(trunk, end):
            notes.append(f"{other.id}: was trained on other data; left out")
            continue
        begin = first if other.parent is None else max(first, other.parent.step + 1)
        curves += _curves_of(tree, other, others, begin, end, averages=other.parent is None)
    if joined := _data(trunk, now).feeds:
        number = f"{len(joined)} {'corpus' if len(joined) == 1 else 'corpora'}"
        notes.append(f"{trunk.id}: {number} joined in on the way; the law does not see it")
    profiles = [profile_named(one.name) for one in recorded]
    return Source(
        name=run.name if node == trunk.id == "trunk" else f"{run.name}/{node}",
        curves=tuple(curves),
        schedule=plan.schedule,
        peak_lr=plan.recipe.optimizer.peak_lr,
        now=now,
        profiles=tuple(profile for profile in profiles if profile is not None),
        path=run,
        node=node,
        plan=plan,
        seconds_per_step=_seconds_per_step(trunk),
        notes=tuple(notes),
    )


def _data(node: Node, step: int) -> Data:
    """What a node reads up to a position, with corpora that joined in before it."""
    plan = recorded_plan(node)
    feeds = (*plan.recipe.data.feeds, *recorded_feeds(node))
    samples = plan.sizes.samples(step)
    return absolute(
        replace(plan.recipe.data, feeds=tuple(feed for feed in feeds if plan.samples_at(feed.at) < samples))
    )


def _curves_of(
    tree: Tree, node: Node, recorded: Sequence[Losses], first: int, end: int, averages: bool = True
) -> list[Curve]:
    """The training losses in bins, the raw readouts, and the averages, whose profiles their names tell."""
    if end < first:
        return []
    lr = _rates_along(tree, node, end)
    found: list[Curve] = []

    def add(losses: Losses, series: str, profile: Profile | None = None) -> None:
        if losses.steps.size >= (_FEWEST_BINS if series == TRAIN else 1):
            name = f"{node.id} {losses.name}"
            found.append(Curve(name, losses.steps, losses.losses, lr, series, profile))

    schedule = recorded_plan(node).schedule
    for one in recorded:
        if one.name == TRAIN:
            add(in_growing_bins(one.between(first, end), schedule, _BINS), TRAIN)
        profile = profile_named(one.name)
        if one.name == "raw" or (averages and profile is not None):
            add(one.between(first, end), HELD_OUT, profile)
    return found


def _rates_along(tree: Tree, node: Node, last: int) -> Floats:
    """The LR of every update on the way to a position of a node, each from the node that did it."""
    rates = []
    for stretch in path(tree, node, last):
        plan = recorded_plan(tree.node(stretch.node))
        updates = np.arange(stretch.first + 1, stretch.last + 1)
        rates.append(plan.recipe.optimizer.peak_lr * plan.schedule(updates))
    return np.concatenate(rates)


def _seconds_per_step(node: Node) -> float | None:
    """From the last stretch of training that its events tell the beginning and the end of."""
    found, started = None, None
    for event in read_lines(node.path / "events.jsonl"):
        if event.get("event") == "start":
            started = event
        elif event.get("event") in ("throughput", "stop", "checkpoint") and started is not None:
            steps = event.get("step", 0) - started["step"]
            begin, end = (datetime.fromisoformat(one["time"]) for one in (started, event))
            seconds = (end - begin).total_seconds()
            if steps > 0 and seconds >= 1:
                found = seconds / steps
    return found
