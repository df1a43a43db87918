"""Plans for many GPUs: their numbers are those of real models and tensors, and they behave as hardware does."""

import re
from dataclasses import replace
from itertools import pairwise

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from riverrun.errors import SettingError
from riverrun.models import Decoder, DecoderConfig
from riverrun.models.cross_entropy import CHUNK
from riverrun.train import build_plan, parse_recipe
from riverrun.train.device_memory import activation_bytes, block_activation_bytes, shard
from riverrun.train.hardware import GPUS, gpu_named, peak_flops
from riverrun.train.scale_plan import Cluster, scale_plan
from riverrun.train.storage_plan import parse_bandwidth

SHAPES = {
    "150M": {"family": "olmo", "layers": 12, "width": 1024, "heads": 16, "context": 1024},
    "7B": {"family": "llama", "layers": 32, "width": 4096, "heads": 32, "mlp": 11008, "context": 4096},
    "70B": {
        "family": "llama",
        "layers": 80,
        "width": 8192,
        "heads": 64,
        "context": 4096,
        "kv_heads": 8,
        "mlp": 28672,
    },
}


def planned(size="7B", *overrides, sequences=1024):
    table = {
        "model": SHAPES[size],
        "batch": {"sequences": sequences},
        "schedule": {"kind": "constant", "warmup": "10 steps"},
        "averaging": {"tracks": ["half-life:25", "half-life:100"]},
    }
    return build_plan(parse_recipe(table, overrides), 32_000)


def cluster(gpus=8, gpu="h100", **changes):
    settings = {"price": 3.0, "utilisation": 0.4, "storage": 2e9} | changes
    return Cluster(gpu=gpu_named(gpu), gpus=gpus, **settings)


@pytest.mark.parametrize(
    "name", ["h100", "H100", "a100-40gb", "A100 80GB", "rtx_4090", "b200", "l40s", "h200"]
)
def test_a_gpu_is_found_however_its_name_is_written(name):
    assert gpu_named(name) in GPUS


@pytest.mark.parametrize(("name", "meant"), [("h10", "h100"), ("rtx-4080", "rtx-4090"), ("b20", "b200")])
def test_a_wrong_gpu_is_answered_with_the_nearest(name, meant):
    with pytest.raises(SettingError, match=f"^--gpu: got '{name}'.* did you mean '{meant}'"):
        gpu_named(name)


@pytest.mark.parametrize(
    ("reported", "name"),
    [
        ("NVIDIA H100 80GB HBM3", "h100"),
        ("NVIDIA H100 PCIe", "h100-pcie"),
        ("NVIDIA H100 NVL", "h100-nvl"),
        ("NVIDIA H200", "h200"),
        ("NVIDIA A100-SXM4-40GB", "a100-40gb"),
        ("NVIDIA A100-PCIE-40GB", "a100-40gb"),
        ("NVIDIA A100-SXM4-80GB", "a100-80gb"),
        ("NVIDIA A100 80GB PCIe", "a100-80gb"),
        ("NVIDIA B200", "b200"),
        ("NVIDIA L40S", "l40s"),
        ("NVIDIA L4", "l4"),
        ("NVIDIA A10G", "a10g"),
        ("NVIDIA RTX A6000", "rtx-a6000"),
        ("NVIDIA GeForce RTX 4090", "rtx-4090"),
    ],
)
def test_what_torch_reports_is_known(reported, name):
    matching = [gpu.name for gpu in GPUS if re.search(gpu.reported, reported)]
    assert matching == [name]
    assert peak_flops(reported) == gpu_named(name).peak_flops


