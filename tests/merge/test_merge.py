"""Directories in, one directory out: complete and exact, or nothing at all."""

import hashlib
import json
import resource
import shutil
import subprocess
import sys

import pytest
import torch
from safetensors.torch import load_file, save_file

from riverrun.errors import RiverrunError, SettingError
from riverrun.merge import MergeError, check_target, merge, plan_merge
from riverrun.merge.weights import Weights, by_order

SHAPES = {"embed.weight": (40, 8), "layer.weight": (8, 8), "norm.weight": (8,)}


def contents(folder):
    """All tensors of a written directory, through the safetensors library."""
    found = {}
    for file in sorted(folder.glob("*.safetensors")):
        found |= load_file(file)
    return found


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32], ids=str)
@pytest.mark.parametrize("count", [1, 2, 3, 5])
def test_the_output_is_the_exact_average_of_the_inputs(count, dtype, family, tmp_path, exact_averages):
    paths, tensors = family(count, dtype)
    merge(plan_merge(paths), tmp_path / "out")
    found = contents(tmp_path / "out")
    assert found.keys() == SHAPES.keys()
    for name, tensor in found.items():
        rows = [each[name].view(-1) for each in tensors]
        assert tensor.dtype == dtype
        assert tensor.shape == SHAPES[name]
        assert torch.equal(
            tensor.double().view(-1), exact_averages(rows, Weights((1,) * count, count), dtype)
        )


def test_blocks_and_tiles_leave_no_trace(family, tmp_path, monkeypatch):
    paths, _ = family(3, shapes={"a": (1000, 37), "b": (5,), "c": (), "d": (0, 4), "e": (70_001,)})
    merge(plan_merge(paths), tmp_path / "once")
    monkeypatch.setattr("riverrun.merge.stream._LARGEST_BLOCK", 4999)
    monkeypatch.setattr("riverrun.merge.stream._SMALLEST_BLOCK", 501)
    monkeypatch.setattr("riverrun.merge.stream._TILE", 1)
    manifest = merge(plan_merge(paths), tmp_path / "pieces")
    for name in ("model.safetensors", "config.json"):
        assert (tmp_path / "once" / name).read_bytes() == (tmp_path / "pieces" / name).read_bytes()
    for each in manifest["inputs"]:
        for name, file in each["files"].items():
            found = hashlib.sha256((tmp_path / each["path"] / name).read_bytes())
            assert file["sha256"] == found.hexdigest()


def test_inputs_in_other_shards_and_orders_are_the_same_inputs(family, model, tmp_path):
    paths, tensors = family(3)
    merge(plan_merge(paths, "sqrt"), tmp_path / "out")
    other = model("other", tensors[1], shards=[["norm.weight", "embed.weight"], ["layer.weight"]])
    manifest = merge(plan_merge([paths[0], other, paths[2]], "sqrt"), tmp_path / "again")
    assert (tmp_path / "out/model.safetensors").read_bytes() == (
        tmp_path / "again/model.safetensors"
    ).read_bytes()
    for name, file in manifest["inputs"][1]["files"].items():
        assert file["sha256"] == hashlib.sha256((other / name).read_bytes()).hexdigest()


def test_the_output_is_split_into_shards_with_an_index(family, tmp_path):
    paths, _ = family(2)
    merge(plan_merge(paths), tmp_path / "whole")
    merge(plan_merge(paths, shard_bytes=150), tmp_path / "split")
    files = sorted(file.name for file in (tmp_path / "split").glob("*.safetensors"))
    assert files == [f"model-{number:05}-of-00002.safetensors" for number in (1, 2)]
    index = json.loads((tmp_path / "split/model.safetensors.index.json").read_text())
    assert index["metadata"]["total_size"] == 2 * (40 * 8 + 8 * 8 + 8)
    for name, file in index["weight_map"].items():
        assert torch.equal(load_file(tmp_path / "split" / file)[name], contents(tmp_path / "whole")[name])
    again = plan_merge([tmp_path / "split", tmp_path / "whole"])
    merge(again, tmp_path / "again")
    assert (tmp_path / "again/model.safetensors").read_bytes() == (
        tmp_path / "whole/model.safetensors"
    ).read_bytes()


