"""What a plan needs in memory, and whether the machine has it."""

from __future__ import annotations

import os
import resource
from dataclasses import dataclass, replace

import torch

from riverrun.errors import SettingError
from riverrun.models import count_parameters
from riverrun.models.cross_entropy import CHUNK as _CHUNK
from riverrun.ranks import ALONE, Ranks
from riverrun.train.engine import Engine
from riverrun.train.parallel import Layout
from riverrun.train.plan import Plan
from riverrun.units import short_bytes

_FP32 = 4
_BF16 = 2
_TOKEN = 8
# Of a device's memory, what replicas may take before they are sharded: activations need the rest.
_ROOM = 0.7


@dataclass(frozen=True, kw_only=True)
class Memory:
    """Bytes.

    Attributes:
        tracks: averages, and the open block of a history.
        blocks: a history's closed blocks, at the most: on the host, or spilled to the disk.
        batch: the least a backward pass takes: a batch's tokens, one microbatch's logits, or a chunk of them.
    """

    weights: int
    gradients: int
    optimizer: int
    tracks: int
    blocks: int
    batch: int

    @property
    def state(self) -> int:
        """Weights, gradients, optimizer and averages."""
        return self.weights + self.gradients + self.optimizer + self.tracks

    @property
    def checkpoint(self) -> int:
        """Tensors of a checkpoint, but for closed blocks, which checkpoints share."""
        return self.weights + self.optimizer + self.tracks

    def sharded(self, ranks: int) -> Memory:
        """What each of so many ranks holds where everything but the batch is in shards."""
        kept = ("weights", "gradients", "optimizer", "tracks", "blocks")
        return replace(self, **{name: -(-getattr(self, name) // ranks) for name in kept})


def memory_of(plan: Plan, ranks: Ranks = ALONE) -> Memory:
    """The memory of a plan: everything is held in fp32, two tensors of state a parameter, one with Muon.

    Of a batch each of the `ranks` has its share.
    """
    counts = count_parameters(plan.decoder)
    weights = counts.total * _FP32
    one_moment = counts.matrices if plan.recipe.optimizer.name == "muon" else 0
    sequences = ranks.largest_share(max(count for _, count in plan.sizes.stages))
    averaging = plan.recipe.averaging
    kept_open = 0 if averaging.history is None else 1
    return Memory(
        weights=weights,
        gradients=weights,
        optimizer=(2 * counts.total - one_moment) * _FP32,
        tracks=(len(averaging.tracks) + kept_open) * weights,
        blocks=0 if plan.history is None else weights + (plan.history.most_blocks - 2) * block_bytes(plan),
        batch=sequences * (plan.decoder.context + 1) * _TOKEN
        + min(_logits(plan, min(sequences, plan.recipe.batch.microbatch or sequences)), _CHUNK) * _FP32,
    )


def _logits(plan: Plan, sequences: int) -> int:
    return sequences * plan.decoder.context * plan.decoder.rows


def block_bytes(plan: Plan, oldest: bool = False) -> int:
    """A closed block of a plan's history; the oldest is in fp32, whatever the others are."""
    history = plan.recipe.averaging.history
    wide = oldest or history is None or history.dtype == "float32"
    return count_parameters(plan.decoder).total * (_FP32 if wide else _BF16)


def layout_of(plan: Plan, engine: Engine, ranks: Ranks) -> Layout:
    """How the model lies on the ranks: as the recipe says, or whole on each where that leaves room to compute."""
    if ranks.size == 1:
        return "alone"
    if plan.recipe.engine.parallel != "auto":
        return plan.recipe.engine.parallel
    memory, available = memory_of(plan, ranks), available_bytes(engine.device)
    if engine.device.type == "cpu":  # which the ranks of a machine share
        available //= ranks.local_size
    return "ddp" if memory.state + memory.batch <= _ROOM * available else "fsdp"


def check_memory(plan: Plan, engine: Engine, ranks: Ranks = ALONE) -> None:
    """`SettingError` for a plan that cannot fit, before anything is allocated or written.

    Activations are not counted, so a plan that passes may still be too large.
    """
    memory, available = memory_of(plan, ranks), available_bytes(engine.device)
    if layout_of(plan, engine, ranks) == "fsdp":
        memory = memory.sharded(ranks.size)
    if memory.state > available:
        raise SettingError(
            f"model: its weights, gradients, optimizer and averages take {short_bytes(memory.state)}, and there are "
            f"{short_bytes(available)}; lower model.layers or model.width"
        )
    history = plan.recipe.averaging.history
    if history is not None and not history.spill:
        host = available_bytes(None)
        taken = memory.blocks + (memory.state if engine.device.type == "cpu" else 0)
        if taken > host:
            raise SettingError(
                f"averaging.history: its blocks take {short_bytes(memory.blocks)}, and there are {short_bytes(host)} "
                'in all; set averaging.history.spill=true, averaging.history.dtype="bfloat16", or a lower '
                "averaging.history.resolution"
            )
    if memory.state + memory.batch > available:
        raise SettingError(
            f"batch: its tokens and logits take {short_bytes(memory.batch)}, and there are {short_bytes(available)}; "
            "set batch.microbatch, or lower batch.sequences"
        )


def available_bytes(device: torch.device | None = None) -> int:
    """Memory of a device, or of the machine as far as this process may use it."""
    if device is not None and device.type == "cuda":
        return torch.cuda.get_device_properties(device).total_memory
    physical = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    return physical if limit == resource.RLIM_INFINITY else min(physical, limit)