@pytest.mark.parametrize(
    "reported",
    [
        "NVIDIA H100 80GB HBM3 MIG 1g.10gb",
        "NVIDIA L40",
        "NVIDIA GeForce RTX 4090 Laptop GPU",
        "NVIDIA GeForce RTX 4090 D",
        "NVIDIA GH200 480GB",
        "Tesla V100-SXM2-16GB",
        "",
    ],
)
def test_what_is_not_known_has_no_peak(reported):
    assert peak_flops(reported) is None


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("family", ["llama", "olmo"])
def test_weights_are_those_of_a_real_decoder(family, tied, tiny_recipe):
    recipe = tiny_recipe(f"model.family={family}", f"model.tied={str(tied).lower()}")
    plan = build_plan(recipe, 300)
    found = scale_plan(plan, cluster(1), 10)
    real = sum(parameter.nbytes for parameter in Decoder(plan.decoder).parameters())
    assert found.ddp.memory.weights == found.ddp.memory.gradients == real
    assert found.ddp.memory.optimizer == found.ddp.memory.tracks == 2 * real


@pytest.mark.parametrize(
    "shape",
    [
        {"family": "llama", "width": 128, "heads": 4},
        {"family": "llama", "width": 128, "heads": 4, "kv_heads": 2, "mlp": 256},
        {"family": "llama", "width": 64, "heads": 8, "mlp": 400},
        {"family": "olmo", "width": 128, "heads": 4},
        {"family": "olmo", "width": 64, "heads": 4, "kv_heads": 1},
    ],
)
def test_activations_are_what_autograd_holds(shape):
    """Of one more block, for more sequences: what weights and tables take falls out."""
    context = 64

    def config(layers):
        return DecoderConfig(layers=layers, context=context, vocabulary=50, attention="fused", **shape)

    def held(layers, sequences):
        return bytes_saved_by_blocks(config(layers), sequences)

    of_a_block = (held(2, 8) - held(2, 4)) - (held(1, 8) - held(1, 4))
    planned = 4 * context * block_activation_bytes(config(1))
    if shape["family"] == "llama":
        assert of_a_block == planned
    else:
        # On a CPU, autocast leaves the norms of queries and keys in bf16; on a GPU they are in fp32.
        assert 0.9 * planned < of_a_block <= planned
    first, second, third = (activation_bytes(config(layers), 4)[0] for layers in (1, 2, 3))
    assert second - first == third - second == planned


@pytest.mark.slow
@pytest.mark.parametrize(("family", "share"), [("llama", 0.79), ("olmo", 0.96)])
def test_compiled_it_is_less(family, share, monkeypatch):
    """As torch's compiler splits forward and backward passes; code for them is not generated."""
    monkeypatch.setattr("riverrun.models.decoder.rms_norm", lambda x, w, eps: F.rms_norm(x, w.shape, w, eps))
    context = 64

    def held(layers, sequences):
        torch._dynamo.reset()
        config = DecoderConfig(family=family, layers=layers, context=context, attention="fused", **sizes)
        compiled = torch.compile(run_blocks, backend="aot_eager_decomp_partition", dynamic=False)
        return bytes_saved_by_blocks(config, sequences, compiled)

    sizes = {"width": 256, "heads": 4, "vocabulary": 50}
    of_a_block = (held(3, 8) - held(3, 4)) - (held(2, 8) - held(2, 4))
    config = DecoderConfig(family=family, layers=1, context=context, **sizes)
    assert of_a_block == pytest.approx(share * 4 * context * block_activation_bytes(config), rel=0.01)


def run_blocks(model, stream):
    for block in model.blocks:
        stream = block(stream, model.cosine, model.sine)
    return stream.sum()


def bytes_saved_by_blocks(config, sequences, run=run_blocks):
    model = Decoder(config)
    weights = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}
    storages = {}

    def note(tensor):
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            storages[storage.data_ptr()] = storage  # kept, or its address would be given out again
        return tensor

    tokens = torch.randint(config.vocabulary, (sequences, config.context))
    with (
        torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor),
        torch.autocast("cpu", torch.bfloat16),
    ):
        stream = F.embedding(tokens, model.embedding.weight)
        held = run(model, stream)
        assert held.requires_grad
        return sum(storage.nbytes() for storage in storages.values())


@pytest.mark.parametrize("size", ["150M", "7B", "70B"])
def test_shards_of_the_state_add_up_to_the_state(size):
    plan = planned(size, "averaging.history.resolution=4")
    whole = scale_plan(plan, cluster(1), 100)
    for gpus in (2, 8, 64):
        sharded = scale_plan(plan, cluster(gpus), 100)
        assert sharded.ddp.memory.state == whole.ddp.memory.state
        assert sharded.fsdp.memory.state * gpus == whole.ddp.memory.state
        assert sharded.fsdp.blocks * gpus == whole.ddp.blocks
        assert sharded.fsdp.checkpoint_copy * gpus == sharded.storage.checkpoint


