"""How a model lies on the ranks: whole on each (DDP), or every parameter in shards (FSDP2)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Literal

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, MixedPrecisionPolicy, fully_shard
from torch.nn.parallel import DistributedDataParallel

from riverrun.models import Decoder
from riverrun.models.attention import rotary_tables
from riverrun.models.config import DecoderConfig
from riverrun.models.objective import Objective
from riverrun.ranks import Ranks
from riverrun.sharding import forget_gathered, own_part, shard
from riverrun.train.engine import Engine

Layout = Literal["alone", "ddp", "fsdp"]


@dataclass(frozen=True)
class Trainee:
    """A model as it is trained: call `objective` for the summed loss, forward and backward.

    Gradients are summed over the ranks, not averaged: each divides by the targets of the whole batch beforehand.
    """

    decoder: Decoder
    objective: nn.Module
    layout: Layout

    @contextmanager
    def accumulating(self, last: bool) -> Iterator[None]:
        """For each backward pass of a batch but the last: gradients stay here, where that saves communication.

        Shards are summed at every pass all the same: what waits is then a shard, not a whole gradient.
        """
        ddp = self.objective
        with ddp.no_sync() if isinstance(ddp, DistributedDataParallel) and not last else nullcontext():
            yield

    def weights_changed(self) -> None:
        """Forget what was gathered of weights that have changed since; to be called around evaluations."""
        forget_gathered(self.objective)


def new_trainee(
    config: DecoderConfig, seed: int, engine: Engine, ranks: Ranks, layout: Layout, recompute: bool
) -> Trainee:
    """The model of a seed, the same weights whatever the layout, on the ranks' devices."""
    if layout != "fsdp":
        decoder = Decoder(config, seed=seed).to(engine.device)
        decoder.recompute = recompute
        objective: nn.Module = Objective(decoder)
        if engine.compile:
            objective.compile()
        if layout == "ddp":
            ddp = DistributedDataParallel(objective, forward_sync_buffers=False, gradient_as_bucket_view=True)
            ddp.register_comm_hook(None, lambda state, bucket: _summed(bucket))
            objective = ddp
        return Trainee(decoder, objective, layout)
    with torch.device("meta"):  # a model that does not fit is never whole anywhere
        decoder = Decoder(config, seed=None)
    decoder.recompute = recompute
    objective = Objective(decoder)
    mesh = init_device_mesh(engine.device.type, (ranks.size,))
    for block in decoder.blocks:
        if engine.compile:
            block.compile()
        fully_shard(block, mesh=mesh, mp_policy=_mixed(engine))
    fully_shard(objective, mesh=mesh)
    for module in objective.modules():
        if isinstance(module, FSDPModule):
            module.set_gradient_divide_factor(1.0)
            module.set_force_sum_reduction_for_comms(True)
    objective.to_empty(device=engine.device)
    for table, values in zip((decoder.cosine, decoder.sine), rotary_tables(config), strict=True):
        table.copy_(values)
    decoder.init_weights(seed, lambda parameter, drawn: shard(parameter).copy_(own_part(drawn, parameter)))
    return Trainee(decoder, objective, layout)


def _mixed(engine: Engine) -> MixedPrecisionPolicy:
    """Blocks are gathered in bf16 where their products are; gradients are always summed in fp32.

    The stream between the blocks stays fp32, as on one device. Embedding, unembedding and the final norm are gathered
    in fp32.
    """
    return MixedPrecisionPolicy(
        param_dtype=torch.bfloat16 if engine.precision == "bf16" else None,
        reduce_dtype=torch.float32,
        cast_forward_inputs=False,
    )


def _summed(bucket: dist.GradBucket) -> torch.futures.Future[Tensor]:
    """DDP's all-reduce without its division by the number of ranks."""
    work = dist.all_reduce(bucket.buffer(), async_op=True)
    assert work is not None
    summed: torch.futures.Future[Tensor] = work.get_future().then(lambda future: future.value()[0])
    return summed
