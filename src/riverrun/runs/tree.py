"""A tree: the trunk and everything grown from it, as it lies on disk."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from riverrun.runs.node import Node, RunError


@dataclass(frozen=True)
class Tree:
    """The folder `runs/NAME`: `trunk/` and `branches/*/`."""

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
        return Node(self.path / "trunk")

    def nodes(self) -> list[Node]:
        """The trunk, then the branches by name."""
        branches = sorted((self.path / "branches").glob("*/node.json"))
        return [self.trunk, *(Node(file.parent) for file in branches)]
