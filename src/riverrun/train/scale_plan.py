"""A recipe on many GPUs: what fits, how it is spread, how long it takes, what it costs. Arithmetic, without a device.

Batches are spread over GPUs by whole sequences (data parallel): with "ddp" each GPU holds everything, with "fsdp" its
share of everything that is kept between passes. `docs/planning.md` has the formulas and what they leave out.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property

from riverrun.errors import SettingError
from riverrun.models import training_flops_per_token
from riverrun.train.device_memory import DeviceMemory, Spreading, device_memory, shard, usable_bytes
from riverrun.train.hardware import GPU, GPUS
from riverrun.train.memory import memory_of
from riverrun.train.plan import Plan
from riverrun.train.storage_plan import Storage, storage_of

# Model FLOPs utilisation where none is given: an assumption. Recomputing blocks does four passes' work for three.
USUAL_UTILISATION = 0.4
MOST_GPUS = 2**20
# A share of an update's time that averages should not pass.
_MUCH = 0.1


@dataclass(frozen=True, kw_only=True)
class Cluster:
    """The machines: `gpus` of a kind, `per_node` of them in a node that writes `storage` bytes a second to the disk.

    `price` is in dollars per GPU and hour. `utilisation` is the share of the peak that model FLOPs reach.
    """

    gpu: GPU
    gpus: int
    per_node: int = 8
    price: float
    utilisation: float
    storage: float

    def __post_init__(self) -> None:
        for option, value in (("--gpus", self.gpus), ("--gpus-per-node", self.per_node)):
            if not 1 <= value <= MOST_GPUS:
                raise SettingError(
                    f"{option}: got {value}; must be from 1 to {MOST_GPUS:,}. Give {option} 8, say"
                )
        if not 0 < self.utilisation <= 1:
            raise SettingError(
                f"--utilisation: got {self.utilisation:g}; must be above 0 and at most 1, such as 0.4"
            )
        if not 0 <= self.price < float("inf"):
            raise SettingError(
                f"--price: got {self.price:g}; must be dollars per GPU and hour, 0 or more, such as 2.5"
            )

    @property
    def nodes(self) -> int:
        """Machines, the last of which may be partly used."""
        return -(-self.gpus // self.per_node)


@dataclass(frozen=True, kw_only=True)
class Placement:
    """A model spread in one way.

    Attributes:
        spreading: "ddp" or "fsdp".
        fits: whether the fullest GPU has room at `microbatch`.
        microbatch: sequences of a backward pass on one GPU: the recipe's; where it has none, the one that is advised.
        largest_microbatch: that fits, at most what a GPU has of a batch; 0 for none.
        passes: backward passes of an update.
        memory: of the fullest GPU at `microbatch`.
        blocks: bytes on the host, for each GPU, of a history's closed blocks; 0 where they are spilled to a disk.
        staging: bytes on the host, for each GPU, through which blocks go there.
        checkpoint_copy: bytes on the host of the copy that an asynchronous checkpoint is written from: for each GPU
            under "fsdp", on the first node alone under "ddp".
        node_memory: bytes of the host memory of a full node, all of these together.
    """

    spreading: Spreading
    fits: bool
    microbatch: int
    largest_microbatch: int
    passes: int
    memory: DeviceMemory
    blocks: int
    staging: int
    checkpoint_copy: int
    node_memory: int


@dataclass(frozen=True, kw_only=True)
class ScalePlan:
    """What training `plan` to the position `step` on a cluster comes to; `chosen` is None where nothing fits.

    Attributes:
        usable: bytes of a GPU that tensors can have.
        sequences: of the largest batch up to `step`.
        busy_share: of the GPUs' time: less than 1 where its sequences do not divide evenly, or are too few.
        tokens_per_second: of an update with that batch.
        seconds: from the start to `step`.
        averaging_share: part of an update's time that averages take, if memory bandwidth is all that bounds them.
        advice: what to change: each enough by itself where nothing fits.
        remarks: on GPUs that have nothing to do or wait, and averages that hold them up.
    """

    step: int
    tokens: int
    recompute: bool
    cluster: Cluster
    usable: int
    sequences: int
    busy_share: float
    ddp: Placement
    fsdp: Placement
    tokens_per_second: float
    step_seconds: float
    seconds: float
    averaging_share: float
    storage: Storage
    advice: tuple[str, ...]
    remarks: tuple[str, ...]

    @cached_property
    def chosen(self) -> Placement | None:
        """ "ddp" where it fits, "fsdp" where not; on one GPU there is nothing to shard."""
        return next((one for one in self.candidates if one.fits), None)

    @property
    def candidates(self) -> tuple[Placement, ...]:
        """In the order in which they are taken."""
        return (self.ddp,) if self.cluster.gpus == 1 else (self.ddp, self.fsdp)

    @property
    def gpu_hours(self) -> float:
        """GPUs times hours."""
        return self.cluster.gpus * self.seconds / 3600

    @property
    def dollars(self) -> float:
        """GPU-hours at the cluster's price."""
        return self.gpu_hours * self.cluster.price


