"""Readouts: what the raw weights and every average score on the same held-out tokens."""

from __future__ import annotations

import math
from contextlib import nullcontext
from dataclasses import dataclass

import torch

from riverrun.averaging import applied
from riverrun.data import Corpus, HeldOut, held_out
from riverrun.models import Decoder
from riverrun.runs.metrics import Record
from riverrun.train.engine import Engine
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
def evaluate(model: Decoder, held_out: HeldOut, engine: Engine) -> float:
    """Mean cross entropy over all held-out targets, in nats per token."""
    sequences = max(1, _TOKENS_AT_ONCE // model.config.context)
    total = 0.0
    with engine.arithmetic():
        for part in torch.from_numpy(held_out.tokens).split(sequences):
            part = part.to(engine.device)
            total += model.loss(part[:, :-1], part[:, 1:], reduction="sum").item()
    return total / held_out.target_count


def evaluate_all(state: State, windows: Windows, engine: Engine) -> Record:
    """The losses (`score`) of every readout of a position.

    The live weights are the raw ones again afterwards, bit for bit, also when an evaluation raises.
    """
    scores: Record = {}
    for name, values in state.weights():
        with nullcontext() if values is None else applied(state.parameters, values):
            scores |= score(state.model, name, windows, engine)
    return {key: scores[key] for key in sorted(scores, key=lambda key: key.startswith("bpb/"))}


def score(model: Decoder, name: str, windows: Windows, engine: Engine) -> Record:
    """`loss/NAME` (nats per token) and `bpb/NAME` (bits per byte) of a model as it is.

    `select/NAME` is the loss on the windows to choose by, where the recipe keeps some.
    """
    report = windows.report
    loss = evaluate(model, report, engine)
    scores: Record = {f"loss/{name}": loss}
    if windows.select is not None:
        scores[f"select/{name}"] = evaluate(model, windows.select, engine)
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
