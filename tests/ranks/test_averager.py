"""Averages of modules that others train, over ranks: DDP and FSDP2."""

import gc
from functools import partial

import numpy as np
import pytest
import torch
import torch.distributed as dist
import torch.distributed.checkpoint as dcp
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor, Replicate, Shard, distribute_tensor
from torch.nn.parallel import DistributedDataParallel

from riverrun.averaging import HalfLife, History
from riverrun.integrations.torch import Averager
from riverrun.sharding import shard, spread

pytestmark = pytest.mark.xdist_group("processes")


def new_model(layout):
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Linear(5, 3), nn.Tanh(), nn.Linear(3, 7), nn.Linear(7, 1)
    )  # uneven, or empty shards
    if layout in ("fsdp", "hsdp"):
        shape, names = ((2,), ("shard",)) if layout == "fsdp" else ((1, 2), ("replicate", "shard"))
        mesh = init_device_mesh("cpu", shape, mesh_dim_names=names)
        fully_shard(model[2], mesh=mesh)
        fully_shard(model, mesh=mesh)
    return DistributedDataParallel(model) if layout == "ddp" else model


def whole(tensors):
    full = {name: t.full_tensor() if isinstance(t, DTensor) else t for name, t in tensors.items()}
    return {name: t.numpy().copy() for name, t in full.items()}  # tensors would go with the process


def train(model, averager, start, stop):
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for step in range(start + 1, stop + 1):
        batch = torch.randn(4, 5, generator=torch.Generator().manual_seed(step))
        model(batch).square().mean().backward()
        optimizer.step()
        optimizer.zero_grad()
        averager.update(step)


def outputs(model):
    with torch.no_grad():
        return model(torch.ones(2, 5)).numpy().copy()


def run(layout, *settings):
    """What `trained` finds, on a rank of its own."""
    dist.init_process_group("gloo")
    found = trained(layout, *settings)
    gc.collect()  # a DDP module that goes after its process group may wait for ever
    dist.barrier()
    dist.destroy_process_group()
    return found


def trained(layout, folder=None, load=False, stop=12):
    model = new_model(layout)
    outputs(model)  # FSDP2 keeps what it gathered
    averager = Averager(model, [HalfLife(25)], partial(History, resolution=2) if folder is None else None)
    start = 0
    if load:
        state = {"model": model.state_dict(), "averages": averager.state_dict()}
        dcp.load(state, checkpoint_id=folder)
        model.load_state_dict(state["model"])
        averager.load_state_dict(state["averages"])
        start = averager.step
    train(model, averager, start, stop)
    if folder is not None and not load:
        dcp.save(
            {"model": model.state_dict(), "averages": averager.state_dict()},
            checkpoint_id=folder,
        )
    raw = outputs(model)
    with averager.applied("ema-25"):
        averaged = outputs(model)
    found = {
        "raw": raw,
        "raw again": outputs(model),
        "averaged": averaged,
        "average": whole(averager.average("ema-25")),
    }
    if folder is None:
        with averager.applied("tail-0.5"):
            found["tail"] = outputs(model)
    return found


def close(ours, others):
    torch.testing.assert_close(ours, others, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("layout", ["ddp", "fsdp", "hsdp"])
def test_averages_over_ranks_are_those_of_one_process(layout, start):
    alone, over_ranks = trained("alone"), start(run, layout).results()[0]
    close(over_ranks, alone)
    assert np.array_equal(over_ranks["raw"], over_ranks["raw again"])
    assert not np.array_equal(over_ranks["raw"], over_ranks["averaged"])


def spread_elsewhere():
    dist.init_process_group("gloo")
    mesh = init_device_mesh("cpu", (2, 1), mesh_dim_names=("replicate", "shard"))
    like = distribute_tensor(torch.zeros(3, 2), mesh, [Replicate(), Shard(0)])
    there = spread(
        shard(like).to("meta"), like
    )  # stands for averages in the host's memory, of a GPU's shards
    found = there.device_mesh
    same = found.mesh.equal(mesh.mesh) and found.mesh_dim_names == mesh.mesh_dim_names
    same = same and found.get_coordinate() == mesh.get_coordinate() and there.placements == like.placements
    dist.barrier()
    dist.destroy_process_group()
    return same, found.device_type, tuple(there.shape)


def test_a_shard_on_another_device_keeps_its_place_in_the_mesh(start):
    assert start(spread_elsewhere).results() == [(True, "meta", (3, 2))] * 2


@pytest.mark.parametrize("layout", ["ddp", "fsdp"])
def test_saved_by_two_ranks_and_gone_on_with_by_one(layout, start, tmp_path):
    saved = str(tmp_path / "saved")
    start(run, layout, saved, False, 6).results()
    at_once = trained("alone", stop=12)
    model = new_model("alone")
    averager = Averager(model)
    state = {"averages": averager.state_dict()}
    names = {f"module.{n}" if layout == "ddp" else n: v for n, v in model.state_dict().items()}
    dcp.load(state | {"model": names}, checkpoint_id=saved)
    averager.load_state_dict(state["averages"])
    train(model, averager, 6, 12)
    close(whole(averager.average("ema-25")), at_once["average"])
    resumed = start(run, layout, saved, True).results()[0]
    close(resumed["average"], at_once["average"])
