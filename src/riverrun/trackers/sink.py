"""What a tracker is to a node: a place that takes each line of its record once."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from riverrun.runs import Node


@dataclass(frozen=True)
class TrackedRun:
    """A node as its run in a tracker.

    Attributes:
        node: whose metrics these are.
        id: of the run; the same however often training is interrupted, and another for any other node.
        group: the tree's name, which the runs of its nodes have in common.
        name: for people.
        configuration: tree, node, id and kind, a branch's parent and fork_step, and the resolved recipe by dotted path.
    """

    node: Node
    id: str
    group: str
    name: str
    configuration: Mapping[str, Any]


class Sink(Protocol):
    """The run of a node in a tracker. It is opened for writing by the first line that it is given.

    Attributes:
        last: the step of the last line that the run has from before; 0 for none.
        look: what a person does to look at it: a command, or an address. Known once a line was logged.
    """

    last: int
    look: str

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Take one line: what was measured at a step."""

    def close(self) -> None:
        """Bring all lines to where they belong."""


def tracked(node: Node) -> TrackedRun:
    """The run of a node in any tracker.

    node.json is written once and has the time of the node's creation and the hash of the checkpoint that a branch began
    from, so its hash tells the node from any other of that name, and stays when the tree is moved.
    """
    facts = node.facts
    content = (node.path / "node.json").read_bytes()
    run_id = f"{node.id}-{hashlib.sha256(content).hexdigest()[:12]}"
    tree, fork = node.run.resolve().name, node.parent
    configuration = {"tree": tree, "node": node.id, "id": run_id, "kind": facts["kind"]}
    if fork is not None:
        configuration |= {"parent": fork.node, "fork_step": fork.step}
    return TrackedRun(node, run_id, tree, f"{tree}/{node.id}", configuration | _by_path(facts["recipe"], ""))


def _by_path(table: Mapping[str, Any], prefix: str) -> dict[str, Any]:
    """Settings by dotted path, also those in lists of tables: {"data.feeds.0.weight": 0.3}."""
    flat: dict[str, Any] = {}
    for key, value in table.items():
        if isinstance(value, list) and any(isinstance(item, Mapping) for item in value):
            value = {str(number): item for number, item in enumerate(value)}
        flat |= (
            _by_path(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {f"{prefix}{key}": value}
        )
    return flat