def test_the_manifest_tells_what_was_merged_from_what(family, tmp_path):
    paths, _ = family(3)
    plan = plan_merge(paths, "half-life:5", positions=[100, 200, 300])
    manifest = merge(plan, tmp_path / "out")
    assert manifest == json.loads((tmp_path / "out/riverrun.json").read_text())
    assert manifest["profile"] == "half-life:5"
    assert manifest["step"] == 300
    assert [each["path"] for each in manifest["inputs"]] == [str(path) for path in paths]
    assert [each["position"] for each in manifest["inputs"]] == [100, 200, 300]
    assert [each["weight"] for each in manifest["inputs"]] == list(plan.weights)
    files = {file.name for file in (tmp_path / "out").iterdir()} - {"riverrun.json"}
    assert manifest["files"].keys() == files
    for name in files:
        content = (tmp_path / "out" / name).read_bytes()
        assert manifest["files"][name] == {
            "bytes": len(content),
            "sha256": hashlib.sha256(content).hexdigest(),
        }


def test_an_input_may_be_named_twice(family, tmp_path, monkeypatch):
    monkeypatch.setattr("riverrun.merge.stream._LARGEST_BLOCK", 4096)
    paths, _ = family(2, shapes={"a": (300_000,)})
    manifest = merge(plan_merge([paths[0], paths[1], paths[0]]), tmp_path / "twice")
    merge(plan_merge(paths, "weights:2,1"), tmp_path / "weighted")
    assert torch.equal(contents(tmp_path / "twice")["a"], contents(tmp_path / "weighted")["a"])
    expected = [
        hashlib.sha256((path / "model.safetensors").read_bytes()).hexdigest() for path in (*paths, paths[0])
    ]
    assert [each["files"]["model.safetensors"]["sha256"] for each in manifest["inputs"]] == expected


def test_without_hashes_the_tensors_are_the_same(family, tmp_path):
    paths, _ = family(3)
    merge(plan_merge(paths), tmp_path / "hashed")
    manifest = merge(plan_merge(paths), tmp_path / "out", hashes=False)
    assert (tmp_path / "out/model.safetensors").read_bytes() == (
        tmp_path / "hashed/model.safetensors"
    ).read_bytes()
    assert manifest["files"]["model.safetensors"]["sha256"] is None
    assert manifest["inputs"][0]["files"]["model.safetensors"]["sha256"] is None


def test_positions_come_from_the_inputs(family, tmp_path):
    paths, _ = family(3)
    (paths[0] / "trainer_state.json").write_text('{"global_step": 10}')
    (paths[1] / "trainer_state.json").write_text('{"global_step": 20}')
    merge(plan_merge(paths[:2]), tmp_path / "merged")
    (paths[2] / "trainer_state.json").write_text('{"global_step": 30}')
    plan = plan_merge([tmp_path / "merged", paths[2]], "tail:0.5")
    assert [source.position for source in plan.inputs] == [20, 30]
    assert plan.shares == Weights((1, 2), 3)
    assert not (tmp_path / "merged/trainer_state.json").exists()
    with pytest.raises(SettingError, match="oldest first"):
        plan_merge([paths[2], paths[0]], "linear")
    plan_merge([paths[2], paths[0]], "uniform")  # models of any positions


def test_the_description_is_that_of_the_last_input(family, tmp_path):
    paths, _ = family(2)
    (paths[0] / "tokenizer.json").write_text("old")
    for name in (
        "tokenizer.json",
        "merges.txt",
        "generation_config.json",
        "spiece.model",
        "modeling.py",
        "LICENSE",
    ):
        (paths[1] / name).write_text('{"new": 1}')
    for name in ("trainer_state.json", "optimizer.pt", "training_args.bin", "README.md"):
        (paths[1] / name).write_text("{}")
    merge(plan_merge(paths), tmp_path / "out")
    assert {file.name for file in (tmp_path / "out").iterdir()} == {
        *(
            "config.json",
            "tokenizer.json",
            "merges.txt",
            "generation_config.json",
            "spiece.model",
            "modeling.py",
        ),
        *("LICENSE", "model.safetensors", "riverrun.json"),
    }
    assert (tmp_path / "out/tokenizer.json").read_text() == '{"new": 1}'
    assert (tmp_path / "out/config.json").read_bytes() == (paths[1] / "config.json").read_bytes()


