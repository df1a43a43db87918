"""What the nodes of a tree cost, and the best readout that a budget could have bought.

A position is counted from the trunk's beginning, in every node: the tokens of a position are those of its whole path.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

from riverrun.errors import RiverrunError
from riverrun.runs import Node, RunError, Tree
from riverrun.runs.metrics import Record, read_records
from riverrun.runs.node import TRUNK
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


@dataclass(frozen=True)
class Readout:
    """One readout of a position: its node, the held-out losses of that position, its name."""

    node: Node
    record: Record
    name: str

    @property
    def step(self) -> int:
        """The position."""
        step: int = self.record["step"]
        return step

    @property
    def loss(self) -> float:
        """In nats per token, on the windows that are reported on."""
        loss: float = self.record[f"loss/{self.name}"]
        return loss

    @property
    def bits_per_byte(self) -> float:
        """The same loss per byte of text."""
        bits: float = self.record[f"bpb/{self.name}"]
        return bits

    @property
    def chosen_by(self) -> Literal["select", "loss"]:
        """What it is compared by: "select" where windows are kept to choose by, else "loss"."""
        return "select" if f"select/{self.name}" in self.record else "loss"

    @property
    def compared(self) -> float:
        """Its loss, in nats per token, on the windows that it is compared by."""
        loss: float = self.record[f"{self.chosen_by}/{self.name}"]
        return loss


@dataclass(frozen=True)
class Found:
    """The best readout within a budget.

    Attributes:
        readout: which one.
        path: the stretches that lead to it, the trunk's first; its cost is their sum, and for a merge more than its
            position.
        within: the budget in tokens, rounded up to a whole update; None for any cost.
    """

    readout: Readout
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
    """What led to a position of a node: a stretch of each node on the way, the trunk's first.

    Ways that lead to the same merge share what they have in common.
    """
    plan = recorded_plan(node)
    stretches: dict[str, tuple[int, int]] = {}
    for lineage, end in tree.lineages(node, step):
        begins = [above.parent.step if above.parent else 0 for above in lineage]
        for above, first, last in zip(lineage, begins, [*begins[1:], end], strict=True):
            stretches[above.id] = first, max(last, stretches.get(above.id, (first, last))[1])
    return tuple(
        Stretch(name, first, last, plan.tokens(last) - plan.tokens(first))
        for name, (first, last) in stretches.items()
    )


def legible(nodes: Iterable[Node], note: Callable[[str], None]) -> list[Node]:
    """The nodes whose node.json can be read; `note` is told about each other one. Nothing goes without the trunk."""
    found = []
    for node in nodes:
        try:
            recorded_recipe(node)
        except RiverrunError as error:
            if node.id == TRUNK:
                raise
            note(f"{error}; {node.id} is left out")
        else:
            found.append(node)
    return found


def best_readout_of(node: Node) -> Readout | None:
    """The lowest of all positions of a node, the earlier of equals; None before the first one."""
    return min(_readouts([node]), key=by_loss, default=None)


def best_within(tree: Tree, budget: Duration | None = None, note: Callable[[str], None] = print) -> Found:
    """The readout with the lowest held-out loss among those that cost no more than the budget.

    A budget is rounded up to a whole update, as the position that `--until` names; None takes any cost. Of equals the
    cheapest is taken.

    Args:
        tree: all nodes of it are looked at, but for those whose path to the trunk is broken.
        budget: what the whole path may cost.
        note: told which nodes those are.

    Raises:
        RunError: no readout yet, or none so cheap.
    """
    plan = recorded_plan(tree.trunk)
    limit = math.inf if budget is None else plan.step_at(budget)
    readouts = list(_readouts(_connected(tree, note)))
    if not readouts:
        raise RunError(f"{tree.path}: has no readout yet; train it further")
    affordable = [
        readout for readout in readouts if readout.step <= limit and _is_within(tree, readout, budget)
    ]
    if not affordable:
        cheapest = min(readouts, key=lambda readout: readout.step)
        raise RunError(
            f"{tree.path}: no readout costs at most {short_count(plan.tokens(int(limit)))} tokens; the cheapest is "
            f"{cheapest.node.id} at step {cheapest.step:,}, {short_count(plan.tokens(cheapest.step))} tokens. Name a "
            "larger --budget"
        )
    best = min(affordable, key=by_loss)
    return Found(
        readout=best,
        path=path(tree, best.node, best.step),
        within=None if budget is None else plan.tokens(plan.step_at(budget)),
    )


def _is_within(tree: Tree, readout: Readout, budget: Duration | None) -> bool:
    """Whether all ways to a merge together cost no more than the budget; elsewhere its position says so."""
    if budget is None or not readout.node.merged:
        return True
    plan = recorded_plan(tree.trunk)
    cost = sum(stretch.tokens for stretch in path(tree, readout.node, readout.step))
    return cost <= plan.tokens(plan.step_at(budget))


def _connected(tree: Tree, note: Callable[[str], None]) -> list[Node]:
    """The nodes whose path to the trunk is whole; one line for each cause tells which are left out."""
    found, broken = [], dict[str, list[str]]()
    for node in (*tree.nodes(), *tree.merges()):
        try:
            recorded_recipe(node)
            for lineage, _ in tree.lineages(node, 0):
                for above in lineage:
                    recorded_recipe(above)
        except RiverrunError as error:
            broken.setdefault(str(error), []).append(node.id)
        else:
            found.append(node)
    for cause, names in broken.items():
        note(f"{cause}; left out: {', '.join(names)}")
    return found


def _readouts(nodes: Iterable[Node]) -> Iterator[Readout]:
    """Every readout of some nodes whose loss is a number, averages that were made after the fact among them."""
    for node in nodes:
        yield from readouts_in(node, (*node.readouts(), *node.averages()))


def readouts_in(node: Node, records: Iterable[Record]) -> Iterator[Readout]:
    """Every readout in records of a node whose loss is a number."""
    for record in records:
        for name in readout_names(record):
            readout = Readout(node, record, name)
            if not math.isnan(readout.compared):
                yield readout


def by_loss(readout: Readout) -> tuple[float, int]:
    """Sorts readouts: the lowest loss first, of equals the earliest."""
    return readout.compared, readout.step
