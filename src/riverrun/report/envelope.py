"""The best readout for every budget: a staircase of falling loss over rising cost."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from riverrun.report import schema
from riverrun.train.costs import Readout, by_loss

_MOST = 200
"""Stairs of a page; each has its commands with it."""


@dataclass(frozen=True)
class Bought:
    """A readout, its position in tokens, and what its whole path costs in tokens."""

    readout: Readout
    tokens: int
    cost: int

    def plain(self) -> schema.Readout:
        """As the page has it."""
        readout = self.readout
        return {
            "node": readout.node.id,
            "name": readout.name,
            "step": readout.step,
            "tokens": self.tokens,
            "cost": self.cost,
            "loss": readout.loss,
            "bits_per_byte": readout.bits_per_byte,
            "chosen_by": readout.chosen_by,
        }


def envelope(offers: Iterable[Bought]) -> list[Bought]:
    """Those that are the best at some budget, by rising cost: what `train.costs.best_within` finds, for all at once.

    Each is lower than all before it on the windows that readouts are compared by; of equals the cheapest stands.
    """
    stairs: list[Bought] = []
    for offer in sorted(offers, key=lambda offer: (offer.cost, *by_loss(offer.readout))):
        if not stairs or offer.readout.compared < stairs[-1].readout.compared:
            stairs.append(offer)
    return stairs


def shown(stairs: list[Bought], notes: list[str]) -> list[Bought]:
    """All stairs, or of very many some, evenly in their number and in the logarithm of their cost, with both ends.

    `notes` gets how many there are.
    """
    if len(stairs) <= _MOST:
        return stairs
    costs = np.log([stair.cost for stair in stairs])
    by_cost = np.searchsorted(costs, np.linspace(costs[0], costs[-1], _MOST // 2)).clip(max=len(stairs) - 1)
    by_count = np.linspace(0, len(stairs) - 1, _MOST // 2).astype(int)
    kept = np.union1d(by_cost, by_count)
    notes.append(
        f"The best readout changes at {len(stairs):,} budgets, of which {kept.size} are shown; between two of them a "
        "better one may be had: riverrun best --budget"
    )
    return [stairs[index] for index in kept]
