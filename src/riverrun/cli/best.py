"""`riverrun best`: the best readout that a budget could have bought."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from tyro.conf import Positional

if TYPE_CHECKING:
    from riverrun.train.costs import Found, Readout
    from riverrun.units import Duration


def best(run: Positional[Path], *, budget: str | None = None, json: bool = False) -> None:
    """Name the best readout of a run that a budget could have bought, its cost, and how to make it again.

    Args:
        run: directory of the run.
        budget: what the whole path to it may cost: 50M-tokens, 2x, "5000 steps"; any cost if not given.
        json: print one JSON object.
    """
    import os
    import shlex
    import sys

    from riverrun.cli.commands import reproduction
    from riverrun.errors import SettingError
    from riverrun.runs import Tree
    from riverrun.train.costs import best_within
    from riverrun.units import Duration

    try:
        within = None if budget is None else Duration.parse(budget)
    except SettingError as error:
        raise SettingError(f"--budget: {error}") from None
    tree = Tree.open(run)
    found = best_within(tree, within, note=lambda text: print(text, file=sys.stderr))
    readout = found.readout
    weights = _weights(readout)
    again = Path(os.path.relpath(_unused(f"{run.resolve()}-again")))
    obstacle = _obstacle(readout)
    commands = None if obstacle else reproduction(tree, readout.node, readout.step, readout.name, again)
    lines = None if commands is None else [shlex.join(command) for command in commands]
    if json:
        from riverrun.runs.metrics import to_json

        print(to_json({"run": str(run), **_plain(found, within, weights), "reproduce": lines}))
        return
    for name, text in _rows(run, found, within, weights).items():
        print(f"{name:9s} {text}")
    if lines is None:
        fed = "a branch on the way was fed before its first step"
        print(f"\nNo commands alone make it again: {obstacle or fed}.")
        return
    print("\nFrom nothing, in a new run:")
    for line in lines:
        print(f"  {line}")


def _obstacle(readout: Readout) -> str | None:
    """Why commands from nothing cannot make the readout of a node again, even where they can make the node."""
    from riverrun.averaging import profile_named
    from riverrun.train.session import recorded_recipe

    if readout.node.merged:
        return "it is a merge; its riverrun.json says of what, and by which weights"
    if "profile" not in readout.record:
        return None
    if profile_named(readout.name) is None:
        return f"it is an average by the table {readout.record['profile']}"
    if recorded_recipe(readout.node).averaging.history is None and readout.record["source"] == "history":
        return "it is an average from a history that its recipe does not name"
    return None


def _weights(readout: Readout) -> Path | None:
    """Where its weights lie: a checkpoint, a merge's model, or the directory that `riverrun average` wrote."""
    from riverrun.errors import CheckpointError
    from riverrun.runs import find_checkpoint

    if readout.node.merged:
        return readout.node.model_path
    written = readout.node.path / "readouts" / f"{readout.name}-{readout.step:08d}"
    if written.is_dir():
        return written
    try:
        return find_checkpoint(readout.node, readout.step).path
    except CheckpointError:
        return None


def _unused(path: str) -> Path:
    """The path, or with -2, -3, ... behind it: the first at which nothing lies."""
    from itertools import count

    candidates = (Path(path if number == 1 else f"{path}-{number}") for number in count(1))
    return next(candidate for candidate in candidates if not candidate.exists())


def _plain(found: Found, budget: Duration | None, weights: Path | None) -> dict[str, Any]:
    from dataclasses import asdict

    readout = found.readout
    return {
        "node": readout.node.id,
        "readout": readout.name,
        "loss": readout.loss,
        "bpb": readout.bits_per_byte,
        "chosen_by": readout.chosen_by,
        "step": readout.step,
        "tokens": found.tokens,
        "path": [asdict(stretch) for stretch in found.path],
        "budget": None if budget is None else str(budget),
        "share": None if found.within is None else found.tokens / found.within,
        "checkpoint": None if weights is None else str(weights),
    }


def _rows(run: Path, found: Found, budget: Duration | None, weights: Path | None) -> dict[str, str]:
    import shlex

    from riverrun.cli.commands import program
    from riverrun.units import short_count

    readout = found.readout
    split = ", ".join(
        f"{stretch.node} {short_count(stretch.tokens)} (steps {stretch.first:,}-{stretch.last:,})"
        for stretch in found.path
    )
    chosen = {
        "select": "chosen on other windows, kept to choose by",
        "loss": "chosen on the windows it is reported on",
    }
    rows = {
        "node": readout.node.id,
        "readout": readout.name,
        "loss": f"{readout.loss:.4f} nats per token, {readout.bits_per_byte:.3f} bits per byte, "
        f"{chosen[readout.chosen_by]}",
        "position": f"step {readout.step:,}",
        "cost": f"{short_count(found.tokens)} tokens" + (f": {split}" if len(found.path) > 1 else ""),
    }
    if found.within is not None:
        rows["budget"] = f"{found.tokens / found.within:.1%} of {budget}, {short_count(found.within)} tokens"
    if weights is None:
        return {**rows, "weights": "not kept at this step"}
    if (weights / "config.json").is_file():  # a model already
        return {**rows, "weights": str(weights)}
    which = ["--node", readout.node.id, "--readout", readout.name, "--at", str(readout.step)]
    export = shlex.join([program(), "export", str(run), *which])
    return {**rows, "weights": str(weights), "export": export}
