"""What `branch` prints before and after: what is forked, what the decay gained, what to try next."""

from __future__ import annotations

import math
import shlex
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Console

from riverrun.cli.page import print_page
from riverrun.cli.summary import print_whole, readout_table, twice
from riverrun.runs import RunError, Tree
from riverrun.runs.metrics import Record
from riverrun.train import Outcome, Plan, Shown
from riverrun.train.branch import Branch
from riverrun.train.branch_course import undecayed
from riverrun.train.commands import Command, branch_command, program, stopping
from riverrun.train.readouts import best_readout
from riverrun.train.schedule_words import described
from riverrun.train.session import recorded_recipe
from riverrun.units import short_count


class Announced(Shown):
    """Says what is forked from where once training begins: by then everything was checked."""

    def __init__(self, console: Console, branch: Branch):
        super().__init__(console)
        self._branch = branch

    def opening(self, plan: Plan, step: int, stop: float) -> str:
        """What is forked, with which learning rate, and how far it is trained."""
        branch, fork = self._branch, self._branch.origin.fork
        peak = branch.recipe.optimizer.peak_lr
        other = f", peak {peak:g}" if peak != recorded_recipe(branch.origin.parent).optimizer.peak_lr else ""
        goes_on = f" from step {step:,}" if step > fork.step else ""
        goal = "until interrupted" if stop == math.inf else f"to step {int(stop):,}"
        return (
            f"{branch.node.id}: from {fork.node} at step {fork.step:,}, learning rate: {described(plan)}{other}; "
            f"trained{goes_on} {goal}"
        )


def summary(run: Path, branch: Branch, outcome: Outcome) -> dict[str, Any]:
    """The readouts beside those at the fork, as plain data."""
    readouts = outcome.node.readouts()
    fork = branch.origin.fork
    return {
        "run": str(run),
        "node": outcome.node.id,
        "fork": asdict(fork),
        "step": outcome.step,
        "end": branch.end,
        "tokens": outcome.tokens,
        "own_tokens": outcome.tokens - outcome.plan.tokens(fork.step),
        "before": _before(branch),
        "readouts": readouts,
        "best": best_readout(readouts[-1]) if readouts else None,
    }


def print_summary(
    console: Console, run: Path, branch: Branch, outcome: Outcome, until: str | None = None
) -> None:
    """The losses at the fork and since, what they say, where the branch lies, what to try next."""
    readouts, before = outcome.node.readouts(), _before(branch)
    if readouts:
        rows = [*([before] if before else []), *readouts]
        print_whole(console, readout_table(rows, outcome.plan.tokens_per_x))
        console.print(f"\n{_sentence(branch, before, readouts[-1])}\n", soft_wrap=True)
    saved = ", ".join(f"{checkpoint.step:,}" for checkpoint in outcome.node.checkpoints()) or "none yet"
    console.print(f"Saved in {outcome.node.path}: checkpoints of step {saved}.", soft_wrap=True, markup=False)
    if outcome.exit_code:
        console.print(f"Interrupted at step {outcome.step:,}; this goes on from there:")
        commands = [_again(run, branch, until)]
    else:
        print_page(console, run)
        commands = _next(run, branch, outcome)
        go_on = ", or go on; nothing so far will change" if len(commands) > 1 else ""
        console.print(f"Next, take this model with you{go_on}:")
    for command in commands:
        console.print(f"  {shlex.join(command)}", soft_wrap=True, markup=False)


def _before(branch: Branch) -> Record | None:
    """The readouts at the fork; where it was not evaluated, the last ones before it on the way there."""
    parent, step = branch.origin.parent, branch.origin.checkpoint.step
    try:
        lineage = Tree(parent.run).lineage(parent)
    except RunError:  # a node on the way is gone, and what it recorded
        return None
    for node in reversed(lineage):
        evaluated = [record for record in node.readouts() if record["step"] <= step]
        if evaluated:
            return evaluated[-1]
        if node.parent is not None:  # what the nodes above did after the way left them does not count
            step = min(step, node.parent.step)
    return None


def _sentence(branch: Branch, before: Record | None, last: Record) -> str:
    best = best_readout(last)
    loss: float = last[f"loss/{best}"]
    now = (
        f"At step {last['step']:,} the best model of {branch.node.id} is {best}, at {loss:.4f} nats per token"
    )
    if before is None:
        return f"{now}."
    then = best_readout(before)
    gain = before[f"loss/{then}"] - loss
    fork = branch.origin.fork
    where = f"at the fork ({then})"
    if before["step"] != fork.step:
        where = f"before the fork ({then} at step {before['step']:,})"
    more = short_count(last["tokens"] - before["tokens"])
    return (
        f"{now}: {abs(gain):.4f} {'better' if gain >= 0 else 'worse'} than the best {where}, for {more} more "
        "tokens."
    )


def _again(run: Path, branch: Branch, until: str | None) -> Command:
    command = branch_command(
        run, branch.node, branch.recipe, branch.origin.parent, branch.origin.checkpoint.step
    )
    if until:
        return [*command, "--until", until]
    return command if branch.end is None else stopping(command, branch.end, branch.plan)


def _next(run: Path, branch: Branch, outcome: Outcome) -> list[Command]:
    export = [program(), "export", str(run), "--node", branch.node.id]
    onward = [program(), "branch", str(run), "--from", branch.node.id]
    if branch.end is not None and outcome.step < branch.end:
        return [export, _again(run, branch, None)]
    schedule = branch.recipe.schedule
    if branch.end is not None and schedule == undecayed(schedule):  # there is no peak to go back to
        return [export]
    if branch.end is not None:
        return [export, [*onward, "--decay", "none", "--until", twice(outcome)]]
    return [export, onward, _again(run, branch, twice(outcome))]
