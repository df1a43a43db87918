"""A run in memory: opened from its recipe and folder, restored to where it stopped."""

from __future__ import annotations

import platform
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, fields, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import numpy
import torch
from torch import Tensor

import riverrun
from riverrun.averaging import History, Track, parse_profile
from riverrun.data import Stream, check_same_data, data_difference
from riverrun.errors import CheckpointError
from riverrun.ranks import ALONE, Ranks
from riverrun.runs import Checkpoint, Fork, Node, RunError, Tree
from riverrun.runs.metrics import read_records
from riverrun.trackers import require_tracker
from riverrun.train.engine import Engine, settle
from riverrun.train.memory import check_memory, layout_of
from riverrun.train.optimizer import build_optimizers
from riverrun.train.parallel import new_trainee
from riverrun.train.plan import Plan, build_plan
from riverrun.train.readouts import Windows, open_windows
from riverrun.train.recipe import Averaging, Feed, Recipe, differences, parse_recipe
from riverrun.train.sources import absolute, open_sources, open_stream
from riverrun.train.state import State
from riverrun.units import Duration

Note = Callable[[str], None]


@dataclass(frozen=True)
class Origin:
    """A checkpoint that a branch begins from, and the node that it is of."""

    parent: Node
    checkpoint: Checkpoint

    @property
    def fork(self) -> Fork:
        """As the branch records it."""
        return Fork(self.parent.id, self.checkpoint.step, self.checkpoint.hash)


@dataclass(frozen=True)
class Session:
    """A run ready to train: where it lies, what it follows, and what changes."""

    node: Node
    plan: Plan
    engine: Engine
    stream: Stream
    windows: Windows
    state: State
    ranks: Ranks = ALONE


def open_session(
    recipe: Recipe, node: Node, note: Note, origin: Origin | None = None, ranks: Ranks = ALONE
) -> Session:
    """Create the node for `recipe`, or go back to the latest good checkpoint of the one that is there.

    `origin` is where a new branch forks off; None makes a trunk. `note` is told about damaged checkpoints that were
    passed over. Several `ranks` open it together; the first of them creates the node, and verifies checkpoints.
    """
    for tracker in recipe.metrics.trackers:
        ranks.once(partial(require_tracker, "metrics.trackers", tracker))
    there = ranks.once(lambda: node.exists)
    if there:
        if origin is not None and node.parent is not None:
            _check_fork(node, node.parent, origin)
        recipe = _agreed(recipe, node)
    sources = open_sources(recipe.data)
    corpus = sources[0][0]
    recipe, engine = settle(recipe, ranks)
    plan = build_plan(recipe, corpus.vocabulary)
    stream = open_stream(plan, sources, recorded_feeds(node))
    windows = open_windows(corpus, plan)
    check_memory(plan, engine, ranks)
    torch.manual_seed(recipe.seed)  # or two runs of one recipe would begin with different generators
    state = new_state(plan, engine, node.path, ranks)
    if there:
        _go_back(state, node, stream, note, ranks)
    else:
        # The node first: from then on whoever trains the parent keeps the checkpoint.
        ranks.once(lambda: node.create(_facts(recipe, stream, origin)))
        if origin is not None:
            checkpoint = origin.checkpoint
            with node.withdrawn_on_error():
                ranks.each(lambda: _begin(checkpoint, state, stream))
    return Session(node, plan, engine, stream, windows, state, ranks)


def _go_back(state: State, node: Node, stream: Stream, note: Note, ranks: Ranks) -> None:
    """To the latest good checkpoint, or to where the branch began, provided that the data is the same."""

    def warn(text: str) -> None:
        node.event("warning", text=text)
        note(text)

    # What a feed will bring was settled when it was asked for, so the future is compared as well as the past.
    check_same_data(node.data, stream.fingerprint)
    checkpoint = ranks.once(lambda: node.latest_checkpoint(warn) or Tree(node.run).origin(node))
    if checkpoint is not None:
        ranks.each(lambda: _start_from(checkpoint, state, stream))


def _begin(checkpoint: Checkpoint, state: State, stream: Stream) -> None:
    """From the checkpoint of a parent, which may have been let go since it was found."""
    try:
        _start_from(checkpoint, state, stream)
    finally:
        if not checkpoint.path.exists():
            raise CheckpointError(
                f"{checkpoint.path}: was let go meanwhile by whoever trains there; fork another with --at"
            )


