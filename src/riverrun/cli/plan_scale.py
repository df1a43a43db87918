"""`riverrun plan --gpus`: a recipe on many GPUs, as text or as one JSON object."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from riverrun.train.plan import Plan
    from riverrun.train.recipe import Recipe
    from riverrun.train.scale_plan import Cluster, Placement, ScalePlan

_STORAGE = "2 GB/s"


@dataclass(frozen=True, kw_only=True)
class Machines:
    """The options of `riverrun plan` that say on what; None stands for one that was not given."""

    gpus: int | None
    gpu: str | None
    gpus_per_node: int | None
    vocabulary: int | None
    utilisation: float | None
    price: float | None
    storage_bandwidth: str | None

    def check_unused(self) -> None:
        """Without --gpus none of the others means anything; `SettingError` names the first."""
        from riverrun.errors import SettingError

        for name, value in asdict(self).items():
            if value is not None:
                option = "--" + name.replace("_", "-")
                raise SettingError(
                    f"{option}: got {value!r} without --gpus; it is for plans of many GPUs. Add --gpus 8, say"
                )


def plan_scale(recipe: Recipe, until: str, machines: Machines, json: bool) -> None:
    """Print what `recipe` takes on many GPUs."""
    from riverrun.train.plan import build_plan
    from riverrun.train.scale_plan import scale_plan
    from riverrun.train.trunk import stopping_position

    _check_arithmetic(recipe)
    vocabulary, source = _vocabulary(recipe, machines.vocabulary)
    # A setting of its own, where the recipe has it.
    recompute = bool(getattr(recipe.engine, "recompute", False))
    cluster, assumptions = _cluster(machines, recompute)
    plan = build_plan(recipe, vocabulary)
    found = scale_plan(plan, cluster, int(stopping_position(until, plan, 0)), recompute)
    assumptions = [f"a vocabulary of {vocabulary:,}, {source}", *assumptions]
    if json:
        _print_json(plan, found, assumptions)
    else:
        _print_text(plan, found, assumptions, until)


def _check_arithmetic(recipe: Recipe) -> None:
    """Only what GPUs are used with is counted."""
    from riverrun.errors import SettingError

    if recipe.engine.precision not in ("auto", "bf16"):
        raise SettingError(
            f'engine.precision: got "{recipe.engine.precision}"; plan --gpus counts bf16. Add '
            "--set engine.precision=bf16"
        )
    if recipe.model.get("attention") == "plain":
        raise SettingError(
            'model.attention: got "plain"; plan --gpus counts the fused kernel. Add --set model.attention=auto'
        )


def _vocabulary(recipe: Recipe, given: int | None) -> tuple[int, str]:
    """The number of tokens, and where it is from."""
    from riverrun.errors import SettingError
    from riverrun.train.sources import open_corpus

    corpus = recipe.data.sources[0].corpus
    if given is not None:
        if given < 1:
            raise SettingError(
                f"--vocabulary: got {given}; must be at least 1 token. Give --vocabulary 32000, say"
            )
        return given, "as --vocabulary says"
    if corpus == "bundled" or Path(corpus).exists():
        return open_corpus(corpus).vocabulary, f"that of {corpus}"
    rows = recipe.model.get("embedding_rows")
    if rows is None:
        raise SettingError(
            f"data.corpus: got {corpus!r}, which is not there, and it gives the vocabulary. Add --vocabulary 32000, "
            "say, or set model.embedding_rows"
        )
    return int(rows), f"from model.embedding_rows, for {corpus} is not there"


def _cluster(machines: Machines, recompute: bool) -> tuple[Cluster, list[str]]:
    """The machines, and what was assumed of them."""
    from riverrun.errors import SettingError
    from riverrun.train.hardware import GPUS, gpu_named
    from riverrun.train.scale_plan import USUAL_UTILISATION, Cluster
    from riverrun.train.storage_plan import parse_bandwidth

    if machines.gpu is None:
        raise SettingError(
            f"--gpu: missing; a plan for --gpus {machines.gpus} needs the kind, one of "
            f"{', '.join(gpu.name for gpu in GPUS)}"
        )
    assert machines.gpus is not None
    gpu = gpu_named(machines.gpu)
    assumptions = []
    utilisation, price, storage = machines.utilisation, machines.price, machines.storage_bandwidth
    if utilisation is None:
        utilisation = USUAL_UTILISATION * (0.75 if recompute else 1.0)
        less = " (blocks are computed again, in four passes' time for three)" if recompute else ""
        assumptions.append(f"{utilisation:.0%} model FLOPs utilisation{less}")
    if price is None:
        price = gpu.price
        assumptions.append(f"${price:.2f} a GPU-hour, a round figure and no quote")
    if storage is None:
        storage = _STORAGE
        assumptions.append(f"storage at {storage} a node")
    if machines.gpus_per_node is None:
        assumptions.append("8 GPUs a node")
    cluster = Cluster(
        gpu=gpu,
        gpus=machines.gpus,
        per_node=8 if machines.gpus_per_node is None else machines.gpus_per_node,
        price=price,
        utilisation=utilisation,
        storage=parse_bandwidth(storage),
    )
    return cluster, assumptions


def _print_json(plan: Plan, found: ScalePlan, assumptions: list[str]) -> None:
    from riverrun.models import count_parameters, training_flops_per_token
    from riverrun.runs.metrics import to_json

    def placement(one: Placement) -> dict[str, object]:
        totals = {"state": one.memory.state, "total": one.memory.total}
        return {**asdict(one), "memory": asdict(one.memory) | totals}

    counts = count_parameters(plan.decoder)
    flops_per_token = training_flops_per_token(plan.decoder)
    gpu = {name: value for name, value in asdict(found.cluster.gpu).items() if name != "reported"}
    derived = {
        "parameters": counts.total,
        "non_embedding_parameters": counts.non_embedding,
        "tokens_per_x": plan.tokens_per_x,
        "flops_per_token": flops_per_token,
        "flops": flops_per_token * found.tokens,
        "chosen": found.chosen.spreading if found.chosen else None,
        "ddp": placement(found.ddp),
        "fsdp": placement(found.fsdp),
        "storage": asdict(found.storage) | {"disk": found.storage.disk, "keeps_up": found.storage.keeps_up},
        "cluster": asdict(found.cluster) | {"nodes": found.cluster.nodes, "gpu": gpu},
        "gpu_hours": found.gpu_hours,
        "dollars": found.dollars,
        "assumptions": assumptions,
    }
    print(to_json({**asdict(found), **derived}))


def _print_text(plan: Plan, found: ScalePlan, assumptions: list[str], until: str) -> None:
    from riverrun.models import count_parameters, training_flops_per_token
    from riverrun.units import short_bytes, short_count

    counts, cluster = count_parameters(plan.decoder), found.cluster
    flops_per_token = training_flops_per_token(plan.decoder)
    family = plan.decoder.family
    rows = {
        "model": f"{family}, {short_count(counts.total)} parameters, {short_count(counts.non_embedding)} without "
        "embeddings",
        "1x": f"{short_count(plan.tokens_per_x)} tokens",
        "until": f"{until}: {found.step:,} steps, {short_count(found.tokens)} tokens, batches of {found.sequences:,} x "
        f"{plan.decoder.context:,}",
        "compute": f"{flops_per_token * found.tokens:.3g} FLOPs, {short_count(flops_per_token)} per token",
        "GPUs": f"{cluster.gpus:,} x {cluster.gpu.name} in {_of(cluster.nodes, 'node')}: "
        f"{short_bytes(cluster.gpu.memory)} each, {short_bytes(found.usable)} for tensors, "
        f"{cluster.gpu.peak_flops / 1e12:.0f} TFLOP/s",
        "assumed": "; ".join(assumptions),
    }
    _print_rows(rows)
    print()
    _print_memory(found)
    print()
    _print_rows(_verdict(plan, found))


def _print_rows(rows: dict[str, str]) -> None:
    for name, text in rows.items():
        print(f"{name:10s} {text}")


def _print_memory(found: ScalePlan) -> None:
    """What the fullest GPU holds, a column for each way to spread it."""
    from riverrun.units import short_bytes

    titles = {"ddp": "ddp", "fsdp": "fsdp"} if len(found.candidates) > 1 else {"ddp": "one GPU"}
    parts = {
        "weights": "weights",
        "gradients": "gradients",
        "optimizer": "optimizer",
        "averages": "tracks",
        "bf16 copies, gathered": "copies",
        "gradients in flight": "in_flight",
        "activations": "activations",
        "loss, block in hand": "working",
        "in all": "total",
    }
    print(f"{'memory per GPU':24s}" + "".join(f"{titles[one.spreading]:>12s}" for one in found.candidates))
    for name, field in parts.items():
        cells = (short_bytes(getattr(one.memory, field)) for one in found.candidates)
        print(f"  {name:22s}" + "".join(f"{cell:>12s}" for cell in cells))
    lines = {
        "at a microbatch of": [f"{one.microbatch:,}" for one in found.candidates],
        "largest that fits": [
            f"{one.largest_microbatch:,}" if one.largest_microbatch else "none" for one in found.candidates
        ],
        "passes an update": [f"{one.passes:,}" for one in found.candidates],
        "fits": ["yes" if one.fits else "no" for one in found.candidates],
    }
    for name, texts in lines.items():
        print(f"  {name:22s}" + "".join(f"{text:>12s}" for text in texts))


def _verdict(plan: Plan, found: ScalePlan) -> dict[str, str]:
    from riverrun.units import short_bytes, short_count, short_time

    chosen, cluster = found.chosen, found.cluster
    taken = chosen or found.candidates[-1]
    if chosen is None:
        choice = f"none: does not fit on {cluster.gpus:,} x {cluster.gpu.name}"
    else:
        why = (
            "one GPU"
            if cluster.gpus == 1
            else "ddp, for it fits"
            if chosen.spreading == "ddp"
            else "fsdp, for ddp does not fit"
        )
        choice = (
            f"{why}: batch.microbatch={chosen.microbatch}, {_of(chosen.passes, 'pass', 'passes')} an update"
        )
    rows = {"chosen": choice}
    for number, advice in enumerate(found.advice):
        rows["change" if number == 0 else "or" + " " * number] = advice
    for number, remark in enumerate(found.remarks):
        rows["note" + " " * number] = remark
    storage = found.storage
    blocks = f"history blocks {short_bytes(taken.blocks + taken.staging)}, " if taken.staging else ""
    once = " (on the first node alone)" if taken.spreading == "ddp" and cluster.nodes > 1 else ""
    rows["host"] = (
        f"{short_bytes(taken.node_memory)} a node at the most; per GPU {blocks}an asynchronous checkpoint's copy "
        f"{short_bytes(taken.checkpoint_copy)}{once}"
    )
    ranks = (
        "the first rank writes it" if taken.spreading == "ddp" else f"{short_bytes(storage.per_rank)} a rank"
    )
    news = f", {short_bytes(storage.new_blocks)} of new blocks" if storage.new_blocks else ""
    late = (
        ""
        if storage.keeps_up
        else ": NOT DONE BEFORE THE NEXT; a longer checkpoints.every, or faster storage"
    )
    rows["checkpoint"] = (
        f"{short_bytes(storage.checkpoint)}{news}, {ranks}; {_seconds(storage.write_seconds)} to write, one every "
        f"{short_time(storage.between_seconds)}{late}"
    )
    rows["disk"] = (
        f"{short_bytes(storage.disk)}: {_of(storage.kept, 'checkpoint')}"
        + (f", {short_bytes(storage.blocks)} of blocks that they share" if storage.blocks else "")
        + (f", {short_bytes(storage.spilled)} of spilled blocks" if storage.spilled else "")
    )
    rows["time"] = (
        f"{short_time(found.seconds)} at {short_count(found.tokens_per_second)} tokens/s, {cluster.utilisation:.0%} of "
        f"the peak; {_seconds(found.step_seconds)} an update, of which averages take {found.averaging_share:.1%}"
    )
    rows["cost"] = (
        f"${found.dollars:,.0f}: {found.gpu_hours:,.0f} GPU-hours at ${cluster.price:.2f}"
        if found.gpu_hours >= 10
        else f"${found.dollars:.2f}: {found.gpu_hours:.2f} GPU-hours at ${cluster.price:.2f}"
    )
    return rows


def _of(count: int, one: str, many: str | None = None) -> str:
    return f"{count:,} {one if count == 1 else many or one + 's'}"


def _seconds(seconds: float) -> str:
    """Short spans to two digits, longer ones for people."""
    from riverrun.units import short_time

    return f"{seconds:.2g} s" if seconds < 10 else short_time(seconds)
