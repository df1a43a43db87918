"""Everything that the page says of a tree, read from its files."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

import riverrun
from riverrun.errors import RiverrunError
from riverrun.report import schema
from riverrun.report.answer import answer, reproduce
from riverrun.report.comparison import comparison
from riverrun.report.curves import points_of_a_curve
from riverrun.report.envelope import Bought, envelope, shown
from riverrun.report.forecast import forecast_of_trunk
from riverrun.report.gains import gains
from riverrun.report.nodes import node_facts
from riverrun.report.reading import Read, read_node
from riverrun.report.sweeps import sweeps
from riverrun.runs import Node, RunError, Tree
from riverrun.runs.node import TRUNK
from riverrun.train.commands import program
from riverrun.train.costs import by_loss, path
from riverrun.train.session import recorded_recipe


def page_facts(
    tree: Tree, *, live: bool = False, forecast: bool = True, note: Callable[[str], None] | None = None
) -> schema.Page:
    """All that the page shows, as plain data whose numbers are finite or None.

    Args:
        tree: may be in training meanwhile.
        live: whether the page is to ask for news.
        forecast: whether a law is fitted, which takes a while for long runs.
        note: told about each thing that is left out, as the page's own notes are.

    Raises:
        RunError: the trunk cannot be read. Other nodes that cannot are left out, with a note.
    """
    notes: list[str] = []
    reads: dict[str, Read] = {}
    for node in (*tree.nodes(), *tree.merges()):
        with _left_out_if_unreadable(node, notes):
            reads[node.id] = read_node(node)
    offers = {name: _offers(tree, read, notes) for name, read in reads.items()}
    points = points_of_a_curve(list(reads.values()))
    nodes: list[schema.Node] = []
    swept: list[schema.Sweep] = []
    for name, read in reads.items():
        best = min(offers[name], key=lambda offer: by_loss(offer.readout), default=None)
        with _left_out_if_unreadable(read.node, notes):
            found, averages = node_facts(read, reads, best, points, notes), sweeps(read)
            nodes.append(found)
            swept += averages
    reads = {node["id"]: reads[node["id"]] for node in nodes}
    if not forecast:
        command = shlex.join([program(), "report", str(tree.path)])
        notes.append(f"No forecast: the fit takes a while, and is left to {command}")
    stairs = envelope(offer for name in reads for offer in offers[name])
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
        "sweeps": swept,
        "forecast": forecast_of_trunk(tree, reads, notes) if forecast else None,
        "comparison": comparison(tree),
        "notes": notes,
    }
    if note is not None:
        for text in notes:
            note(text)
    return page


@contextmanager
def _left_out_if_unreadable(node: Node, notes: list[str]) -> Iterator[None]:
    """Note a node that cannot be read, whatever of it; nothing goes without the trunk."""
    try:
        yield
    except (RiverrunError, OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        text = str(error) if isinstance(error, RiverrunError) else f"{node.path}: cannot be read ({error!r})"
        if node.id == TRUNK:
            raise RunError(text) from error
        notes.append(f"{text}; {node.id} is left out")


def _offers(tree: Tree, read: Read, notes: list[str]) -> list[Bought]:
    """The readouts of a node with what they cost; none where the path to the trunk is broken."""
    try:
        for lineage, _ in tree.lineages(read.node, 0):
            for above in lineage:
                recorded_recipe(above)
        if read.node.merged:
            cost = sum(stretch.tokens for stretch in path(tree, read.node, read.step))
            return [Bought(one, read.plan.tokens(one.step), cost) for one in read.readouts]
    except RiverrunError as error:
        notes.append(f"{error}; {read.node.id} is not compared with others")
        return []
    tokens = [read.plan.tokens(one.step) for one in read.readouts]
    return [Bought(one, spent, spent) for one, spent in zip(read.readouts, tokens, strict=True)]