def _start_from(checkpoint: Checkpoint, state: State, stream: Stream) -> None:
    manifest = checkpoint.manifest
    difference = data_difference(manifest["data"], stream.fingerprint, manifest["samples"])
    if difference:
        raise CheckpointError(f"{checkpoint.path}: was trained on other data than this run: {difference}")
    if not any(name.startswith("optimizer.") for name in checkpoint.names()):
        raise CheckpointError(
            f"{checkpoint.path}: has no optimizer state, so training cannot go on from it; take another checkpoint"
        )
    state.restore(checkpoint)


def new_state(plan: Plan, engine: Engine, folder: Path | None = None, ranks: Ranks = ALONE) -> State:
    """Position 0: weights drawn from the recipe's seed, zero moments, empty averages.

    `folder` is for the blocks of a history that is kept on a disk.
    """
    layout, recompute = layout_of(plan, engine, ranks), plan.recipe.engine.recompute
    trainee = new_trainee(plan.decoder, plan.recipe.seed, engine, ranks, layout, recompute)
    state = State(
        plan=plan,
        trainee=trainee,
        optimizers=build_optimizers(trainee.decoder, plan.recipe.optimizer),
        tracks={},
        folder=folder,
    )
    averaging = plan.recipe.averaging
    profiles = [parse_profile(spec) for spec in averaging.tracks]
    state.tracks = {profile.name: Track(state.shards, profile) for profile in profiles}
    state.history = _empty_history(averaging, state.shards, folder)
    return state


def _empty_history(averaging: Averaging, parameters: Sequence[Tensor], folder: Path | None) -> History | None:
    if averaging.history is None:
        return None
    return History(
        parameters,
        **asdict(averaging.history.layout(averaging.every)),
        dtype=getattr(torch, averaging.history.dtype),
        spill=folder if averaging.history.spill else None,
    )


def _check_fork(node: Node, recorded: Fork, asked: Origin) -> None:
    if (recorded.node, recorded.step) != (asked.parent.id, asked.checkpoint.step):
        raise RunError(f"{node.path}: another branch took the name meanwhile; call again, or give a --name")


def recorded_recipe(node: Node) -> Recipe:
    """The resolved recipe that a node was created with."""
    return parse_recipe(node.facts["recipe"])


def recorded_feeds(node: Node) -> tuple[Feed, ...]:
    """The feeds that a node was given after it was created."""
    return tuple(
        Feed(at=Duration.parse(record["at"]), corpus=record["corpus"], weight=record["weight"])
        for record in read_records(node.feeds_path)
    )


def _agreed(asked: Recipe, node: Node) -> Recipe:
    """The recorded recipe with the asked operational settings; what else differs is an error."""
    recorded = recorded_recipe(node)
    # "auto" was settled when the run was created and means the same ever after.
    engine = {
        key: getattr(recorded.engine, key)
        for key in (field.name for field in fields(asked.engine))
        if getattr(asked.engine, key) == "auto"
    }
    asked = replace(asked, engine=replace(asked.engine, **engine), data=absolute(asked.data))
    changed = differences(recorded, asked)
    if changed:
        more = f" (and {len(changed) - 1} more)" if len(changed) > 1 else ""
        way_out = (
            "A run that exists is fed with: riverrun feed"
            if changed[0].startswith("data.feeds")
            else f"Go on with the recorded recipe, or start a new run with {node.option} DIR"
        )
        raise RunError(f"{node.run}: was started with another recipe: {changed[0]}{more}. {way_out}")
    return asked


def _facts(recipe: Recipe, stream: Stream, origin: Origin | None) -> dict[str, Any]:
    return {
        "kind": "trunk" if origin is None else "branch",
        "parent": None if origin is None else asdict(origin.fork),
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "recipe": replace(recipe, data=absolute(recipe.data)).to_dict(),
        "data": stream.fingerprint,
        "versions": {
            "riverrun": riverrun.__version__,
            "torch": torch.__version__,
            "numpy": numpy.__version__,
            "python": platform.python_version(),
        },
    }