def test_another_dtype_is_rounded_to_once_and_named_in_the_configuration(family, tmp_path, exact_averages):
    paths, tensors = family(
        3, torch.float32, config={"torch_dtype": "float32", "text_config": {"dtype": "float32"}}
    )
    merge(plan_merge(paths, dtype="bfloat16"), tmp_path / "out")
    for name, tensor in contents(tmp_path / "out").items():
        rows = [each[name].view(-1) for each in tensors]
        expected = exact_averages(rows, Weights((1, 1, 1), 3), torch.bfloat16)
        assert torch.equal(tensor.double().view(-1), expected)
    config = json.loads((tmp_path / "out/config.json").read_text())
    assert config == {"torch_dtype": "bfloat16", "text_config": {"dtype": "bfloat16"}}


def test_inputs_of_several_dtypes_need_one_for_the_output(model, tmp_path, exact_averages):
    torch.manual_seed(0)
    tensors = [{"a": torch.randn(500).to(dtype)} for dtype in (torch.bfloat16, torch.float16, torch.float32)]
    paths = [model(f"in-{number}", each) for number, each in enumerate(tensors)]
    with pytest.raises(MergeError, match=r"in-1: a has dtype F16, and BF16 in .*in-0; .*--dtype"):
        plan_merge(paths)
    merge(plan_merge(paths, dtype="bfloat16"), tmp_path / "out")
    expected = exact_averages([each["a"].float() for each in tensors], Weights((1, 1, 1), 3), torch.bfloat16)
    assert torch.equal(contents(tmp_path / "out")["a"].double(), expected)


def test_averages_beyond_float16_are_refused(family, model, tmp_path):
    path = model("large", {"a": torch.full((10,), 1e6)})
    with pytest.raises(MergeError, match=r"--dtype: got float16; .*bfloat16"):
        merge(plan_merge([path, path], dtype="float16"), tmp_path / "out")
    assert [item.name for item in tmp_path.iterdir()] == ["large"]


def test_an_input_of_weight_0_is_not_read_and_cannot_spoil_the_rest(family, tmp_path):
    paths, tensors = family(3)
    spoilt = {name: torch.full_like(tensor, float("nan")) for name, tensor in tensors[1].items()}
    save_file(spoilt, paths[1] / "model.safetensors")
    manifest = merge(plan_merge(paths, "weights:1,0,1"), tmp_path / "out")
    merge(plan_merge([paths[0], paths[2]]), tmp_path / "two")
    assert (tmp_path / "out/model.safetensors").read_bytes() == (
        tmp_path / "two/model.safetensors"
    ).read_bytes()
    assert manifest["inputs"][1]["files"]["model.safetensors"]["sha256"] is None
    merge(plan_merge(paths, "weights:0,0,1"), tmp_path / "last")
    assert (tmp_path / "last/model.safetensors").read_bytes() == (paths[2] / "model.safetensors").read_bytes()
    save_file({"embed.weight": tensors[1]["embed.weight"]}, paths[1] / "model.safetensors")
    with pytest.raises(MergeError, match=r"has no tensor layer\.weight"):
        plan_merge(paths, "weights:1,0,1")