def scale_plan(plan: Plan, cluster: Cluster, step: int, recompute: bool = False) -> ScalePlan:
    """What training `plan` to `step` comes to on `cluster`; `recompute` is whether blocks are computed again."""
    gpus, gpu = cluster.gpus, cluster.gpu
    sequences = _largest_batch(plan, step)
    ddp, fsdp = (_place(plan, cluster, spreading, step, recompute) for spreading in ("ddp", "fsdp"))
    taken = ddp if ddp.fits or gpus == 1 else fsdp

    def step_seconds(sequences: int) -> float:
        """The GPU with most sequences is waited for."""
        flops = -(-sequences // gpus) * plan.decoder.context * training_flops_per_token(plan.decoder)
        return flops / (gpu.peak_flops * cluster.utilisation)

    each = step_seconds(sequences)
    averaging = plan.recipe.averaging
    averages = len(averaging.tracks) + (averaging.history is not None)
    # An average and the weights are read, the average is written.
    moved = 3 * taken.memory.weights * averages / averaging.every
    averaging_share = moved / gpu.memory_bandwidth / each
    return ScalePlan(
        step=step,
        tokens=plan.tokens(step),
        recompute=recompute,
        cluster=cluster,
        usable=usable_bytes(gpu),
        sequences=sequences,
        busy_share=sequences / (gpus * -(-sequences // gpus)),
        ddp=ddp,
        fsdp=fsdp,
        tokens_per_second=sequences * plan.decoder.context / each,
        step_seconds=each,
        seconds=sum(steps * step_seconds(count) for steps, count in _stages(plan, step)),
        averaging_share=averaging_share,
        storage=storage_of(plan, step, taken.spreading, gpus, cluster.nodes, cluster.storage, each),
        advice=tuple(_advice(plan, cluster, step, recompute)),
        remarks=tuple(_remarks(sequences, gpus, averaging_share, averaging.every)),
    )


def _stages(plan: Plan, step: int) -> Iterator[tuple[int, int]]:
    """(updates, sequences) of each stretch of batches of one size, up to `step`."""
    stages = plan.sizes.stages
    ends = [first - 1 for first, _ in stages[1:]] + [step]
    for (first, count), end in zip(stages, ends, strict=True):
        if (steps := min(end, step) - first + 1) > 0:
            yield steps, count


def _largest_batch(plan: Plan, step: int) -> int:
    return max((count for _, count in _stages(plan, step)), default=plan.sizes.sequences(1))


def _place(plan: Plan, cluster: Cluster, spreading: Spreading, step: int, recompute: bool) -> Placement:
    gpus, usable = cluster.gpus, usable_bytes(cluster.gpu)
    share = -(-_largest_batch(plan, step) // gpus)

    def memory(microbatch: int) -> DeviceMemory:
        return device_memory(plan, spreading, gpus, microbatch, recompute)

    largest, too_large = 0, share + 1  # memory grows with the microbatch
    while too_large - largest > 1:
        middle = (largest + too_large) // 2
        largest, too_large = (middle, too_large) if memory(middle).total <= usable else (largest, middle)
    asked = plan.recipe.batch.microbatch
    if asked is not None:
        microbatch = min(asked, share)
    else:
        microbatch = _even_microbatch(share, largest)
    needed = memory_of(plan)
    history = plan.recipe.averaging.history

    def held(total: int) -> int:
        return total if spreading == "ddp" else shard(total, plan.decoder, gpus)

    blocks = held(needed.blocks) if history is not None and not history.spill else 0
    staging = held(needed.weights) if history is not None else 0
    copy = held(needed.checkpoint)
    on_node = min(gpus, cluster.per_node)
    return Placement(
        spreading=spreading,
        fits=microbatch <= largest,
        microbatch=microbatch,
        largest_microbatch=largest,
        passes=-(-share // microbatch),
        memory=memory(microbatch),
        blocks=blocks,
        staging=staging,
        checkpoint_copy=copy,
        node_memory=on_node * (blocks + staging) + copy * (1 if spreading == "ddp" else on_node),
    )


def _remarks(sequences: int, gpus: int, averaging: float, every: int) -> Iterator[str]:
    """GPUs that have nothing to do or wait, and averages that hold them up."""
    if gpus > sequences:
        yield (
            f"{gpus - sequences:,} of {gpus:,} GPUs get no sequence of a batch: at most --gpus {sequences}, or "
            f"batch.sequences={gpus} (another recipe)"
        )
    elif sequences % gpus:
        yield (
            f"{sequences} sequences do not divide by {gpus:,} GPUs, and some wait for those that have one more: "
            f"--gpus {_divisor(sequences, gpus)} divides them"
        )
    if averaging > _MUCH:
        yield (
            f"averages take {averaging:.0%} of an update, so the utilisation will not be reached: "
            f"averaging.every={math.ceil(every * averaging / _MUCH)} makes it {_MUCH:.0%}"
        )


def _even_microbatch(share: int, largest: int) -> int:
    """Sequences of a pass, at most `largest`: passes all alike if possible, for each size is compiled anew."""
    if not largest:
        return 1
    even = _divisor(share, largest)
    return even if 2 * even >= largest else -(-share // -(-share // largest))


def _advice(plan: Plan, cluster: Cluster, step: int, recompute: bool) -> Iterator[str]:
    """What to change where nothing fits."""
    if _fits(plan, cluster, step, recompute):
        return
    found = list(_ways_out(plan, cluster, step, recompute))
    if not found and not recompute:
        found = [f"engine.recompute=true and {way}" for way in _ways_out(plan, cluster, step, True)]
    yield from found or [
        "no number of GPUs of any kind known here holds one sequence of it: lower model.width, model.layers, "
        "model.context or the vocabulary"
    ]


def _divisor(sequences: int, most: int) -> int:
    return next(gpus for gpus in range(most, 0, -1) if sequences % gpus == 0)


def _ways_out(plan: Plan, cluster: Cluster, step: int, recompute: bool) -> Iterator[str]:
    """Single changes with which it fits, the gentlest first."""
    if not recompute and _fits(plan, cluster, step, recompute=True):
        yield "engine.recompute=true (a third more work)"
    asked = plan.recipe.batch.microbatch
    if asked is not None and asked > 1:
        batch = replace(plan.recipe.batch, microbatch=None)
        freed = replace(plan, recipe=replace(plan.recipe, batch=batch))
        spreadings: tuple[Spreading, ...] = ("ddp",) if cluster.gpus == 1 else ("ddp", "fsdp")
        largest = max(
            _place(freed, cluster, spreading, step, recompute).largest_microbatch for spreading in spreadings
        )
        if largest:
            yield f"batch.microbatch={largest} or lower, in place of {asked}"
    more = cluster.gpus
    while more * 2 <= max(_largest_batch(plan, step), 1):
        more *= 2
        if _fits(plan, replace(cluster, gpus=more), step, recompute):
            yield f"--gpus {more}"
            break
    tracks = plan.recipe.averaging.tracks
    for kept in range(len(tracks) - 1, -1, -1):
        averaging = replace(plan.recipe.averaging, tracks=tracks[:kept])
        fewer = replace(plan, recipe=replace(plan.recipe, averaging=averaging))
        if _fits(fewer, cluster, step, recompute):
            yield f"{kept} in place of {len(tracks)} averaging.tracks"
            break
    if plan.recipe.engine.compile != "off":
        engine = replace(plan.recipe.engine, compile="off")
        if _fits(replace(plan, recipe=replace(plan.recipe, engine=engine)), cluster, step, recompute):
            yield "engine.compile=off (slower)"
    for gpu in sorted(GPUS, key=lambda gpu: (gpu.memory, gpu.price)):
        if gpu.memory > cluster.gpu.memory and _fits(plan, replace(cluster, gpu=gpu), step, recompute):
            yield f"--gpu {gpu.name}"
            break


def _fits(plan: Plan, cluster: Cluster, step: int, recompute: bool) -> bool:
    spreadings: tuple[Spreading, ...] = ("ddp",) if cluster.gpus == 1 else ("ddp", "fsdp")
    return any(_place(plan, cluster, spreading, step, recompute).fits for spreading in spreadings)
