"""Commands as a user types them: what goes on with a branch, and what makes a node of a tree again from nothing."""

from __future__ import annotations

import math
import os
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from riverrun.runs import Node, Tree
from riverrun.schedules import Decayed
from riverrun.train.branch_course import undecayed
from riverrun.train.costs import recorded_plan
from riverrun.train.decay import end_of
from riverrun.train.plan import Plan
from riverrun.train.recipe import Feed, Recipe
from riverrun.train.session import recorded_feeds, recorded_recipe

Command = list[str]


def program() -> str:
    """How to call riverrun again: by name where the shell finds it, else by the path it was called by."""
    called = Path(sys.argv[0])
    if called.name != "riverrun" or shutil.which("riverrun"):
        return "riverrun"
    return os.path.relpath(called)


def branch_command(run: Path, node: Node, recipe: Recipe, parent: Node, step: int) -> Command:
    """What makes a branch again in `run`, or goes on with it, whatever was trained since: every choice is spelled out.

    No options spell a schedule that came from a file; the node's own record stands in for that file.
    """
    above = recorded_recipe(parent)
    command = [program(), "branch", str(run), "--from", parent.id, "--at", str(step)]
    schedule = recipe.schedule
    if _decays_from(above.schedule, step, schedule):
        command += ["--decay", schedule["shape"], "--length", schedule["steps"]]
        command += ["--floor", repr(schedule["floor"])]
    elif schedule == undecayed(above.schedule):
        command += ["--decay", "none"]
    else:
        command += ["--schedule", str(node.path / "node.json")]
    if recipe.optimizer.peak_lr != above.optimizer.peak_lr:
        command += ["--peak-lr", repr(recipe.optimizer.peak_lr)]
    own = [feed for feed in recipe.data.feeds if feed not in (*above.data.feeds, *recorded_feeds(parent))]
    for feed in own:
        command += ["--data", f"{feed.corpus}:{feed.weight!r}"]
    return [*command, "--name", node.id]


def reproduction(tree: Tree, node: Node, step: int, readout: str, run: Path) -> list[Command] | None:
    """The commands that make a readout of a tree again in a new run, from nothing, and export it.

    None where commands alone cannot do it: a branch that was fed before its first step.
    """
    lineage = tree.lineage(node)
    leaves = [*(below.parent.step for below in lineage[1:] if below.parent), step]
    kept = "checkpoints.at=[" + ", ".join(f'"{leave} steps"' for leave in leaves) + "]"
    commands: list[Command] = []
    for number, (one, leave) in enumerate(zip(lineage, leaves, strict=True)):
        plan, fork = recorded_plan(one), one.parent
        if fork is None:
            recipe = str(one.path / "node.json")
            grow = [program(), "train", recipe, "--run", str(run), "--set", kept]
        else:
            grow = branch_command(run, one, plan.recipe, lineage[number - 1], fork.step)
        below = recorded_recipe(lineage[number + 1]) if number + 1 < len(lineage) else None
        feeds = [(plan.step_at(feed.at), feed) for feed in _needed_feeds(one, plan, leave, below)]
        first_feed = min((begin for begin, _ in feeds), default=math.inf)
        if fork is not None and first_feed <= fork.step:
            return None
        stops = [stopping(grow, stop, plan) for stop in sorted({min(leave, first_feed), leave})]
        commands += [stops[0], *(_feed_command(run, one, *feed) for feed in feeds), *stops[1:]]
    exported = [program(), "export", str(run), "--node", node.id, "--readout", readout, "--at", str(step)]
    return [*commands, exported]


def _decays_from(base: Mapping[str, Any], step: int, schedule: Mapping[str, Any]) -> bool:
    """Whether a schedule is another one with a decay from a position, as `--decay` makes it."""
    spelled = {"kind": Decayed.kind, "base": base, "at": f"{step} steps"}
    chosen = {"steps", "shape", "floor"}
    return schedule.keys() == spelled.keys() | chosen and spelled.items() <= schedule.items()


def stopping(command: Command, stop: float, plan: Plan) -> Command:
    """The command with the position that it stops at, which the end of a decay is without being named."""
    if isinstance(plan.schedule, Decayed) and stop == end_of(plan.schedule):
        return command
    return [*command, "--until", f"{stop} steps"]


def _needed_feeds(node: Node, plan: Plan, leave: int, below: Recipe | None) -> list[Feed]:
    """The later feeds of a node that the path saw: before the position asked for, or passed on to a branch."""
    return [
        feed
        for feed in recorded_feeds(node)
        if (plan.step_at(feed.at) < leave if below is None else feed in below.data.feeds)
    ]


def _feed_command(run: Path, node: Node, begin: int, feed: Feed) -> Command:
    where = ["--node", node.id, "--from", str(begin)]
    return [program(), "feed", str(run), feed.corpus, "--weight", repr(feed.weight), *where]