def test_what_is_no_float_is_copied_where_it_agrees(model, tmp_path):
    same, mask = torch.arange(10), torch.tensor([True, False, True])
    paths = [
        model(f"in-{number}", {"a": torch.ones(3), "ids": same, "mask": mask, "count": torch.tensor(number)})
        for number in range(3)
    ]
    manifest = merge(plan_merge(paths), tmp_path / "out")
    found = contents(tmp_path / "out")
    assert torch.equal(found["ids"], same)
    assert torch.equal(found["mask"], mask)
    assert found["count"].item() == 2
    assert [note.partition(" ")[0] for note in manifest["notes"]] == ["count"]
    quantised = model(
        "quantised", {"a": torch.ones(3), "ids": same + 1, "mask": mask, "count": torch.tensor(5)}
    )
    with pytest.raises(MergeError, match=r"ids holds I64, which has no average, .*quantised"):
        merge(plan_merge([*paths, quantised]), tmp_path / "refused")
    assert not (tmp_path / "refused").exists()


TIED = {"model_type": "gpt2"}


def test_a_tied_copy_that_some_inputs_lack_is_left_out(model, tmp_path):
    embedding = [torch.randn(20, 8), torch.randn(20, 8)]
    both = model("both", {"embed.weight": embedding[0], "lm_head.weight": embedding[0].clone()}, config=TIED)
    one = model("one", {"embed.weight": embedding[1]}, config=TIED)
    for number, paths in enumerate(([both, one], [one, both])):
        manifest = merge(plan_merge(paths), tmp_path / f"out-{number}")
        assert contents(tmp_path / f"out-{number}").keys() == {"embed.weight"}
        assert manifest["notes"] == ["lm_head.weight is a copy of a tied tensor, and is left out"]
    twice = model(
        "twice", {"embed.weight": embedding[1], "lm_head.weight": embedding[1].clone()}, config=TIED
    )
    merge(plan_merge([both, twice]), tmp_path / "out")
    found = contents(tmp_path / "out")
    assert torch.equal(found["lm_head.weight"], found["embed.weight"])


def test_an_unembedding_that_is_no_copy_must_be_everywhere(model):
    embedding = torch.randn(20, 8)
    one = model("one", {"embed.weight": embedding}, config=TIED)
    own = model("own", {"embed.weight": embedding, "lm_head.weight": embedding + 1}, config=TIED)
    with pytest.raises(MergeError, match=r"one: has no tensor lm_head.weight, which .*own has .*no copy"):
        plan_merge([one, own])
    untied = {"tie_word_embeddings": False}
    lacking = model("lacking", {"embed.weight": embedding}, config=untied)
    copied = model("copied", {"embed.weight": embedding, "lm_head.weight": embedding.clone()}, config=untied)
    with pytest.raises(MergeError, match=r"lacking: has no tensor lm_head.weight"):
        plan_merge([lacking, copied])


def drop_a_tensor(path):
    tensors = load_file(path / "model.safetensors")
    save_file({"embed.weight": tensors["embed.weight"]}, path / "model.safetensors")


def add_a_tensor(path):
    tensors = load_file(path / "model.safetensors")
    save_file(tensors | {"extra": torch.ones(2)}, path / "model.safetensors")


def reshape(path):
    tensors = load_file(path / "model.safetensors")
    save_file(tensors | {"norm.weight": torch.ones(4, 2).bfloat16()}, path / "model.safetensors")


def change_dtype(path):
    tensors = load_file(path / "model.safetensors")
    save_file(tensors | {"norm.weight": torch.ones(8)}, path / "model.safetensors")


def cut(path):
    content = (path / "model.safetensors").read_bytes()
    (path / "model.safetensors").write_bytes(content[:-1])


def lose_a_shard(path):
    index = {
        "weight_map": {
            "embed.weight": "model-00001-of-00002.safetensors",
            "norm.weight": "model-2.safetensors",
        }
    }
    (path / "model.safetensors.index.json").write_text(json.dumps(index))
    (path / "model.safetensors").rename(path / "model-00001-of-00002.safetensors")


def misplace(path):
    index = {"weight_map": {"embed.weight": "model-1.safetensors"}}
    (path / "model.safetensors.index.json").write_text(json.dumps(index))
    (path / "model.safetensors").rename(path / "model-1.safetensors")