@given(gpus=st.integers(1, 5000))
def test_the_fullest_shard_is_that_of_torchs_chunks(gpus):
    """`fully_shard` chunks the rows of each parameter, and the first rank gets the first chunk."""
    config = DecoderConfig(family="olmo", layers=2, width=48, heads=3, context=8, vocabulary=101)
    rows = {name: torch.arange(len(p)) for name, p in Decoder(config, seed=None).named_parameters()}
    parameters = dict(Decoder(config, seed=None).named_parameters())
    first = sum(parameters[name][at.chunk(gpus)[0]].numel() for name, at in rows.items())
    total = sum(parameter.numel() for parameter in parameters.values())
    assert shard(4 * total, config, gpus) == 4 * first
    assert shard(4 * total, config, gpus) * gpus >= 4 * total


@pytest.mark.parametrize("size", ["150M", "7B", "70B"])
def test_more_gpus_never_need_more(size):
    plan = planned(size, "batch.microbatch=1", "averaging.history.resolution=4", sequences=4096)
    found = [scale_plan(plan, cluster(2**power), 100, recompute=True) for power in range(13)]
    for fewer, more in pairwise(found):
        for before, after in ((fewer.ddp, more.ddp), (fewer.fsdp, more.fsdp)):
            assert after.memory.total <= before.memory.total
            assert after.blocks <= before.blocks
            assert after.fits >= before.fits
        assert more.seconds <= fewer.seconds
        assert more.storage.per_rank <= fewer.storage.per_rank


def test_ddp_where_it_fits_fsdp_where_not_nothing_where_neither():
    chosen = {
        (size, gpus): found.chosen and found.chosen.spreading
        for size in SHAPES
        for gpus in (1, 8, 64)
        for found in [scale_plan(planned(size), cluster(gpus), 100, recompute=True)]
    }
    assert {gpus: chosen["150M", gpus] for gpus in (1, 8, 64)} == {1: "ddp", 8: "ddp", 64: "ddp"}
    assert {gpus: chosen["7B", gpus] for gpus in (1, 8, 64)} == {1: None, 8: "fsdp", 64: "fsdp"}
    assert {gpus: chosen["70B", gpus] for gpus in (1, 8, 64)} == {1: None, 8: None, 64: "fsdp"}


