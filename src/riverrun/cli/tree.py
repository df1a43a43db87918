"""`riverrun tree`: what a run holds."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from tyro.conf import Positional

if TYPE_CHECKING:
    from riverrun.runs import Node


def tree(run: Positional[Path], *, json: bool = False) -> None:
    """Show what a run holds: nodes, schedules, positions, best readouts, checkpoints.

    Args:
        run: directory of the run.
        json: print one JSON object.
    """
    from riverrun.runs import Tree

    nodes = [_facts(node) for node in Tree.open(run).nodes()]
    if json:
        from riverrun.runs.metrics import to_json

        print(to_json({"run": str(run), "nodes": nodes}))
        return
    from rich.console import Console
    from rich.text import Text
    from rich.tree import Tree as Drawing

    drawing = Drawing(Text(str(run)))
    for facts in nodes:
        branch = drawing.add(Text(f"{facts['id']}  {facts['schedule']}, at step {facts['step']:,}"))
        for line in _lines(facts):
            branch.add(line)
    Console(highlight=False).print(drawing)


def _facts(node: Node) -> dict[str, Any]:
    from riverrun.runs.metrics import read_records
    from riverrun.train.readouts import best_readout

    records = read_records(node.metrics_path)
    checkpoints = [checkpoint.step for checkpoint in node.checkpoints()]
    readouts = node.readouts()
    best = None
    if readouts:
        name = best_readout(readouts[-1])
        best = {
            "readout": name,
            "loss": readouts[-1][f"loss/{name}"],
            "bpb": readouts[-1][f"bpb/{name}"],
            "step": readouts[-1]["step"],
            "tokens": readouts[-1]["tokens"],
        }
    return {
        "id": node.id,
        "parent": node.facts["parent"],
        "schedule": node.facts["recipe"]["schedule"]["kind"],
        "step": max([*checkpoints[-1:], *(record["step"] for record in records[-1:])], default=0),
        "best": best,
        "checkpoints": checkpoints,
    }


def _lines(facts: dict[str, Any]) -> list[str]:
    from riverrun.units import short_count

    best = facts["best"]
    evaluated = (
        f"best readout: {best['readout']}, loss {best['loss']:.4f}, {best['bpb']:.3f} bits per byte, "
        f"at step {best['step']:,} ({short_count(best['tokens'])} tokens)"
        if best
        else "no readout yet"
    )
    saved = ", ".join(f"{step:,}" for step in facts["checkpoints"]) or "none yet"
    return [evaluated, f"checkpoints: {saved}"]