def escape(path):
    (path / "model.safetensors.index.json").write_text(
        '{"weight_map": {"a": "../model-0/model.safetensors"}}'
    )
    (path / "model.safetensors").unlink()


def have_both(path):
    (path / "model.safetensors.index.json").write_text('{"weight_map": {}}')


def pickle(path):
    (path / "model.safetensors").unlink()
    (path / "pytorch_model.bin").write_bytes(b"")


def adapt(path):
    (path / "adapter_config.json").write_text("{}")


def reconfigure(path):
    (path / "config.json").write_text('{"model_type": "llama", "hidden_size": 16, "torch_dtype": "float32"}')


def garble_configuration(path):
    (path / "config.json").write_text('{"model_type": ')


def unconfigure(path):
    (path / "config.json").unlink()


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (drop_a_tensor, "in-1: has no tensor layer.weight, which"),
        (add_a_tensor, "in-0: has no tensor extra, which"),
        (reshape, "norm.weight has shape [4, 2], and [8] in"),
        (change_dtype, "norm.weight has dtype F32, and BF16 in"),
        (cut, "was cut short"),
        (lose_a_shard, "shard model-2.safetensors is missing"),
        (misplace, "places layer.weight in no shard"),
        (escape, "names no shards, or some elsewhere"),
        (have_both, "remove the one that is out of date"),
        (pickle, "as a pickle (pytorch_model.bin), which riverrun never loads"),
        (adapt, "holds a LoRA adapter"),
        (reconfigure, "hidden_size is 16 in its configuration, and 8 in that of"),
        (garble_configuration, "cannot be read as JSON"),
        (unconfigure, "is absent in its configuration"),
        (shutil.rmtree, "there is no such directory"),
    ],
)
def test_what_does_not_fit_is_refused_in_one_line_and_nothing_is_written(spoil, said, family, tmp_path):
    paths, _ = family(2)
    spoil(paths[1])
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(RiverrunError) as error:
        merge(plan_merge(paths), tmp_path / "out")
    assert said in str(error.value)
    assert "\n" not in str(error.value)
    assert sorted(tmp_path.rglob("*")) == before


def test_configurations_may_differ_in_who_wrote_them(family, tmp_path):
    config = {
        "model_type": "llama",
        "transformers_version": "4.40",
        "_name_or_path": "a",
        "torch_dtype": "bfloat16",
    }
    paths, _ = family(2, config=config)
    other = config | {
        "transformers_version": "5.0",
        "_name_or_path": "b",
        "use_cache": False,
        "dtype": "bfloat16",
    }
    (paths[1] / "config.json").write_text(json.dumps(other))
    merge(plan_merge(paths), tmp_path / "out")
    for number, path in enumerate(paths):
        (path / "config.json").write_text(json.dumps({"text_config": {"layers": number}}))
    with pytest.raises(MergeError, match=r"text_config\.layers is 1"):
        plan_merge(paths)


def test_the_output_goes_neither_over_something_nor_into_an_input(family, tmp_path):
    paths, _ = family(2)
    (tmp_path / "file").write_text("")
    plan = plan_merge(paths)
    for target in (paths[0], paths[1] / "config.json"):
        with pytest.raises(SettingError, match="exists already"):
            merge(plan, target)
    with pytest.raises(SettingError, match="lies inside the input"):
        merge(plan, paths[0] / "below" / "out")
    with pytest.raises(SettingError, match="is no directory"):
        merge(plan, tmp_path / "file" / "out")
    assert sorted(item.name for item in tmp_path.iterdir()) == ["file", "in-0", "in-1"]


def test_a_disk_without_room_is_noticed_before_anything_is_read(family, tmp_path, monkeypatch):
    paths, _ = family(2)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10**6, 10**6, 100))
    with pytest.raises(SettingError, match=r"needs 1\.0 KiB, and 100 B are free"):
        check_target(plan_merge(paths), tmp_path / "out")


