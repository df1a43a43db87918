"""`riverrun plan`: what a recipe will cost, before it runs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro
from tyro.conf import Positional, UseAppendAction

if TYPE_CHECKING:
    from riverrun.train.estimate import Estimate
    from riverrun.train.plan import Plan


def plan(
    recipe: Positional[Path],
    *,
    until: str = "1x",
    set_: Annotated[UseAppendAction[tuple[str, ...]], tyro.conf.arg(name="set", metavar="PATH=VALUE")] = (),
    gpus: int | None = None,
    gpu: str | None = None,
    gpus_per_node: int | None = None,
    vocabulary: int | None = None,
    utilisation: float | None = None,
    price: float | None = None,
    storage_bandwidth: str | None = None,
    json: bool = False,
) -> None:
    """A dry run: parameters, tokens, FLOPs, memory, disk, and the time on this machine; with --gpus, on many GPUs.

    Args:
        recipe: a TOML file, or the name of a shipped recipe.
        until: the position to plan for, as in train.
        set_: override a setting, as in --set model.layers=12; may be given several times.
        gpus: plan for so many GPUs instead of this machine; no GPU and no corpus need be here.
        gpu: their kind, such as h100, h200, a100-80gb, b200, l40s, rtx-4090.
        gpus_per_node: GPUs in a machine; 8 unless given.
        vocabulary: tokens, where the corpus is not here; unless given, model.embedding_rows.
        utilisation: share of the peak that model FLOPs reach; 0.4 unless given, 0.3 with engine.recompute.
        price: dollars per GPU and hour; unless given, a round figure.
        storage_bandwidth: what a node writes, such as "2 GB/s", which it is unless given.
        json: print one JSON object.
    """
    from riverrun.cli.plan_scale import Machines, plan_scale
    from riverrun.train import build_plan, load_recipe
    from riverrun.train.engine import settle
    from riverrun.train.estimate import estimate
    from riverrun.train.shipped import find_recipe
    from riverrun.train.sources import open_sources, open_stream
    from riverrun.train.trunk import stopping_position
    from riverrun.units import short_bytes, short_count, short_time

    machines = Machines(
        gpus=gpus,
        gpu=gpu,
        gpus_per_node=gpus_per_node,
        vocabulary=vocabulary,
        utilisation=utilisation,
        price=price,
        storage_bandwidth=storage_bandwidth,
    )
    if gpus is not None:
        plan_scale(load_recipe(find_recipe(recipe), set_), until, machines, json)
        return
    machines.check_unused()
    loaded, engine = settle(load_recipe(find_recipe(recipe), set_))
    sources = open_sources(loaded.data)
    built = build_plan(loaded, sources[0][0].vocabulary)
    cost = estimate(built, engine, int(stopping_position(until, built, 0)))
    memory = cost.memory
    if json:
        from dataclasses import asdict

        from riverrun.runs.metrics import to_json

        totals = {"state": memory.state, "checkpoint": memory.checkpoint}
        derived = {name: getattr(cost, name) for name in ("flops", "disk", "seconds")}
        print(to_json({**asdict(cost), **derived, "memory": asdict(memory) | totals}))
        return
    averages = f"{len(loaded.averaging.tracks)} averages" + (" and an open block" if built.history else "")
    epochs = open_stream(built, sources).epochs(built.sizes.samples(cost.step)).values()
    of_which = " of the corpus read most often" if len(epochs) > 1 else " of the corpus"
    rows = {
        "model": f"{loaded.model['family']}, {short_count(cost.parameters)} parameters, "
        f"{short_count(cost.non_embedding_parameters)} without embeddings",
        "1x": f"{short_count(cost.tokens_per_x)} tokens",
        "until": f"{until}: {cost.step:,} steps, {short_count(cost.tokens)} tokens, {max(epochs):.2g} epochs{of_which}",
        "compute": f"{cost.flops:.3g} FLOPs, {short_count(cost.flops_per_token)} per token",
        "memory": f"{short_bytes(memory.state)}: weights {short_bytes(memory.weights)}, gradients "
        f"{short_bytes(memory.gradients)}, optimizer {short_bytes(memory.optimizer)}, {averages} "
        f"{short_bytes(memory.tracks)}; activations come on top",
        **({"history": _history(built, cost)} if built.history else {}),
        "disk": f"{short_bytes(cost.disk)}: {cost.checkpoints_kept} checkpoints of {short_bytes(memory.checkpoint)}"
        + (
            f", {cost.blocks_kept} blocks that they share, {short_bytes(cost.block_disk)}"
            if built.history
            else ""
        ),
        "time": f"{short_time(cost.seconds)} at {short_count(cost.tokens_per_second)} tokens/s on {engine.device}, "
        f"{engine.precision}; "
        + ("timed on a few steps" if cost.timed else "from the speed of matrix products, at 40% of it"),
    }
    for name, text in rows.items():
        print(f"{name:8s} {text}")


def _history(plan: Plan, cost: Estimate) -> str:
    """What a history takes, and what it resolves."""
    from riverrun.train.memory import block_bytes
    from riverrun.units import short_bytes

    settings, layout = plan.recipe.averaging.history, plan.history
    assert settings is not None
    assert layout is not None
    where = "on the run's disk" if settings.spill else "in host memory"
    return (
        f"{short_bytes(cost.memory.blocks)} {where}: at most {layout.most_blocks - 1} closed blocks of "
        f"{short_bytes(block_bytes(plan))} in {settings.dtype}; suffixes from {layout.shortest:.3g} of the run on come "
        f"within {1 / (4 * (layout.resolution - 1)):.1%}"
    )
