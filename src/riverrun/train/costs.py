"""What the nodes of a tree cost, and the best readout that a budget could have bought.

A position is counted from the trunk's beginning, in every node: the tokens of a position are those of its whole path.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from riverrun.runs import Node, RunError, Tree
from riverrun.runs.metrics import Record, read_records
from riverrun.train.plan import Plan, build_plan
from riverrun.train.readouts import readout_names
from riverrun.train.session import recorded_recipe
from riverrun.units import Duration, short_count


@dataclass(frozen=True)
class Stretch:
    """A part of a path: what one node trained, from a position to a position."""

    node: str
    first: int
    last: int
    tokens: int


@dataclass(frozen=True, kw_only=True)
class Found:
    """The best readout within a budget.

    Attributes:
        node, readout, step: which one.
        record: the held-out losses of that position.
        chosen_by: "select" where windows are kept to choose by, else "loss".
        path: the stretches that lead to it, the trunk's first; its cost is their sum.
        within: the budget in tokens, rounded up to a whole update; None for any cost.
    """

    node: Node
    readout: str
    step: int
    record: Record
    chosen_by: Literal["select", "loss"]
    path: tuple[Stretch, ...]
    within: int | None

    @property
    def tokens(self) -> int:
        """What it costs."""
        return sum(stretch.tokens for stretch in self.path)


def recorded_plan(node: Node) -> Plan:
    """The plan of a node, for positions and tokens. Its corpora need not be at hand."""
    # How large the vocabulary is changes no position: 1x counts the parameters without embeddings.
    return build_plan(recorded_recipe(node), vocabulary=1)


def reached(node: Node) -> int:
    """The position that a node stands at, by its checkpoints and its record."""
    saved = [checkpoint.step for checkpoint in node.checkpoints()]
    noted = [record["step"] for record in read_records(node.metrics_path)[-1:]]
    fork = [node.parent.step] if node.parent else []
    return max([*saved, *noted, *fork], default=0)


def path(tree: Tree, node: Node, step: int) -> tuple[Stretch, ...]:
    """What led to a position of a node: a stretch of each node on the way, the trunk's first."""
    plan = recorded_plan(node)
    lineage = tree.lineage(node)
    begins = [above.parent.step if above.parent else 0 for above in lineage]
    return tuple(
        Stretch(above.id, first, last, plan.tokens(last) - plan.tokens(first))
        for above, first, last in zip(lineage, begins, [*begins[1:], step], strict=True)
    )


def best_within(tree: Tree, budget: Duration | None = None) -> Found:
    """The readout with the lowest held-out loss among those that cost no more than the budget.

    A budget is rounded up to a whole update, as the position that `--until` names; None takes any cost. Of equals the
    cheapest is taken.

    Raises:
        RunError: no readout yet, or none so cheap.
    """
    plan = recorded_plan(tree.trunk)
    limit = math.inf if budget is None else plan.step_at(budget)
    chosen_by: Literal["select", "loss"] = "select" if plan.recipe.readouts.select else "loss"
    readouts = list(_readouts(tree, chosen_by))
    if not readouts:
        raise RunError(f"{tree.path}: has no readout yet; train it further")
    affordable = [found for found in readouts if found[1]["step"] <= limit]
    if not affordable:
        node, record, _ = min(readouts, key=lambda found: found[1]["step"])
        raise RunError(
            f"{tree.path}: no readout costs at most {budget}; the cheapest is {node.id} at step {record['step']:,}, "
            f"{short_count(record['tokens'])} tokens. Name a larger --budget"
        )
    node, record, name = min(
        affordable, key=lambda found: (found[1][f"{chosen_by}/{found[2]}"], found[1]["step"])
    )
    return Found(
        node=node,
        readout=name,
        step=record["step"],
        record=record,
        chosen_by=chosen_by,
        path=path(tree, node, record["step"]),
        within=None if budget is None else plan.tokens(plan.step_at(budget)),
    )


def _readouts(tree: Tree, chosen_by: str) -> Iterator[tuple[Node, Record, str]]:
    """Every readout of every node whose loss is a number."""
    for node in tree.nodes():
        for record in node.readouts():
            for name in readout_names(record):
                if not math.isnan(record[f"{chosen_by}/{name}"]):
                    yield node, record, name
