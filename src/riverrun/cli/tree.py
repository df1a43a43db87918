"""`riverrun tree`: what a run holds."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tyro.conf import Positional

if TYPE_CHECKING:
    from rich.tree import Tree as Drawing

    from riverrun.runs import Node, Tree
    from riverrun.train.plan import Plan

_CHECKPOINTS_SHOWN = 8
_WIDE = 10_000


def tree(run: Positional[Path], *, json: bool = False) -> None:
    """Show what a run holds: nodes with schedules, positions, costs, best readouts, checkpoints.

    Args:
        run: directory of the run.
        json: print one JSON object.
    """
    import sys

    from riverrun.runs import Tree
    from riverrun.train.costs import legible
    from riverrun.units import short_count

    opened = Tree.open(run)

    def note(text: str) -> None:
        print(text, file=sys.stderr)

    nodes = [_facts(node) for node in legible(opened.nodes(), note)]
    merges = [_merge_facts(opened, node) for node in legible(opened.merges(), note)]
    total = sum(facts["own_tokens"] for facts in nodes)
    if json:
        from riverrun.runs.metrics import to_json

        print(to_json({"run": str(run), "nodes": nodes, "merges": merges, "tokens": total}))
        return
    from rich.console import Console
    from rich.text import Text
    from rich.tree import Tree as Drawing

    drawing = Drawing(Text(str(run)))
    present = {facts["id"] for facts in nodes}
    for facts in nodes:
        if facts["fork"] is None or facts["fork"]["node"] not in present:
            _draw(drawing, facts, nodes)
    for facts in merges:
        _draw_merge(drawing, facts)
    console = Console(highlight=False)
    if not console.is_terminal:  # whoever reads lines gets them whole
        console.width = _WIDE
    console.print(drawing)
    console.print(
        f"{short_count(total)} tokens trained in all, in {len(nodes)} node{'s' * (len(nodes) != 1)}"
        + (f", and {len(merges)} merge{'s' * (len(merges) != 1)}" if merges else "")
    )


def _facts(node: Node) -> dict[str, Any]:
    from dataclasses import asdict

    from riverrun.train.costs import reached, recorded_plan
    from riverrun.train.schedule_words import described

    plan, step = recorded_plan(node), reached(node)
    fork = None if node.parent is None else asdict(node.parent)
    return {
        "id": node.id,
        "parent": fork["node"] if fork else None,
        "fork": fork,
        "schedule": node.facts["recipe"]["schedule"]["kind"],
        "learning_rate": described(plan),
        "peak_lr": plan.recipe.optimizer.peak_lr,
        "step": step,
        "own_tokens": plan.tokens(step) - (plan.tokens(fork["step"]) if fork else 0),
        "path_tokens": plan.tokens(step),
        "best": _best(node, plan),
        "checkpoints": [checkpoint.step for checkpoint in node.checkpoints()],
        "feeds": _feeds(node, plan),
    }


def _merge_facts(tree: Tree, node: Node) -> dict[str, Any]:
    from dataclasses import asdict

    from riverrun.errors import RiverrunError
    from riverrun.train.costs import path, recorded_plan

    step = node.merged[-1].step
    try:
        tokens = sum(stretch.tokens for stretch in path(tree, node, step))
    except RiverrunError:  # a parent is gone
        tokens = None
    return {
        "id": node.id,
        "parents": [asdict(parent) for parent in node.merged],
        "profile": node.facts["profile"],
        "readout": node.facts["readout"],
        "step": step,
        "path_tokens": tokens,
        "best": _best(node, recorded_plan(node)),
        "model": str(node.model_path),
    }


def _best(node: Node, plan: Plan) -> dict[str, Any] | None:
    from riverrun.train.costs import best_readout_of

    best = best_readout_of(node)
    return (
        None
        if best is None
        else {
            "readout": best.name,
            "loss": best.loss,
            "bpb": best.bits_per_byte,
            "step": best.step,
            "tokens": plan.tokens(best.step),
        }
    )


def _feeds(node: Node, plan: Plan) -> list[dict[str, Any]]:
    """The feeds that begin in this node, of its recipe and later ones."""
    from riverrun.train.session import recorded_feeds

    begins_at = plan.sizes.samples(node.parent.step) if node.parent else 0
    return [
        {
            "step": plan.step_at(feed.at),
            "sample": plan.samples_at(feed.at),
            "corpus": feed.corpus,
            "weight": feed.weight,
        }
        for feed in (*plan.recipe.data.feeds, *recorded_feeds(node))
        if plan.samples_at(feed.at) >= begins_at
    ]


def _draw(under: Drawing, facts: dict[str, Any], nodes: list[dict[str, Any]]) -> None:
    """A node with what it holds, then its branches by where they begin."""
    from rich.text import Text

    fork = f"from step {facts['fork']['step']:,}: " if facts["fork"] else ""
    parents = [other for other in nodes if facts["fork"] and other["id"] == facts["fork"]["node"]]
    peak = "".join(
        f", peak {facts['peak_lr']:g}" for parent in parents if parent["peak_lr"] != facts["peak_lr"]
    )
    schedule = f"{facts['learning_rate']}{peak}"
    drawn = under.add(Text(f"{fork}{facts['id']}  {schedule}, at step {facts['step']:,}; {_cost(facts)}"))
    for line in _lines(facts):
        drawn.add(Text(line))
    branches = [other for other in nodes if other["fork"] and other["fork"]["node"] == facts["id"]]
    for branch in sorted(branches, key=lambda other: (other["fork"]["step"], other["id"])):
        _draw(drawn, branch, nodes)


def _draw_merge(under: Drawing, facts: dict[str, Any]) -> None:
    """A merge: of what, by which weights, what it scored, where it lies."""
    from rich.text import Text

    from riverrun.units import short_count

    tokens = facts["path_tokens"]
    cost = "a parent is gone" if tokens is None else f"{short_count(tokens)} tokens on the ways to it"
    drawn = under.add(Text(f"{facts['id']}  merge of {len(facts['parents'])}, {facts['profile']}; {cost}"))
    parents = (f"{parent['weight']:.3g} {parent['path']}" for parent in facts["parents"])
    drawn.add(Text(", ".join(parents)))
    best = facts["best"]
    scored = f"loss {best['loss']:.4f}, {best['bpb']:.3f} bits per byte" if best else "not scored"
    drawn.add(Text(f"{scored}: {os.path.relpath(facts['model'])}"))


def _cost(facts: dict[str, Any]) -> str:
    from riverrun.units import short_count

    own = f"{short_count(facts['own_tokens'])} tokens"
    return f"{own} of its own, {short_count(facts['path_tokens'])} on its path" if facts["fork"] else own


def _lines(facts: dict[str, Any]) -> list[str]:
    from riverrun.units import short_count

    best = facts["best"]
    evaluated = (
        f"best at step {best['step']:,} ({short_count(best['tokens'])} tokens): {best['readout']}, "
        f"loss {best['loss']:.4f}, {best['bpb']:.3f} bits per byte"
        if best
        else "no readout yet"
    )
    fed = [
        f"{100 * feed['weight']:.3g}% {feed['corpus']} from step {feed['step']:,}" for feed in facts["feeds"]
    ]
    lines = [evaluated, f"checkpoints: {_shortened(facts['checkpoints'])}"]
    return [*lines, f"feeds: {', '.join(fed)}"] if fed else lines


def _shortened(steps: list[int]) -> str:
    """All positions, or how many there are with the first and the latest few."""
    if not steps:
        return "none yet"
    shown = [f"{step:,}" for step in steps]
    if len(steps) <= _CHECKPOINTS_SHOWN:
        return ", ".join(shown)
    first, latest = _CHECKPOINTS_SHOWN // 2 - 1, _CHECKPOINTS_SHOWN // 2
    return f"{', '.join(shown[:first])}, ..., {', '.join(shown[-latest:])} ({len(steps)} in all)"
