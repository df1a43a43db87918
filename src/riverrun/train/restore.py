"""A readout as a model: the weights one could ship, taken from a checkpoint."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from riverrun.averaging import Profile, parse_profile, profile_named
from riverrun.data import Corpus, Tokenizer
from riverrun.errors import CheckpointError, CorpusError
from riverrun.models import Decoder, load_pretrained
from riverrun.runs import Checkpoint, Node, find_checkpoint
from riverrun.train.averages import averages
from riverrun.train.plan import Plan, build_plan
from riverrun.train.readouts import best_readout
from riverrun.train.recipe import Recipe
from riverrun.train.schedule_free import NAME as SCHEDULE_FREE
from riverrun.train.schedule_free import READOUT, solve_average
from riverrun.train.session import recorded_recipe
from riverrun.train.sources import open_sources

MERGED = "merged"
"""The one readout of a merge."""


@dataclass(frozen=True)
class Readout:
    """A model, the corpus whose tokenizer it speaks, its position, and the checkpoint it is from, but for a merge."""

    name: str
    model: Decoder
    corpus: Corpus
    step: int
    checkpoint: Checkpoint | None

    @property
    def tokenizer(self) -> Tokenizer:
        """The corpus's."""
        return self.corpus.tokenizer


def restore_readout(
    node: Node, name: str = "best", step: int | None = None, note: Callable[[str], None] = print
) -> Readout:
    """The readout `name` ("raw", "ema-25", ..., or "best" by held-out loss) at a position, on the CPU.

    Runs of Schedule-Free AdamW have "schedule-free" too, the weights that it is about. Where the run keeps a history,
    any profile is a readout: "tail-0.2" or "tail:0.2", at any position. A merge has one readout, "merged".

    Args:
        node: the run.
        name: "best" takes the one with the lowest loss at the last evaluated position up to the checkpoint.
        step: a checkpoint's position; None takes the latest that verifies.
        note: told about damaged checkpoints that were passed over.

    Raises:
        CheckpointError: no such checkpoint, or it has no such readout.
    """
    recipe, corpus, plan = open_recorded(node)
    if node.merged:
        return Readout(MERGED, _merged_model(node, plan, name, step), corpus, node.merged[-1].step, None)
    # A track lies in the checkpoints; between them it is made as any average is.
    between = step is not None and all(saved.step != step for saved in node.checkpoints())
    profile = None if name in _kept(recipe) and not between else _profile(name)
    if profile is not None:
        step = latest_step(node, note) if step is None else step
        [average] = averages(node, [profile], step, shapes_of(plan), note=note)
        model = model_of(plan, average.weights)
        return Readout(profile.name, model, corpus, average.step, average.checkpoint)
    checkpoint = find_checkpoint(node, latest_step(node, note) if step is None else step)
    if name == "best":
        evaluated = [record for record in node.readouts() if record["step"] <= checkpoint.step]
        name = best_readout(evaluated[-1]) if evaluated else "raw"
    if name not in _kept(recipe):
        raise CheckpointError(
            f"{checkpoint.path}: has no readout {name!r}; there are {', '.join(_kept(recipe))}, and with a history any "
            "profile, such as tail:0.2"
        )
    return Readout(name, _kept_model(plan, checkpoint, name), corpus, checkpoint.step, checkpoint)


def open_recorded(node: Node) -> tuple[Recipe, Corpus, Plan]:
    """The recipe that a node was created with, the corpus whose tokenizer it speaks, and the plan of both.

    Raises:
        CorpusError: the corpus is gone, or is another one.
    """
    recipe = recorded_recipe(node)
    corpus = open_sources(recipe.data)[0][0]
    if corpus.tokenizer.hash != node.facts["data"]["tokenizer"]:
        raise CorpusError(
            f"corpus {corpus.directory}: its tokenizer is not the one that {node.path} was trained with; put that "
            "corpus back"
        )
    return recipe, corpus, build_plan(recipe, corpus.vocabulary)


def latest_step(node: Node, note: Callable[[str], None]) -> int:
    """The position of the latest checkpoint that verifies."""
    latest = node.latest_checkpoint(note)
    if latest is None:
        raise CheckpointError(f"{node.path}: has no checkpoint yet")
    return latest.step


def shapes_of(plan: Plan) -> dict[str, torch.Size]:
    """The parameters of a plan's model: name -> shape."""
    with torch.device("meta"):
        return {name: weight.shape for name, weight in Decoder(plan.decoder, seed=None).named_parameters()}


def model_of(plan: Plan, weights: Mapping[str, Tensor]) -> Decoder:
    """A model with these weights."""
    model = Decoder(plan.decoder, seed=None)
    for name, weight in model.named_parameters():
        weight.data.copy_(weights[name])
    return model.eval()


def _merged_model(node: Node, plan: Plan, name: str, step: int | None) -> Decoder:
    position = node.merged[-1].step
    if name not in ("best", MERGED) or step not in (None, position):
        raise CheckpointError(
            f"{node.path}: is a merge, and holds one model: --readout {MERGED}, --at {position}"
        )
    config, model = load_pretrained(node.model_path)
    if config.rows != plan.decoder.rows:
        raise CheckpointError(f"{node.model_path}: is not the model of {node.path}; merge it again")
    return model.eval()


def _kept(recipe: Recipe) -> list[str]:
    """The readouts that every checkpoint of a run has."""
    tracks = [parse_profile(spec).name for spec in recipe.averaging.tracks]
    return ["raw", *([READOUT] if recipe.optimizer.name == SCHEDULE_FREE else []), *tracks]


def _profile(name: str) -> Profile | None:
    """The profile of a name or a spec; None for what is neither."""
    try:
        return profile_named(name) or parse_profile(name)
    except ValueError:
        return None


def _kept_model(plan: Plan, checkpoint: Checkpoint, name: str) -> Decoder:
    tracks = checkpoint.manifest["tracks"]
    if name in tracks and not tracks[name]:
        raise CheckpointError(
            f"{checkpoint.path}: {name} holds nothing yet at this position; name a later one"
        )
    weights = {key: torch.empty(shape) for key, shape in shapes_of(plan).items()}
    prefix = f"track.{name}." if name in tracks else "model."
    checkpoint.load_some({prefix + key: value for key, value in weights.items()})
    if name == READOUT:
        iterates = {key: torch.empty_like(value) for key, value in weights.items()}
        checkpoint.load_some({f"optimizer.{key}.z": value for key, value in iterates.items()})
        solved = solve_average(weights.values(), iterates.values(), plan.recipe.optimizer)
        weights = dict(zip(weights, solved, strict=True))
    return model_of(plan, weights)
