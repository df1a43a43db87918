"""What a forecast is made from: the curves of a run directory, or of files that another trainer left."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

import numpy as np

from riverrun.averaging import Profile, profile_named
from riverrun.errors import SettingError
from riverrun.forecast import Curve, Record, curve_of
from riverrun.forecast.bins import MOST, binned
from riverrun.forecast.curve import LONGEST, Floats
from riverrun.forecast.exports import Columns, read_records
from riverrun.forecast.exports.event_files import MARK
from riverrun.forecast.exports.reading import READABLE
from riverrun.forecast.record import assumptions
from riverrun.runs import Node, Tree
from riverrun.runs.metrics import read_records as read_lines
from riverrun.schedules import Constant, PiecewiseLinear, Schedule
from riverrun.train.costs import path, reached, recorded_plan
from riverrun.train.curves import TRAIN, Losses, binned_training_losses, recorded_losses
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


def source_of_run(run: Path, node: str, after: float) -> Source:
    """The curves of a run directory: a node's and those of all branches on the same data.

    Points before the share `after` of the run, or before twice its warm-up, are left out: laws are about what follows.
    """
    tree = Tree.open(run)
    trunk = tree.node(node)
    plan = recorded_plan(trunk)
    if trunk.merged:
        raise SettingError(f"--node: {node} is a merge, which has no losses on the way; name a run")
    if plan.recipe.optimizer.name == "schedule-free-adamw":
        raise SettingError(
            f"{run}: was trained with {plan.recipe.optimizer.name}, whose readouts are averages; laws are about others"
        )
    recorded = recorded_losses(trunk)
    if not recorded:
        raise SettingError(f"{trunk.path}: has no metrics yet; train it first")
    now = max(int(one.steps[-1]) for one in recorded)
    first = max(round(after * now), 2 * plan.schedule.warmup, 1)
    curves = _curves_of(tree, trunk, first, now)
    notes = [
        f"{trunk.id} {one.name}: {one.missing} losses were no numbers; left out"
        for one in recorded
        if one.missing
    ]
    for other in tree.nodes():
        if other.id == trunk.id or other.merged:
            continue
        if _data(other, reached(other)) != _data(trunk, reached(other)):
            notes.append(f"{other.id}: was trained on other data; left out")
            continue
        begin = first if other.parent is None else max(first, other.parent.step + 1)
        curves += _curves_of(tree, other, begin, None, averages=other.parent is None)
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


def _curves_of(tree: Tree, node: Node, first: int, last: int | None, averages: bool = True) -> list[Curve]:
    """The training losses in bins, the raw readouts, and the averages, whose profiles their names tell."""
    recorded = recorded_losses(node)
    end = last or max((int(one.steps[-1]) for one in recorded), default=0)
    if end < first:
        return []
    lr = _rates_along(tree, node, end)
    found: list[Curve] = []

    def add(losses: Losses, series: str, profile: Profile | None = None) -> None:
        if losses.steps.size >= (_FEWEST_BINS if series == TRAIN else 1):
            name = f"{node.id} {losses.name}"
            found.append(Curve(name, losses.steps, losses.losses, lr, series, profile))

    add(binned_training_losses(node, first, end, _BINS), TRAIN)
    for one in recorded:
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


@dataclass(frozen=True, kw_only=True)
class FileOptions:
    """What files do not tell by themselves.

    Attributes:
        columns: their names.
        schedule: that the first of them was trained with; None takes the LR that was logged.
        peak_lr: of that schedule.
    """

    columns: Columns
    schedule: Schedule | None
    peak_lr: float | None


def source_of_files(
    paths: Sequence[Path], options: FileOptions, after: float, profiles: Sequence[Profile]
) -> Source:
    """The curves of files; the first record is the run that a forecast goes on from."""
    records = [record for path in paths for record in _read(path, options.columns)]
    first = records[0]
    notes = [f"{record.name}: {note}" for record in records for note in record.notes]
    if options.schedule is None:
        notes += [f"{record.name}: {note}" for record in records for note in assumptions(record)]
    try:
        peak = options.peak_lr or _highest(first)
        curves = [
            curve_of(record, options.schedule if record is first else None, peak_lr=peak)
            for record in records
        ]
    except ValueError as error:
        raise SettingError(f"{error}: --trained-with, --peak-lr, or --columns lr=NAME") from None
    now = int(curves[0].steps[-1])
    begin = max(round(after * now), 1)
    schedule = options.schedule or _logged(first, peak)
    if options.schedule is None:
        rate = peak * float(schedule(now))
        notes.append(f"{first.name}: after step {now:,} its learning rate is taken to stay at {rate:.3g}")
    notes += [
        f"{curve.name}: {curve.steps.size:,} points, averaged in {MOST} bins; intervals are those of such means"
        for curve in curves
        if curve.steps.size > MOST
    ]
    return Source(
        name=first.name,
        curves=tuple(binned(_from(curve, begin)) for curve in curves),
        schedule=schedule,
        peak_lr=peak,
        now=now,
        profiles=tuple(profiles),
        notes=tuple(notes),
    )


def _read(path: Path, columns: Columns) -> list[Record]:
    try:
        return read_records(path, columns)
    except ValueError as error:
        raise SettingError(str(error)) from None


def _from(curve: Curve, begin: int) -> Curve:
    last = int(curve.steps[-1])
    return curve.between(begin, last) if begin <= last else curve


def _highest(record: Record) -> float:
    if record.lr is None:
        raise ValueError(f"{record.name}: no learning rate was logged; give the schedule and its peak")
    return float(record.lr.max())


def _logged(record: Record, peak: float) -> Schedule:
    """The logged LR as a schedule: a constant, or straight lines between the points where it bends.

    Its last value is its value ever after.
    """
    assert record.lr is not None
    steps, values = record.steps.astype(float), np.clip(record.lr / peak, 0.0, 1.0)
    warmed = int(np.argmax(values == 1))
    if values[warmed] == 1 and np.allclose(values, np.minimum(1.0, steps / steps[warmed]), rtol=1e-6):
        return Constant(warmup=int(steps[warmed]))
    # Before the first point curve_of lets it rise linearly from 0: a warm-up where it begins at the peak.
    warm = int(steps[0]) if values[0] == 1 else 0
    kept = [0, *(n for n in range(1, steps.size - 1) if _bends(steps, values, n)), steps.size - 1]
    return PiecewiseLinear(
        warmup=warm, at=tuple(int(steps[n]) for n in kept), values=tuple(float(values[n]) for n in kept)
    )


def _bends(steps: Floats, values: Floats, n: int) -> bool:
    (a, b, c), (x, y, z) = steps[n - 1 : n + 2], values[n - 1 : n + 2]
    return bool(abs(x + (z - x) * (b - a) / (c - a) - y) > 1e-9)


def is_run(path: Path) -> bool:
    """Whether a path is a run directory of riverrun.

    Raises:
        SettingError: it is none, and nothing that could be read as a file either.
    """
    if (path / "trunk" / "node.json").is_file():
        return True
    if (path / "node.json").is_file():
        run = path.parent if path.name == "trunk" else path.parent.parent
        raise SettingError(f"{path}: is a node of a run; name the run, as in {run} --node {path.name}")
    if not path.exists():
        raise SettingError(
            f"{path}: is no run of riverrun and no file; a forecast is made from RUN as in riverrun train RECIPE --run "
            f"RUN, or from {READABLE}"
        )
    if path.is_dir() and not any(path.rglob(f"*{MARK}*")):
        raise SettingError(
            f"{path}: is no run of riverrun, and holds none of TensorBoard's files ({MARK} in the name)"
        )
    return False
