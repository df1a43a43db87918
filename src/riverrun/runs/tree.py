"""A tree: the trunk and everything grown from it, as it lies on disk."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from riverrun.errors import CheckpointError, nearest
from riverrun.runs.checkpoint import Checkpoint
from riverrun.runs.lock import RunError
from riverrun.runs.node import TRUNK, Node


@dataclass(frozen=True)
class Tree:
    """The folder `runs/NAME`: `trunk/`, `branches/*/`, and `merges/*/`."""

    path: Path

    @classmethod
    def open(cls, path: Path) -> Tree:
        """The tree at `path`; `RunError` when there is none."""
        tree = cls(path)
        if not tree.trunk.exists:
            hint = "" if path.exists() else "; there is no such directory"
            raise RunError(
                f"{path}: is no run of riverrun{hint}. Start one with: riverrun train RECIPE --run {path}"
            )
        return tree

    @property
    def trunk(self) -> Node:
        """The open-ended run."""
        return Node(self.path / TRUNK)

    def branch(self, name: str) -> Node:
        """The branch of that name, whether it exists or not."""
        return Node(self.path / "branches" / name)

    def merge(self, name: str) -> Node:
        """The merge of that name, whether it exists or not."""
        return Node(self.path / "merges" / name)

    def node(self, name: str) -> Node:
        """The node of that name, a merge too; `RunError` when there is none."""
        nodes = {node.id: node for node in (*self.nodes(), *self.merges())}
        if name not in nodes:
            raise RunError(f"{self.path}: has no node {name!r}{nearest(name, nodes)}")
        return nodes[name]

    def nodes(self) -> list[Node]:
        """The trunk, then the branches by name."""
        branches = sorted((self.path / "branches").glob("*/node.json"))
        return [self.trunk, *(Node(file.parent) for file in branches)]

    def merges(self) -> list[Node]:
        """The merges by name: models made of several nodes', which nothing is trained from."""
        return [Node(file.parent) for file in sorted((self.path / "merges").glob("*/node.json"))]

    def lineages(self, node: Node, step: int) -> list[tuple[list[Node], int]]:
        """Each way to a position of a node, and where it ends: one, or for a merge one for each of its parents."""
        if not node.merged:
            return [(self.lineage(node), step)]
        return [(self.lineage(self.node(parent.node)), parent.step) for parent in node.merged]

    def lineage(self, node: Node) -> list[Node]:
        """The nodes on the way to this one: the trunk first, itself last."""
        above = [node]
        while (fork := above[0].parent) is not None:
            parent = self.trunk if fork.node == TRUNK else self.branch(fork.node)
            if not parent.exists:
                raise RunError(f"{self.path}: the parent {fork.node!r} of {above[0].id!r} is gone")
            above.insert(0, parent)
        return above

    def origin(self, node: Node) -> Checkpoint | None:
        """The checkpoint that a branch began from, checked; None for a trunk, which began from nothing.

        `CheckpointError` when it is missing, damaged, or another save than the one recorded.
        """
        fork = node.parent
        if fork is None:
            return None
        checkpoint = find_checkpoint(self.lineage(node)[-2], fork.step)
        if checkpoint.hash != fork.checkpoint:
            raise CheckpointError(
                f"{checkpoint.path}: is another save than the one that {node.path} began from; remove that branch "
                "and branch again"
            )
        return checkpoint

    def forks(self, node: Node) -> frozenset[int] | None:
        """The positions of a node that branches began from; their checkpoints must stay.

        None where a branch cannot be read, so that nobody knows what must stay.
        """
        try:
            parents = [branch.parent for branch in self.nodes()]
        except RunError:
            return None
        return frozenset(fork.step for fork in parents if fork is not None and fork.node == node.id)


def find_checkpoint(node: Node, step: int) -> Checkpoint:
    """The checkpoint of a position, verified; `CheckpointError` says which there are, or what is damaged."""
    saved = {checkpoint.step: checkpoint for checkpoint in node.checkpoints()}
    if step not in saved:
        there = ", ".join(f"{position:,}" for position in saved) or "none"
        raise CheckpointError(f"{node.path}: has no checkpoint at step {step:,}; there are: {there}")
    saved[step].verify()
    return saved[step]
