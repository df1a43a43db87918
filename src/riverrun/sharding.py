"""What a rank holds of a sharded tensor, and how it becomes that tensor's part again.

A shard is a plain tensor; averages and histories are made of shards, without communication. `spread` gives a shard its
parameter's shape back, as a DTensor, under which a checkpoint knows it.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache

import torch
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import FSDPModule
from torch.distributed.tensor import DTensor, distribute_tensor


def shard(tensor: Tensor) -> Tensor:
    """What this rank holds of a tensor, in the same memory; the tensor itself where it is whole."""
    if not isinstance(tensor, DTensor):
        return tensor
    with torch.no_grad():
        return tensor.to_local()


def shards(tensors: Iterable[Tensor]) -> list[Tensor]:
    """What this rank holds of each."""
    return [shard(tensor) for tensor in tensors]


def spread(part: Tensor, like: Tensor) -> Tensor:
    """A shard as the DTensor that it is part of, laid out like a parameter, in the shard's own memory.

    Shape and stride are the parameter's: to infer them would take communication, and goes wrong on uneven shards.
    """
    if not isinstance(like, DTensor):
        return part
    mesh = like.device_mesh
    if part.device.type != mesh.device_type:
        mesh = _on(part.device.type, mesh)
    return DTensor.from_local(
        part, mesh, like.placements, run_check=False, shape=like.shape, stride=like.stride()
    )


def own_part(whole: Tensor, like: Tensor) -> Tensor:
    """This rank's shard of a tensor that every rank has whole, laid out like a sharded parameter."""
    assert isinstance(like, DTensor)
    return shard(distribute_tensor(whole, like.device_mesh, like.placements, src_data_rank=None))


def forget_gathered(module: nn.Module) -> None:
    """Let FSDP2 gather weights anew that it still has whole: to be called where shards were written to.

    After an evaluation the root's weights stay gathered, and the next forward pass would take them as they were.
    """
    for part in module.modules():
        if isinstance(part, FSDPModule):
            part.reshard()


@lru_cache
def _on(device_type: str, mesh: DeviceMesh) -> DeviceMesh:
    """The same mesh of the same ranks, for what they have on another device."""
    return DeviceMesh(device_type, mesh.mesh, mesh_dim_names=mesh.mesh_dim_names)
