"""A run in memory: opened from its recipe and folder, restored to where it stopped."""

from __future__ import annotations

import platform
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy
import torch

import riverrun
from riverrun.averaging import Track, parse_profile
from riverrun.data import Corpus, HeldOut, Segment, Stream, bundled_corpus, check_same_data, held_out
from riverrun.errors import CheckpointError
from riverrun.models import Decoder
from riverrun.runs import Node, RunError
from riverrun.train.engine import Engine, settle
from riverrun.train.memory import check_memory
from riverrun.train.optimizer import build_optimizers
from riverrun.train.plan import Plan, build_plan
from riverrun.train.recipe import Data, Recipe, differences, parse_recipe
from riverrun.train.state import State

Note = Callable[[str], None]


@dataclass(frozen=True)
class Session:
    """A run ready to train: where it lies, what it follows, and what changes."""

    node: Node
    plan: Plan
    engine: Engine
    stream: Stream
    held_out: HeldOut
    state: State


def open_session(recipe: Recipe, node: Node, note: Note) -> Session:
    """Create the node for `recipe`, or go back to the latest good checkpoint of the one that is there.

    `note` is told about damaged checkpoints that were passed over.
    """
    if node.exists:
        recipe = _agreed(recipe, node)
    sources = open_sources(recipe.data)
    corpus = sources[0][0]
    recipe, engine = settle(recipe)
    plan = build_plan(recipe, corpus.vocabulary)
    stream = Stream([Segment(0, sources)], plan.decoder.context, recipe.seed, plan.sizes)
    windows = held_out(corpus, "validation", plan.decoder.context, recipe.readouts.sequences)
    check_memory(plan, engine)
    torch.manual_seed(recipe.seed)  # or two runs of one recipe would begin with different generators
    state = new_state(plan, engine)
    if node.exists:
        _go_back(state, node, stream, note)
    else:
        node.create(_facts(recipe, stream))
    return Session(node, plan, engine, stream, windows, state)


def _go_back(state: State, node: Node, stream: Stream, note: Note) -> None:
    """To the latest good checkpoint, if there is one, provided that the data is the same."""

    def warn(text: str) -> None:
        node.event("warning", text=text)
        note(text)

    checkpoint = node.latest_checkpoint(warn)
    consumed = checkpoint.manifest["samples"] if checkpoint else 0
    # Nothing consumed yet would let any data pass, and the next resume would refuse it.
    check_same_data(node.facts["data"], stream.fingerprint, max(consumed, 1))
    if checkpoint and checkpoint.manifest["data"] != node.facts["data"]["hash"]:
        raise CheckpointError(
            f"{checkpoint.path}: was trained on other data than this run; it was copied from another"
        )
    if checkpoint is not None:
        state.restore(checkpoint)


def new_state(plan: Plan, engine: Engine) -> State:
    """Position 0: weights drawn from the recipe's seed, zero moments, empty averages."""
    model = Decoder(plan.decoder, seed=plan.recipe.seed).to(engine.device)
    parameters = list(model.parameters())
    profiles = [parse_profile(spec) for spec in plan.recipe.averaging.tracks]
    state = State(
        plan=plan,
        model=model,
        optimizers=build_optimizers(model, plan.recipe.optimizer),
        tracks={profile.name: Track(parameters, profile) for profile in profiles},
    )
    if engine.compile:
        model.compile()
    return state


def open_sources(data: Data) -> tuple[tuple[Corpus, float], ...]:
    """The corpora of a recipe with their weights; the first one gives the tokenizer and the held-out text."""
    return tuple(
        (bundled_corpus() if source.corpus == "bundled" else Corpus.open(Path(source.corpus)), source.weight)
        for source in data.sources
    )


def recorded_recipe(node: Node) -> Recipe:
    """The resolved recipe that a node was created with."""
    return parse_recipe(node.facts["recipe"])


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
        raise RunError(
            f"{node.path.parent}: was started with another recipe: {changed[0]}{more}. Go on with the recorded "
            "recipe, or start a new run with --run DIR"
        )
    return asked


def absolute(data: Data) -> Data:
    """Corpus paths made absolute, so that a run can be resumed from any working directory."""

    def path(corpus: str) -> str:
        return corpus if corpus == "bundled" else str(Path(corpus).resolve())

    if isinstance(data.corpus, str):
        return Data(corpus=path(data.corpus))
    return Data(corpus=tuple(replace(source, corpus=path(source.corpus)) for source in data.corpus))


def _facts(recipe: Recipe, stream: Stream) -> dict[str, Any]:
    return {
        "kind": "trunk",
        "parent": None,
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