@pytest.mark.parametrize("recompute", [False, True])
@pytest.mark.parametrize("gpus", [1, 8, 24, 64])
def test_the_largest_microbatch_fits_and_one_more_does_not(gpus, recompute):
    plan = planned("150M")
    found = scale_plan(plan, cluster(gpus, "a100-40gb"), 100, recompute)

    def at(microbatch):
        asked = replace(plan.recipe.batch, microbatch=microbatch)
        other = replace(plan, recipe=replace(plan.recipe, batch=asked))
        return scale_plan(other, cluster(gpus, "a100-40gb"), 100, recompute).ddp

    largest = found.ddp.largest_microbatch
    assert at(largest).fits
    assert at(largest).memory.total <= found.usable
    if largest < -(-1024 // gpus):
        assert not at(largest + 1).fits
    # All of the batch is done, in passes that are alike where GPUs have equally many sequences.
    assert found.ddp.microbatch <= largest <= 2 * found.ddp.microbatch
    assert found.ddp.microbatch * found.ddp.passes * gpus >= 1024
    assert 1024 % gpus or found.ddp.microbatch * found.ddp.passes * gpus == 1024


def test_recomputing_takes_less_memory_for_the_same_batch():
    plan = planned("7B", "batch.microbatch=2")
    kept, again = (scale_plan(plan, cluster(64), 100, recompute) for recompute in (False, True))
    assert again.fsdp.memory.total < kept.fsdp.memory.total / 2
    assert again.fsdp.memory.activations < kept.fsdp.memory.activations / 5
    assert again.fsdp.largest_microbatch > kept.fsdp.largest_microbatch
    assert again.fsdp.memory.state == kept.fsdp.memory.state


def test_a_compiled_loss_takes_a_copy_of_the_unembedding_for_each_chunk():
    def taken(compiled, microbatch):
        """With rows so many that the loss takes more than a block's backward pass."""
        settings = (
            "model.embedding_rows=262144",
            f"engine.compile={compiled}",
            f"batch.microbatch={microbatch}",
        )
        return scale_plan(planned("7B", *settings), cluster(64), 100).fsdp.memory.total

    one, two = (taken("on", microbatch) - taken("off", microbatch) for microbatch in (1, 2))
    chunks = 4096 * 262_144 // CHUNK
    assert one == chunks * 262_144 * 4096 * 2
    assert two == 2 * one
    assert taken("auto", 1) == taken("on", 1)  # which it is on GPUs


@pytest.mark.parametrize(
    ("plan", "asked"),
    [
        (planned("70B"), cluster(64)),
        (planned("70B"), cluster(1)),
        (planned("7B"), cluster(2)),
        (planned("7B", "batch.microbatch=64"), cluster(64)),
        (planned("7B", 'averaging.tracks=["half-life:25", "half-life:50", "half-life:6.25"]'), cluster(4)),
        (planned("150M", "batch.microbatch=1024"), cluster(1, "rtx-4090")),
    ],
)
def test_where_nothing_fits_what_it_advises_does(plan, asked):
    found = scale_plan(plan, asked, 100)
    assert found.chosen is None
    assert found.advice
    for advice in found.advice:
        recipe, there, recompute = plan.recipe, asked, "engine.recompute=true" in advice
        if "engine.compile=off" in advice:
            recipe = replace(recipe, engine=replace(recipe.engine, compile="off"))
        if gpus := re.search(r"--gpus (\d+)", advice):
            there = replace(there, gpus=int(gpus[1]))
        if kind := re.search(r"--gpu ([\w-]+)", advice):
            there = replace(there, gpu=gpu_named(kind[1]))
        if microbatch := re.search(r"batch\.microbatch=(\d+)", advice):
            recipe = replace(recipe, batch=replace(recipe.batch, microbatch=int(microbatch[1])))
        if tracks := re.search(r"(\d+) in place of \d+ averaging\.tracks", advice):
            kept = recipe.averaging.tracks[: int(tracks[1])]
            recipe = replace(recipe, averaging=replace(recipe.averaging, tracks=kept))
        assert scale_plan(replace(plan, recipe=recipe), there, 100, recompute).chosen, advice


def test_what_fits_nowhere_is_told_so():
    found = scale_plan(planned("70B", "model.width=262144", "model.mlp=1000000"), cluster(8), 100)
    assert found.chosen is None
    (advice,) = found.advice
    assert "lower model.width" in advice


def test_time_is_divided_by_gpus_and_the_price_stays():
    plan = planned("150M")
    one, eight = scale_plan(plan, cluster(1), 100), scale_plan(plan, cluster(8), 100)
    assert one.seconds == pytest.approx(8 * eight.seconds)
    assert one.dollars == pytest.approx(eight.dollars)
    assert eight.tokens_per_second == pytest.approx(8 * one.tokens_per_second)
    assert scale_plan(plan, cluster(8, utilisation=0.2), 100).dollars == pytest.approx(2 * eight.dollars)
    assert scale_plan(plan, cluster(8, price=6.0), 100).dollars == pytest.approx(2 * eight.dollars)
    assert eight.seconds == pytest.approx(eight.tokens / eight.tokens_per_second)


def test_gpus_that_have_nothing_to_do_are_counted_and_told():
    plan = planned("150M")
    full, idle, uneven = (scale_plan(plan, cluster(gpus), 100) for gpus in (1024, 4096, 600))
    assert (full.busy_share, idle.busy_share) == (1, 0.25)
    assert full.seconds == idle.seconds == uneven.seconds / 2
    assert idle.dollars == pytest.approx(4 * full.dollars)
    assert any("3,072 of 4,096 GPUs get no sequence" in remark for remark in idle.remarks)
    assert any("1024 sequences do not divide by 600 GPUs" in remark for remark in uneven.remarks)


def test_a_ramp_is_paid_for_stage_by_stage():
    """The memory is that of the largest batch so far; the time is that of each in turn."""
    steady = planned("150M", sequences=512)
    ramped = planned("150M", 'batch.ramps=[{at = "50 steps", sequences = 1024}]', sequences=512)
    before = scale_plan(ramped, cluster(8), 50)
    after = scale_plan(ramped, cluster(8), 100)
    assert before.seconds == pytest.approx(scale_plan(steady, cluster(8), 50).seconds)
    assert after.seconds == pytest.approx(3 * before.seconds)
    assert (before.sequences, after.sequences) == (512, 1024)


def test_averages_that_hold_training_up_are_told():
    """A GPU's share of the batch is one sequence, and ten averages are as much traffic as ever."""
    tracks = ", ".join(f'"half-life:{number}"' for number in range(10, 20))
    often = scale_plan(planned("150M", f"averaging.tracks=[{tracks}]"), cluster(1024), 100)
    assert often.averaging_share > 0.1
    every = int(re.search(r"averaging\.every=(\d+)", " ".join(often.remarks))[1])
    seldom = planned("150M", f"averaging.tracks=[{tracks}]", f"averaging.every={every}")
    mended = scale_plan(seldom, cluster(1024), 100)
    assert mended.averaging_share <= 0.1
    assert not mended.remarks


def test_a_history_is_in_host_memory_or_on_the_disk():
    kept = scale_plan(planned("7B", "averaging.history.resolution=4"), cluster(64), 1000)
    spilled = scale_plan(planned("7B", "averaging.history.spill=true"), cluster(64), 1000)
    none = scale_plan(planned("7B"), cluster(64), 1000)
    assert none.fsdp.blocks == none.fsdp.staging == none.storage.blocks == 0
    assert kept.fsdp.blocks > 0
    assert spilled.fsdp.blocks == 0
    assert spilled.storage.spilled == pytest.approx(64 * kept.fsdp.blocks, rel=1e-6)
    assert spilled.storage.disk == kept.storage.disk + spilled.storage.spilled
    assert kept.fsdp.memory.tracks == pytest.approx(1.5 * none.fsdp.memory.tracks)


def test_every_node_writes_its_share_and_faster_storage_is_faster():
    plan = planned("7B")
    eight, sixteen = (scale_plan(plan, cluster(gpus), 1000, recompute=True).storage for gpus in (8, 16))
    assert eight.write_seconds == pytest.approx(2 * sixteen.write_seconds)
    fast = scale_plan(plan, cluster(8, storage=8e9), 1000, recompute=True).storage
    assert eight.write_seconds == pytest.approx(4 * fast.write_seconds)
    assert eight.keeps_up
    assert not scale_plan(
        planned("7B", 'checkpoints.every="1 step"'), cluster(64, storage=1e7), 9
    ).storage.keeps_up


@pytest.mark.parametrize(
    ("text", "bytes_a_second"),
    [("2 GB/s", 2e9), ("500MB/s", 5e8), ("1.5 GiB/s", 1.5 * 2**30), ("100 Gbit/s", 12.5e9), ("8 Gbps", None)],
)
def test_a_bandwidth_is_read_as_it_is_written(text, bytes_a_second):
    if bytes_a_second is None:
        with pytest.raises(SettingError, match=r"--storage-bandwidth: got '8 Gbps'; must be .*2 GB/s"):
            parse_bandwidth(text)
    else:
        assert parse_bandwidth(text) == bytes_a_second


@pytest.mark.parametrize(
    "changes",
    [{"gpus": 0}, {"gpus": 2**21}, {"per_node": 0}, {"utilisation": 0}, {"utilisation": 1.1}, {"price": -1}],
)
def test_machines_that_cannot_be_are_refused(changes):
    with pytest.raises(SettingError, match=r"^--[a-z-]+: got .*; must be "):
        cluster(**changes)
