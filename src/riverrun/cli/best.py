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
    import shlex
    import sys

    from riverrun.errors import SettingError
    from riverrun.runs import Tree
    from riverrun.train.costs import best_within
    from riverrun.train.remaking import obstacle_to, remaking
    from riverrun.units import Duration

    try:
        within = None if budget is None else Duration.parse(budget)
    except SettingError as error:
        raise SettingError(f"--budget: {error}") from None
    tree = Tree.open(run)
    found = best_within(tree, within, note=lambda text: print(text, file=sys.stderr))
    readout = found.readout
    weights = _weights(readout)
    obstacle, commands = obstacle_to(readout), remaking(tree, readout)
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


def _weights(readout: Readout) -> Path | None:
    """Where its weights lie: a checkpoint, a merge's model, or the directory that `riverrun average` wrote."""
    from riverrun.errors import CheckpointError
    from riverrun.runs import find_checkpoint
    from riverrun.train.remaking import model_of_its_own

    model = model_of_its_own(readout)
    if model is not None:
        return model
    try:
        return find_checkpoint(readout.node, readout.step).path
    except CheckpointError:
        return None


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

    from riverrun.train.remaking import export_command
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
    return {**rows, "weights": str(weights), "export": shlex.join(export_command(run, readout))}
