"""Readouts: what the raw weights and every average score on the same held-out tokens."""

from __future__ import annotations

import math
from contextlib import nullcontext
from dataclasses import dataclass

import torch
from torch import nn

from riverrun.averaging import applied
from riverrun.data import Corpus, HeldOut, held_out
from riverrun.models import Decoder
from riverrun.models.objective import Objective
from riverrun.ranks import ALONE, Ranks
from riverrun.runs.metrics import Record
from riverrun.train.engine import Engine
from riverrun.train.passes import passes
from riverrun.train.plan import Plan
from riverrun.train.state import State

# Tokens a forward pass; small enough for any device, large enough to keep one busy.
_TOKENS_AT_ONCE = 8192


@dataclass(frozen=True)
class Windows:
    """Held-out text: what losses are reported on, and apart from it what settings are chosen by, if asked for."""

    report: HeldOut
    select: HeldOut | None


def open_windows(corpus: Corpus, plan: Plan) -> Windows:
    """The windows that a recipe asks for; those to choose by are disjoint from those to report on."""
    settings, context = plan.recipe.readouts, plan.decoder.context
    if not settings.select:
        return Windows(held_out(corpus, "validation", context, settings.sequences), None)
    return Windows(
        report=held_out(corpus, "validation", context, settings.sequences, part=1, parts=2),
        select=held_out(corpus, "validation", context, settings.select, part=0, parts=2),
    )


@torch.no_grad()
def evaluate(model: nn.Module, held_out: HeldOut, engine: Engine, ranks: Ranks = ALONE) -> float:
    """Mean cross entropy over all held-out targets, in nats per token; each of the ranks takes a share of them.

    `model` is a decoder, or the objective that one is trained by.
    """
    objective = Objective(model) if isinstance(model, Decoder) else model
    windows, length = held_out.tokens.shape
    sequences = max(1, _TOKENS_AT_ONCE // (length - 1))
    tokens = torch.from_numpy(held_out.tokens[ranks.share(windows)])
    total = 0.0
    with engine.arithmetic():
        for part, counts in passes(tokens, sequences, ranks.largest_share(windows)):
            part = part.to(engine.device)
            loss = objective(part[:, :-1], part[:, 1:]).item()
            total += loss if counts else 0.0
    return ranks.sum([total])[0] / held_out.target_count


def evaluate_all(state: State, windows: Windows, engine: Engine, ranks: Ranks = ALONE) -> Record:
    """The losses (`score`) of every readout of a position.

    The live weights are the raw ones again afterwards, bit for bit, also when an evaluation raises.
    """
    scores: Record = {}
    for name, values in state.weights():
        with nullcontext() if values is None else applied(state.shards, values):
            state.trainee.weights_changed()
            scores |= score(state.trainee.objective, name, windows, engine, ranks)
    state.trainee.weights_changed()
    return {key: scores[key] for key in sorted(scores, key=lambda key: key.startswith("bpb/"))}


def score(model: nn.Module, name: str, windows: Windows, engine: Engine, ranks: Ranks = ALONE) -> Record:
    """`loss/NAME` (nats per token) and `bpb/NAME` (bits per byte) of a model as it is.

    `select/NAME` is the loss on the windows to choose by, where the recipe keeps some.
    """
    report = windows.report
    loss = evaluate(model, report, engine, ranks)
    scores: Record = {f"loss/{name}": loss}
    if windows.select is not None:
        scores[f"select/{name}"] = evaluate(model, windows.select, engine, ranks)
    return scores | {f"bpb/{name}": loss * report.target_count / (math.log(2) * report.byte_count)}


def readout_names(record: Record) -> list[str]:
    """Names of the readouts in a record, "raw" first."""
    return [key.removeprefix("loss/") for key in record if key.startswith("loss/") and key != "loss/train"]


def best_readout(record: Record) -> str:
    """The name with the lowest held-out loss; "raw" where none is a number.

    Where the recipe keeps windows to choose by, it is their loss that counts.
    """

    def loss(name: str) -> float:
        found: float = record[f"select/{name}" if f"select/{name}" in record else f"loss/{name}"]
        return math.inf if math.isnan(found) else found

    return min(readout_names(record), key=loss)
