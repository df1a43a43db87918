"""One run of a comparison, trained in whatever process it was given to; the tree on disk is all that is shared."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

from riverrun.compare.runs import Run
from riverrun.ranks import Ranks
from riverrun.runs import BusyError, Node, RunError, Tree, find_checkpoint
from riverrun.train.progress import Quiet
from riverrun.train.session import Origin, Session, open_session, recorded_recipe
from riverrun.train.signals import StopSignals
from riverrun.train.stretch import Outcome, train_stretch

# A process that was killed with its children leaves them up to a second or two to save and go.
_PATIENCE = 60.0


def node_of(folder: Path, run: Run) -> Node:
    """Where a run lies."""
    tree = Tree(folder / run.tree)
    return tree.trunk if run.parent is None else tree.branch(run.node)


def is_done(folder: Path, run: Run) -> bool:
    """Whether a run was evaluated at every position that it is for, and what branches from it is saved."""
    node = node_of(folder, run)
    if not node.exists:
        return False
    forks = {int(at.amount) for at in run.recipe.checkpoints.at}
    saved = {checkpoint.step for checkpoint in node.checkpoints()}
    return set(run.stops) <= _evaluated(node) and forks <= saved


def _evaluated(node: Node) -> set[int]:
    """The positions that were evaluated and are no further than the latest checkpoint: others are gone over again."""
    reached = max((checkpoint.step for checkpoint in node.checkpoints()), default=0)
    return {record["step"] for record in node.readouts() if record["step"] <= reached}


def train_run(folder: Path, run: Run) -> int:
    """Begin a run, or go on with it, to its end; 0, or 128 + the number of the signal that ended it before.

    Raises:
        RiverrunError: whatever kept it from its end.
    """
    node, recipe, origin = node_of(folder, run), run.recipe, None
    tree = Tree(node.run)
    if run.parent is not None:
        parent = tree.node(run.parent)
        # What "auto" means was settled for the trunk.
        recipe = replace(recipe, engine=recorded_recipe(parent).engine)
        if not node.exists:
            origin = Origin(parent, find_checkpoint(parent, run.fork))

    def opened(ranks: Ranks) -> Session:
        return open_session(recipe, node, lambda text: None, None if node.exists else origin, ranks)

    evaluated = _evaluated(node) if node.exists else set()
    with StopSignals() as signals:  # also between two stretches
        for stop in run.stops:
            signals.agree(signals.wishes)
            if signals.agreed is not None:
                return signals.exit_code
            if stop in evaluated:
                continue
            stretch = partial(train_stretch, node, opened, partial(_position, stop), Quiet())
            outcome = _once_free(partial(stretch, recipe.engine.patience))
            if outcome.exit_code:
                return outcome.exit_code
    if not is_done(folder, run):
        raise RunError(
            f"{node.path}: went past a position that the plan evaluates or branches from, before the plan said so; "
            "compare into another folder with --out, or remove that run"
        )
    return 0


def _position(stop: int, session: Session) -> float:
    return stop


def _once_free(train: Callable[[], Outcome]) -> Outcome:
    deadline = time.monotonic() + _PATIENCE
    while True:
        try:
            return train()
        except BusyError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.2)
