"""Readouts: what the raw weights and every average score on the same held-out tokens."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch

from riverrun.averaging import Track, applied
from riverrun.data import HeldOut
from riverrun.models import Decoder
from riverrun.runs.metrics import Record
from riverrun.train.engine import Engine

# Tokens a forward pass; small enough for any device, large enough to keep one busy.
_TOKENS_AT_ONCE = 8192


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


def evaluate_all(model: Decoder, tracks: Mapping[str, Track], held_out: HeldOut, engine: Engine) -> Record:
    """`loss/NAME` (nats per token) and `bpb/NAME` (bits per byte) for "raw" and each track.

    The live weights are the raw ones again afterwards, bit for bit, also when an evaluation raises.
    """
    losses = {"raw": evaluate(model, held_out, engine)}
    parameters = list(model.parameters())
    for name, track in tracks.items():
        if track.step:  # updated every k steps, it may hold nothing yet
            with applied(parameters, track.average):
                losses[name] = evaluate(model, held_out, engine)
    bits_per_nat = held_out.target_count / (math.log(2) * held_out.byte_count)
    record: Record = {f"loss/{name}": loss for name, loss in losses.items()}
    return record | {f"bpb/{name}": loss * bits_per_nat for name, loss in losses.items()}


def readout_names(record: Record) -> list[str]:
    """Names of the readouts in a record, "raw" first."""
    return [key.removeprefix("loss/") for key in record if key.startswith("loss/") and key != "loss/train"]


def best_readout(record: Record) -> str:
    """The name with the lowest held-out loss; "raw" where none is a number."""

    def loss(name: str) -> float:
        found: float = record[f"loss/{name}"]
        return math.inf if math.isnan(found) else found

    return min(readout_names(record), key=loss)
