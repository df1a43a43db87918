"""Where the weights of a readout lie, and the commands that export it and that make it again from nothing."""

from __future__ import annotations

import os
from itertools import count
from pathlib import Path

from riverrun.averaging import profile_named
from riverrun.runs import Tree
from riverrun.train.commands import Command, program, reproduction
from riverrun.train.costs import Readout
from riverrun.train.session import recorded_recipe


def obstacle_to(readout: Readout) -> str | None:
    """Why commands from nothing cannot make the readout of a node again, even where they can make the node."""
    if readout.node.merged:
        return "it is a merge; its riverrun.json says of what, and by which weights"
    if "profile" not in readout.record:
        return None
    if profile_named(readout.name) is None:
        return f"it is an average by the table {readout.record['profile']}"
    if recorded_recipe(readout.node).averaging.history is None and readout.record["source"] == "history":
        return "it is an average from a history that its recipe does not name"
    return None


def remaking(tree: Tree, readout: Readout) -> list[Command] | None:
    """The commands that make a readout again in a new run beside the tree's; None where no commands alone can."""
    if obstacle_to(readout):
        return None
    again = Path(os.path.relpath(_unused(f"{tree.path.resolve()}-again")))
    return reproduction(tree, readout.node, readout.step, readout.name, again)


def export_command(run: Path, readout: Readout) -> Command:
    """The command that exports a readout as a model."""
    which = ["--node", readout.node.id, "--readout", readout.name, "--at", str(readout.step)]
    return [program(), "export", str(run), *which]


def model_of_its_own(readout: Readout) -> Path | None:
    """A merge's model, or the directory that `riverrun average` wrote for a readout; None where there is neither."""
    if readout.node.merged:
        return readout.node.model_path
    written = readout.node.path / "readouts" / f"{readout.name}-{readout.step:08d}"
    return written if written.is_dir() else None


def _unused(path: str) -> Path:
    """The path, or with -2, -3, ... behind it: the first at which nothing lies."""
    candidates = (Path(path if number == 1 else f"{path}-{number}") for number in count(1))
    return next(candidate for candidate in candidates if not candidate.exists())
