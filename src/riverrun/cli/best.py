"""`riverrun best`: the best readout that a budget could have bought."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from tyro.conf import Positional

if TYPE_CHECKING:
    from riverrun.train.costs import Found
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

    from riverrun.cli.commands import reproduction
    from riverrun.errors import CheckpointError, SettingError
    from riverrun.runs import Tree, find_checkpoint
    from riverrun.train.costs import best_within
    from riverrun.units import Duration

    try:
        within = None if budget is None else Duration.parse(budget)
    except SettingError as error:
        raise SettingError(f"--budget: {error}") from None
    tree = Tree.open(run)
    found = best_within(tree, within)
    try:
        weights = find_checkpoint(found.node, found.step).path
    except CheckpointError:
        weights = None
    again = Path(os.path.relpath(f"{run.resolve()}-again"))
    commands = reproduction(tree, found.node, found.step, found.readout, again)
    lines = None if commands is None else [shlex.join(command) for command in commands]
    if json:
        from riverrun.runs.metrics import to_json

        print(to_json({"run": str(run), **_plain(found, within, weights), "reproduce": lines}))
        return
    for name, text in _rows(run, found, within, weights).items():
        print(f"{name:9s} {text}")
    if lines is None:
        print(
            "\nNo commands alone make it again: a branch on the way was fed before any of them could stop it."
        )
        return
    print("\nFrom nothing, in a new run:")
    for line in lines:
        print(f"  {line}")


def _plain(found: Found, budget: Duration | None, weights: Path | None) -> dict[str, Any]:
    from dataclasses import asdict

    name, record = found.readout, found.record
    return {
        "node": found.node.id,
        "readout": name,
        "loss": record[f"loss/{name}"],
        "bpb": record[f"bpb/{name}"],
        "chosen_by": found.chosen_by,
        "step": found.step,
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

    name, record = found.readout, found.record
    split = ", ".join(
        f"{stretch.node} {short_count(stretch.tokens)} (steps {stretch.first:,}-{stretch.last:,})"
        for stretch in found.path
    )
    chosen = {
        "select": "chosen on other windows, kept to choose by",
        "loss": "chosen on the windows it is reported on",
    }
    rows = {
        "node": found.node.id,
        "readout": name,
        "loss": f"{record[f'loss/{name}']:.4f} nats per token, {record[f'bpb/{name}']:.3f} bits per byte, "
        f"{chosen[found.chosen_by]}",
        "position": f"step {found.step:,}",
        "cost": f"{short_count(found.tokens)} tokens" + (f": {split}" if len(found.path) > 1 else ""),
    }
    if found.within is not None:
        rows["budget"] = f"{found.tokens / found.within:.1%} of {budget}, {short_count(found.within)} tokens"
    if weights is None:
        rows["weights"] = "not kept at this step"
        return rows
    export = [
        program(),
        "export",
        str(run),
        "--node",
        found.node.id,
        "--readout",
        name,
        "--at",
        str(found.step),
    ]
    return {**rows, "weights": str(weights), "export": shlex.join(export)}
