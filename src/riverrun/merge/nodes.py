"""A merge of models of one run is a node of its tree, with several parents."""

from __future__ import annotations

import json
import os
import re
from contextlib import suppress
from dataclasses import asdict
from datetime import UTC, datetime
from itertools import count
from pathlib import Path

from riverrun.merge.plan import MergePlan
from riverrun.publish import publish_file
from riverrun.runs import Node, Tree
from riverrun.runs.metrics import append_record
from riverrun.runs.node import FORMAT, Merged
from riverrun.train.engine import settle
from riverrun.train.readouts import open_windows, score
from riverrun.train.restore import MERGED, open_recorded, restore_readout


def common_tree(plan: MergePlan) -> Tree | None:
    """The tree that all inputs are of: checkpoints of its nodes, or readouts there that tell their position."""
    owners = [_owner(source.path) for source in plan.inputs]
    trees = {owner.run for owner in owners if owner is not None}
    placed = all(source.position is not None for source in plan.inputs)
    return Tree(trees.pop()) if placed and None not in owners and len(trees) == 1 else None


def record_merge(plan: MergePlan, tree: Tree, out: Path) -> Node:
    """Note a merge in the tree that all its inputs are of (`common_tree`), under the name of its directory."""
    merged = []
    for source, weight in zip(plan.inputs, plan.weights, strict=True):
        owner = _owner(source.path)
        assert owner is not None
        assert source.position is not None
        merged.append(Merged(owner.id, source.position, weight, os.path.relpath(source.path, tree.path)))
    last = tree.node(merged[-1].node)
    inside = out.resolve().is_relative_to(tree.path.resolve())
    node = _new_node(tree, out.name)
    facts = {
        "format": FORMAT,
        "id": node.id,
        "kind": "merge",
        "parent": None,
        "merged": [asdict(parent) for parent in merged],
        "profile": plan.profile,
        "readout": plan.readout,
        "model": os.path.relpath(out.resolve(), node.path.resolve()) if inside else str(out.resolve()),
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "recipe": last.facts["recipe"],
        "data": last.data,
        "versions": last.facts["versions"],
    }
    publish_file(node.path / "node.json", (json.dumps(facts, indent=1) + "\n").encode())
    return node


def _new_node(tree: Tree, name: str) -> Node:
    """A merge of that name, or with a number behind it where a node has the name already; its folder is there."""
    stem = re.sub(r"[^A-Za-z0-9._-]", "-", name).lstrip("-._") or "merge"
    taken = {node.id for node in (*tree.nodes(), *tree.merges())}
    for candidate in (stem if number == 1 else f"{stem}-{number}" for number in count(1)):
        node = tree.merge(candidate)
        if candidate not in taken:
            with suppress(FileExistsError):  # another merge took the name at this moment
                node.path.mkdir(parents=True)
                return node
    raise AssertionError("numbers do not end")


def score_merge(node: Node) -> float:
    """Score a merge on the run's held-out text, note it in the node's record, and return the loss in nats per token."""
    recipe, corpus, plan = open_recorded(node)
    _, engine = settle(recipe)
    readout = restore_readout(node)
    scores = score(readout.model.to(engine.device), MERGED, open_windows(corpus, plan), engine)
    position = {"step": readout.step, "tokens": plan.tokens(readout.step)}
    append_record(node.averages_path, position | scores | {"profile": node.facts["profile"]})
    loss: float = scores[f"loss/{MERGED}"]
    return loss


def _owner(path: Path) -> Node | None:
    """The node in whose folder a checkpoint or a readout lies."""
    node = Node(path.parent.parent)
    return node if path.parent.name in ("checkpoints", "readouts") and node.exists else None
