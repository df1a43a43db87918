"""Everything that the page says of a tree, read from its files."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import UTC, datetime

import riverrun
from riverrun.errors import RiverrunError
from riverrun.report import schema
from riverrun.report.answer import answer, reproduce
from riverrun.report.comparison import comparison
from riverrun.report.curves import points_of_a_curve
from riverrun.report.envelope import Bought, envelope, shown
from riverrun.report.forecast import forecast
from riverrun.report.gains import gains
from riverrun.report.nodes import node_facts
from riverrun.report.reading import Read, read_node
from riverrun.report.sweeps import sweeps
from riverrun.runs import Node, Tree
from riverrun.runs.node import TRUNK
from riverrun.train.costs import by_loss, path


def page_facts(tree: Tree, *, live: bool = False, note: Callable[[str], None] | None = None) -> schema.Page:
    """All that the page shows, as plain data whose numbers are finite or None.

    Args:
        tree: may be in training meanwhile.
        live: whether the page is to ask for news.
        note: told about each thing that is left out, as the page's own notes are.

    Raises:
        RunError: the trunk cannot be read. Other nodes that cannot are left out, with a note.
    """
    notes: list[str] = []
    reads = {read.node.id: read for read in _legible((*tree.nodes(), *tree.merges()), notes)}
    offers = {name: _offers(tree, read, notes) for name, read in reads.items()}
    stairs = envelope(offer for offered in offers.values() for offer in offered)
    points = points_of_a_curve(list(reads.values()))
    nodes = [
        node_facts(
            read,
            reads,
            min(offers[name], key=lambda offer: by_loss(offer.readout), default=None),
            points,
            notes,
        )
        for name, read in reads.items()
    ]
    page: schema.Page = {
        "run": tree.path.resolve().name,
        "riverrun": riverrun.__version__,
        "written": datetime.now(UTC).isoformat(timespec="seconds"),
        "live": live,
        "tokens_per_x": float(reads[TRUNK].plan.tokens_per_x),
        "answer": answer(tree, stairs[-1]) if stairs else None,
        "envelope": [
            {"readout": stair.plain(), "reproduce": reproduce(tree, stair.readout)}
            for stair in shown(stairs, notes)
        ],
        "nodes": nodes,
        "gains": gains(reads, notes),
        "sweeps": sweeps(reads.values()),
        "forecast": forecast(tree, reads, notes),
        "comparison": comparison(tree),
        "notes": notes,
    }
    if note is not None:
        for text in notes:
            note(text)
    return page


def _legible(nodes: Iterable[Node], notes: list[str]) -> list[Read]:
    found = []
    for node in nodes:
        try:
            found.append(read_node(node))
        except RiverrunError as error:
            if node.id == TRUNK:
                raise
            notes.append(f"{error}; {node.id} is left out")
        except (OSError, ValueError, KeyError, TypeError) as error:
            notes.append(f"{node.path}: cannot be read ({error!r}); {node.id} is left out")
    return found


def _offers(tree: Tree, read: Read, notes: list[str]) -> list[Bought]:
    """The readouts of a node with what they cost; none where the path to the trunk is broken."""
    try:
        tree.lineages(read.node, 0)
        if read.node.merged:
            cost = sum(stretch.tokens for stretch in path(tree, read.node, read.step))
            return [Bought(one, read.plan.tokens(one.step), cost) for one in read.readouts]
    except RiverrunError as error:
        notes.append(f"{error}; {read.node.id} is not compared with others")
        return []
    tokens = [read.plan.tokens(one.step) for one in read.readouts]
    return [Bought(one, spent, spent) for one, spent in zip(read.readouts, tokens, strict=True)]
