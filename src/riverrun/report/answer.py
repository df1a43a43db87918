"""The best model: where it lies, what exports it, what makes it again."""

from __future__ import annotations

import os
import shlex
from pathlib import Path

from riverrun.errors import RiverrunError
from riverrun.report import schema
from riverrun.report.envelope import Bought
from riverrun.runs import Tree
from riverrun.train.costs import Readout
from riverrun.train.remaking import export_command, model_of_its_own, remaking


def answer(tree: Tree, best: Bought) -> schema.Answer:
    """A readout with the commands about it. Its files are not read; `riverrun export` may find them damaged."""
    weights = _weights(best.readout)
    is_model = weights is not None and (weights / "config.json").is_file()
    export = None if weights is None or is_model else shlex.join(export_command(tree.path, best.readout))
    return {
        "readout": best.plain(),
        "where": None if weights is None else os.fspath(weights),
        "export": export,
        "reproduce": reproduce(tree, best.readout),
    }


def reproduce(tree: Tree, readout: Readout) -> list[str] | None:
    """The commands that make a readout again from nothing; None where commands alone cannot."""
    try:
        commands = remaking(tree, readout)
    except RiverrunError:  # a node on the way was removed meanwhile
        return None
    return None if commands is None else [shlex.join(command) for command in commands]


def _weights(readout: Readout) -> Path | None:
    """Where its weights lie: a model of its own, or a checkpoint."""
    model = model_of_its_own(readout)
    if model is not None:
        return model
    saved = {checkpoint.step: checkpoint.path for checkpoint in readout.node.checkpoints()}
    return saved.get(readout.step)