def test_a_disk_that_fills_up_leaves_nothing(family, tmp_path):
    paths, _ = family(2, shapes={"a": (100_000,)})
    plan = plan_merge(paths)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, before[1]))
    try:
        with pytest.raises(SettingError, match=r"--out .*out: File too large; make room"):
            merge(plan, tmp_path / "out")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert sorted(item.name for item in tmp_path.iterdir()) == ["in-0", "in-1"]


def test_an_input_that_shrinks_meanwhile_is_noticed(family, tmp_path):
    paths, _ = family(2, shapes={"a": (100_000,)})
    plan = plan_merge(paths)
    cut(paths[1])
    with pytest.raises(MergeError, match="became shorter"):
        merge(plan, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_an_interruption_leaves_nothing(family, tmp_path):
    paths, _ = family(2)

    def interrupt(progress):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        merge(plan_merge(paths), tmp_path / "out", interrupt)
    assert sorted(item.name for item in tmp_path.iterdir()) == ["in-0", "in-1"]


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"profile": "half-life:25"}, "with --positions"),
        ({"profile": "halflife"}, "did you mean 'half-life"),
        ({"profile": "tail:0.2", "positions": [1, 2, 3]}, "got 3 for 2 inputs"),
        ({"profile": "tail:0.2", "positions": [2, 2]}, "increase"),
        ({"profile": "uniform", "positions": [0, 2]}, "positions from 1"),
        ({"readout": "ema-25"}, "--readout"),
        ({"dtype": "int8"}, "--dtype"),
        ({"shard_bytes": 0}, "--shard-bytes"),
    ],
)
def test_a_wrong_setting_is_named_with_the_way_out(settings, said, family):
    paths, _ = family(2)
    with pytest.raises(SettingError) as error:
        plan_merge(paths, **settings)
    assert said in str(error.value)
    assert "\n" not in str(error.value)
    with pytest.raises(SettingError, match="name one directory or more"):
        plan_merge([])


def test_the_plan_tells_what_will_be_read_and_written(family, tmp_path):
    paths, _ = family(3)
    plan = plan_merge(paths, "weights:1,0,3", shard_bytes=150)
    assert plan.tensors == SHAPES
    assert plan.bytes_to_read == 2 * 2 * (40 * 8 + 8 * 8 + 8)
    assert plan.weights == (0.25, 0.0, 0.75)
    merge(plan, tmp_path / "out")
    assert plan.bytes_to_write == sum(
        file.stat().st_size for file in (tmp_path / "out").glob("*.safetensors")
    )


MEMORY = """
import sys
from riverrun.merge import merge, plan_merge
def peak():
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmHWM"))
before = peak()
merge(plan_merge(sys.argv[2:]), sys.argv[1])
print(peak() - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads the peak of resident memory from /proc")
def test_memory_does_not_grow_with_the_model(model, tmp_path):
    paths = []
    for number in range(3):
        path = model(f"in-{number}", {"a": torch.zeros(1, dtype=torch.bfloat16)})
        elements = 70 << 20
        text = json.dumps(
            {"a": {"dtype": "BF16", "shape": [elements], "data_offsets": [0, 2 * elements]}}
        ).encode()
        with open(path / "model.safetensors", "wb") as file:
            file.write(len(text).to_bytes(8, "little") + text)
            file.truncate(8 + len(text) + 2 * elements)
        paths.append(str(path))
    command = [sys.executable, "-c", MEMORY, str(tmp_path / "out"), *paths]
    kibibytes = int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    assert kibibytes < 100 << 10  # the inputs have 420 MiB


def test_decays_are_merges(family, tmp_path):
    paths, tensors = family(5, torch.float32)
    merge(plan_merge(paths, "sqrt"), tmp_path / "out")
    weights = torch.tensor(by_order("sqrt", 5).values, dtype=torch.float64)
    for name, tensor in contents(tmp_path / "out").items():
        stacked = torch.stack([each[name] for each in tensors]).double()
        expected = torch.einsum("i,i...->...", weights, stacked)
        torch.testing.assert_close(tensor.double(), expected, rtol=1e-7, atol=1e-7)
