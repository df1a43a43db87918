"""How many ranks train, and how a model lies on them, changes nothing but rounding."""

from pathlib import Path

import numpy
import pytest
import torch
from rank_processes import train_as_rank

from riverrun.train import load_recipe, parse_recipe, train
from riverrun.train.engine import settle
from riverrun.train.plan import build_plan
from riverrun.train.shipped import find_recipe
from riverrun.train.sources import open_sources, open_stream


def close(one, other, tolerance=1e-5):
    torch.testing.assert_close(one, other, rtol=0, atol=tolerance)


@pytest.mark.parametrize(("parallel", "size"), [("ddp", 3), ("fsdp", 3), ("fsdp", 4)])
def test_losses_are_those_of_one_process(parallel, size, tiny_recipe, train_on, losses, tmp_path):
    """Six sequences on four ranks, and 16 rows on three: shares of batches and parameters are uneven."""
    recipe = tiny_recipe(f"engine.parallel={parallel}")
    train(recipe, tmp_path / "one", "20 steps")
    train_on(recipe, tmp_path / "several", "20 steps", size=size)
    close(losses(tmp_path / "several"), losses(tmp_path / "one"))


@pytest.mark.parametrize("optimizer", ["adamw", "muon", "schedule-free-adamw"])
def test_every_optimizer_is_the_same_on_shards(optimizer, tiny_recipe, start, losses, tensors, tmp_path):
    recipe = tiny_recipe(f"optimizer.name={optimizer}", "batch.microbatch=2")
    for name, size in {"one": 1, "two": 2}.items():
        start(train_in_fp32_throughout, recipe.to_dict(), tmp_path / name, "16 steps", size=size).results()
    close(losses(tmp_path / "two"), losses(tmp_path / "one"))
    one, two = (tensors(tmp_path / name, 16) for name in ("one", "two"))
    assert one.keys() == two.keys()
    for name in one:
        close(two[name], one[name], 1e-4)


def train_in_fp32_throughout(recipe, run, until):
    """Muon's iteration computes in bf16, which makes of a last bit of a gradient the third digit of an update."""
    torch.Tensor.bfloat16 = torch.Tensor.float
    return train_as_rank(recipe, run, until)


def test_muon_as_it_is(tiny_recipe, train_on, losses, tmp_path):
    """As close to one process as that is to itself with another microbatch."""
    recipe = tiny_recipe("optimizer.name=muon")
    train(recipe, tmp_path / "one", "12 steps")
    train_on(recipe, tmp_path / "two", "12 steps")
    one, two = (losses(tmp_path / name) for name in ("one", "two"))
    close(two[:1], one[:1])
    close(two, one, 3e-3)


def test_more_ranks_than_sequences_are_refused(tiny_recipe, start, tmp_path):
    work = train_as_rank, tiny_recipe("batch.sequences=2").to_dict(), tmp_path / "run", "10 steps"
    for end in start(*work, size=3).all_ended():
        assert end.error == "SettingError"
        assert "give at least 3, or start at most 2 ranks" in end.text


def test_the_quickstart_on_two_ranks_is_the_quickstart(train_on, losses, tmp_path):
    overrides = ("engine.precision=fp32", "engine.device=cpu", "engine.parallel=fsdp", "metrics.every=1")
    recipe = load_recipe(find_recipe(Path("quickstart")), overrides)
    train(recipe, tmp_path / "one", "50 steps")
    train_on(recipe, tmp_path / "two", "50 steps")
    close(losses(tmp_path / "two"), losses(tmp_path / "one"))


def test_batches_are_the_same_samples_in_the_same_order_on_any_number_of_ranks(tiny_recipe):
    recipe, _ = settle(tiny_recipe('batch.ramps=[{at = "4 steps", sequences = 11}]'))
    sources = open_sources(recipe.data)
    stream = open_stream(build_plan(recipe, sources[0][0].vocabulary), sources, ())
    for step in (1, 2, 5, 9):
        whole = stream.batch(step)
        for size in (2, 3, 4):
            parts = [stream.batch(step, rank, size) for rank in range(size)]
            assert numpy.array_equal(numpy.concatenate([part.indices for part in parts]), whole.indices)
            assert numpy.array_equal(numpy.concatenate([part.tokens for part in parts]), whole.tokens)


def layout_as_rank(recipe):
    """Name -> (whole shape, own shape, placements, those of the moments, own shapes of averages), of each parameter."""
    from torch.distributed.tensor import DTensor

    from riverrun.ranks import joined
    from riverrun.train.session import new_state

    with joined(60) as ranks:
        recipe, engine = settle(parse_recipe(recipe), ranks)
        state = new_state(build_plan(recipe, 257), engine, None, ranks)
        state.step = 1
        state.update_averages()
        found = {}
        averages = zip(state.tracks["ema-25"].average, next(iter(state.history.blocks()))[1], strict=True)
        for name, parameter, kept in zip(state.names, state.parameters, averages, strict=True):
            moments = [optimizer.state[parameter] for optimizer in state.optimizers]
            placed = [
                str(tensor.placements) if isinstance(tensor, DTensor) else "whole"
                for tensor in (parameter, *(moments[0][key] for key in ("exp_avg", "exp_avg_sq")))
            ]
            own = parameter.to_local() if isinstance(parameter, DTensor) else parameter
            shapes = [tuple(tensor.shape) for tensor in (parameter, own, *kept)]
            assert not any(isinstance(tensor, DTensor) for tensor in kept)
            found[name] = placed, shapes
        return found


@pytest.mark.parametrize("size", [2, 3])
def test_under_fsdp_each_rank_holds_its_shard_of_everything(size, tiny_recipe, start):
    found = start(layout_as_rank, tiny_recipe().to_dict(), size=size).results()
    assert [*found[0]] == names_of(tiny_recipe())
    for name in found[0]:
        rows = 0
        for placed, (whole, own, *averages) in (layout[name] for layout in found):
            assert placed == ["(Shard(dim=0),)"] * 3
            assert averages == [own, own]
            assert own[1:] == whole[1:]
            rows += own[0]
        assert rows == whole[0]


def test_under_ddp_each_rank_holds_everything(tiny_recipe, start):
    for layout in start(layout_as_rank, tiny_recipe("engine.parallel=ddp").to_dict()).results():
        assert [*layout] == names_of(tiny_recipe())
        for placed, shapes in layout.values():
            assert placed == ["whole"] * 3
            assert len(set(shapes)) == 1


def names_of(recipe):
    from riverrun.models import Decoder

    with torch.device("meta"):
        return [name for name, _ in Decoder(recipe.decoder(257), seed=None).named_parameters()]
