"""A readout as a model: the weights one could ship, taken from a checkpoint."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch

from riverrun.averaging import parse_profile
from riverrun.data import Corpus, Tokenizer
from riverrun.errors import CheckpointError, CorpusError
from riverrun.models import Decoder
from riverrun.runs import Checkpoint, Node, find_checkpoint
from riverrun.train.plan import build_plan
from riverrun.train.readouts import best_readout
from riverrun.train.schedule_free import NAME as SCHEDULE_FREE
from riverrun.train.schedule_free import READOUT, solve_average
from riverrun.train.session import recorded_recipe
from riverrun.train.sources import open_sources


@dataclass(frozen=True)
class Readout:
    """A model, the corpus whose tokenizer it speaks, and where it comes from."""

    name: str
    model: Decoder
    corpus: Corpus
    checkpoint: Checkpoint

    @property
    def tokenizer(self) -> Tokenizer:
        """The corpus's."""
        return self.corpus.tokenizer


def restore_readout(
    node: Node, name: str = "best", step: int | None = None, note: Callable[[str], None] = print
) -> Readout:
    """The readout `name` ("raw", "ema-25", ..., or "best" by held-out loss) at a position, on the CPU.

    Runs of Schedule-Free AdamW have "schedule-free" too, the weights that it is about.

    Args:
        node: the run.
        name: "best" takes the one with the lowest loss at the last evaluated position up to the checkpoint.
        step: a checkpoint's position; None takes the latest that verifies.
        note: told about damaged checkpoints that were passed over.

    Raises:
        CheckpointError: no such checkpoint, or it has no such readout.
    """
    checkpoint = _checkpoint(node, step, note)
    recipe = recorded_recipe(node)
    corpus = open_sources(recipe.data)[0][0]
    if corpus.tokenizer.hash != node.facts["data"]["tokenizer"]:
        raise CorpusError(
            f"corpus {corpus.directory}: its tokenizer is not the one that {node.path} was trained with; put that "
            "corpus back"
        )
    plan = build_plan(recipe, corpus.vocabulary)
    if name == "best":
        evaluated = [record for record in node.readouts() if record["step"] <= checkpoint.step]
        name = best_readout(evaluated[-1]) if evaluated else "raw"
    tracks = [parse_profile(spec).name for spec in recipe.averaging.tracks]
    names = ["raw", *([READOUT] if recipe.optimizer.name == SCHEDULE_FREE else []), *tracks]
    if name not in names:
        raise CheckpointError(f"{checkpoint.path}: has no readout {name!r}; there are {', '.join(names)}")
    if name in tracks and not checkpoint.manifest["tracks"][name]:
        raise CheckpointError(
            f"{checkpoint.path}: {name} holds nothing yet at this position; name a later one"
        )
    model = Decoder(plan.decoder, seed=None)
    weights = {key: value.detach() for key, value in model.named_parameters()}
    prefix = f"track.{name}." if name in tracks else "model."
    checkpoint.load_some({prefix + key: value for key, value in weights.items()})
    if name == READOUT:
        iterates = {key: torch.empty_like(value) for key, value in weights.items()}
        checkpoint.load_some({f"optimizer.{key}.z": value for key, value in iterates.items()})
        averages = solve_average(weights.values(), iterates.values(), recipe.optimizer)
        for weight, average in zip(weights.values(), averages, strict=True):
            weight.copy_(average)
    return Readout(name, model.eval(), corpus, checkpoint)


def _checkpoint(node: Node, step: int | None, note: Callable[[str], None]) -> Checkpoint:
    if step is not None:
        return find_checkpoint(node, step)
    latest = node.latest_checkpoint(note)
    if latest is None:
        raise CheckpointError(f"{node.path}: has no checkpoint yet")
    return latest
