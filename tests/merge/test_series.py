"""Series that Hugging Face's Trainer wrote, against averages in fp64; and what every series is held to."""

import json
import os
import shutil

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

transformers = pytest.importorskip("transformers")
pytest.importorskip("accelerate")

from transformers import (  # noqa: E402
    AutoModelForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    Trainer,
    TrainingArguments,
)

from riverrun.averaging import parse_profile  # noqa: E402
from riverrun.errors import CheckpointError, SettingError  # noqa: E402
from riverrun.merge import MergeError, merge, plan_average, plan_merge, read_series  # noqa: E402

STEPS = (2, 4, 6, 8, 10)
CONFIG = LlamaConfig(
    vocab_size=32,
    hidden_size=16,
    intermediate_size=24,
    num_hidden_layers=1,
    num_attention_heads=2,
    num_key_value_heads=2,
    max_position_embeddings=16,
)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """What the Trainer leaves: checkpoint-2 .. checkpoint-10, and the last model beside them."""
    folder = tmp_path_factory.mktemp("trained")
    torch.manual_seed(0)
    texts = torch.randint(0, 32, (40, 8))
    arguments = TrainingArguments(
        str(folder),
        max_steps=10,
        save_steps=2,
        per_device_train_batch_size=4,
        learning_rate=1e-2,
        report_to=[],
        use_cpu=True,
        disable_tqdm=True,
    )
    trainer = Trainer(
        LlamaForCausalLM(CONFIG),
        arguments,
        train_dataset=[{"input_ids": text, "labels": text} for text in texts],
    )
    trainer.train()
    trainer.save_model()
    return folder


@pytest.fixture
def copy(trained, tmp_path):
    return shutil.copytree(trained, tmp_path / "copy")


def state(folder, step):
    return load_file(folder / f"checkpoint-{step}/model.safetensors")


def expected(folder, steps, weights, dtype=torch.float32):
    states = [state(folder, step) for step in steps]
    return {
        name: sum(share * each[name].double() for share, each in zip(weights, states, strict=True)).to(dtype)
        for name in states[0]
    }


def assert_same(one, two):
    assert one.keys() == two.keys()
    for name in one:
        assert torch.equal(one[name], two[name]), name


def test_an_average_is_that_of_the_checkpoints_and_transformers_loads_it(trained, tmp_path):
    series = read_series(trained)
    assert series.positions == STEPS
    manifest = merge(plan_average(series, "half-life:5"), tmp_path / "out")
    shares = np.diff(parse_profile("half-life:5").cumulative([0, *STEPS], 10))
    wanted = expected(trained, STEPS, shares)
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "out", dtype="auto")
    assert_same(dict(model.state_dict()), wanted)
    files = {"config.json", "generation_config.json", "model.safetensors", "riverrun.json"}
    assert set(os.listdir(tmp_path / "out")) == files  # neither optimizer nor trainer_state.json
    assert [each["position"] for each in manifest["inputs"]] == list(STEPS)
    assert manifest["step"] == 10


def test_only_headers_are_read_to_find_a_series(trained, monkeypatch):
    read = []
    monkeypatch.setattr("riverrun.merge.agreement._pieces", lambda stored: read.append(stored) or iter(()))
    assert read_series(trained).positions == STEPS
    assert not read


def test_the_order_is_that_of_the_steps_that_checkpoints_note(copy):
    for step in STEPS:
        (copy / f"checkpoint-{step}").rename(copy / f"checkpoint-{1000 - step}")
    assert read_series(copy).positions == STEPS
    assert read_series(copy).members[0].path.name == "checkpoint-998"


def test_a_checkpoint_in_shards_counts_as_a_whole_one(copy, trained, tmp_path):
    folder = copy / "checkpoint-4"
    model = AutoModelForCausalLM.from_pretrained(folder)
    (folder / "model.safetensors").unlink()
    model.save_pretrained(folder, max_shard_size="4KB")
    assert (folder / "model.safetensors.index.json").exists()
    merge(plan_merge([copy], "weights:1,2,1,0,0"), tmp_path / "out")
    assert_same(
        load_file(tmp_path / "out/model.safetensors"), expected(trained, (2, 4, 6), (0.25, 0.5, 0.25))
    )


def test_an_average_at_a_step_looks_at_nothing_after_it(trained, tmp_path):
    plan = plan_average(read_series(trained), "uniform", at=6, dtype="bfloat16")
    merge(plan, tmp_path / "out")
    assert [source.position for source in plan.inputs] == [2, 4, 6]
    found = load_file(tmp_path / "out/model.safetensors")
    assert_same(found, expected(trained, (2, 4, 6), [1 / 3] * 3, torch.bfloat16))
    with pytest.raises(SettingError, match=r"--at: got 5; .* 2, 4, 6, 8, 10, or latest"):
        plan_average(read_series(trained), "uniform", at=5)


@pytest.mark.parametrize("spec", ["tail:0.5", "half-life:5", "uniform", "decay-like:cosine:0.5", "ema:0.9"])
def test_the_bound_is_the_share_of_weight_on_other_iterates(trained, spec):
    plan = plan_average(read_series(trained), spec, at=8)
    asked = parse_profile(spec).weights(8)
    given = np.repeat(np.array(plan.weights) / 2, 2)  # each checkpoint stands for two iterates
    assert plan.bound == pytest.approx(np.abs(given - asked).sum() / 2, abs=1e-12)
    assert plan.bound == pytest.approx(plan_merge([source.path for source in plan.inputs], spec).bound or 0)


def test_a_series_too_sparse_for_a_profile_is_refused_with_what_remains(trained):
    series = read_series(trained)
    with pytest.raises(CheckpointError, match="half-life:100 at step 10 would have") as refused:
        plan_average(series, "half-life:100", largest_bound=0.25)
    remaining = str(refused.value).rpartition("Profiles there: ")[2].split(", ")
    assert "uniform" in remaining
    for spec in remaining:
        assert plan_average(series, spec, largest_bound=0.25).bound <= 0.25
    assert plan_average(series, "half-life:100").bound > 0.25


def test_windows_can_be_moved_to_the_steps_of_checkpoints(trained):
    plan = plan_average(read_series(trained), "tail:0.5", snap=True)
    assert (plan.bound, plan.profile) == (0, "uniform:from=4")
    assert plan.weights == (0, 0, 1 / 3, 1 / 3, 1 / 3)


def test_blocks_are_the_tensors_of_all_checkpoints(trained):
    series = read_series(trained)
    states = [state(trained, step) for step in STEPS]
    assert series.shapes == {name: tuple(states[0][name].shape) for name in series.names}
    found = {name: [] for name in series.names}
    for block in series.blocks(elements=100):
        assert block.rows.shape[1] <= 100
        assert block.begin == sum(rows.shape[1] for rows in found[block.name])
        found[block.name].append(block.rows)
    assert found.keys() == states[0].keys()
    for name, pieces in found.items():
        rows = np.concatenate(pieces, axis=1)
        assert np.array_equal(rows, np.stack([each[name].flatten().numpy() for each in states])), name


def test_the_model_beside_the_checkpoints_is_not_one_of_them(trained):
    (note,) = read_series(trained).notes
    assert note == f"the model in {trained} itself is not one of them"
    assert plan_merge([trained]).notes == (note,)


def without_weights(folder):
    (folder / "model.safetensors").unlink()


def without_position(folder):
    (folder / "trainer_state.json").unlink()


def stopped_at_the_weights(folder):
    os.truncate(folder / "model.safetensors", 5000)
    without_position(folder)  # which comes last


def stopped_at_the_position(folder):
    os.truncate(folder / "trainer_state.json", 100)


def as_shards_of_fsdp(folder):
    without_weights(folder)
    (folder / "pytorch_model_fsdp_0").mkdir()


def as_pickle(folder):
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    without_weights(folder)


PARTIAL = {
    without_weights: "has neither model.safetensors nor",
    without_position: "has no trainer_state.json with a global_step",
    stopped_at_the_weights: "has no trainer_state.json with a global_step",
    stopped_at_the_position: "trainer_state.json: cannot be read as JSON",
    as_shards_of_fsdp: "accelerate merge-weights",
    as_pickle: r"as a pickle \(pytorch_model.bin\), which riverrun never loads",
}


@pytest.mark.parametrize("spoil", PARTIAL, ids=lambda spoil: spoil.__name__)
def test_a_partial_checkpoint_is_passed_over_and_named(copy, spoil):
    spoil(copy / "checkpoint-6")
    series = read_series(copy)
    assert series.positions == (2, 4, 8, 10)
    assert sum(f"passed over: {copy}/checkpoint-6" in note for note in series.notes) == 1
    with pytest.raises(MergeError, match=PARTIAL[spoil]):
        read_series(copy / "checkpoint-6")
    for step in (2, 4, 8, 10):
        spoil(copy / f"checkpoint-{step}")
    with pytest.raises(MergeError, match=PARTIAL[spoil]):
        read_series(copy)


def test_damaged_weights_are_refused(copy):
    os.truncate(copy / "checkpoint-6/model.safetensors", 5000)
    with pytest.raises(MergeError, match=r"checkpoint-6/model.safetensors: was cut short"):
        read_series(copy)


def test_another_architecture_is_refused(copy):
    tensors = state(copy, 6)
    name = "model.norm.weight"
    save_file(tensors | {name: torch.ones(8)}, copy / "checkpoint-6/model.safetensors", {"format": "pt"})
    with pytest.raises(MergeError, match=r"model.norm.weight has shape \[8\]"):
        read_series(copy)
    tensors.pop(name)
    save_file(tensors, copy / "checkpoint-6/model.safetensors", {"format": "pt"})
    with pytest.raises(MergeError, match=r"has no tensor model.norm.weight"):
        read_series(copy)


def test_a_series_of_one_is_that_checkpoint(trained, tmp_path):
    series = read_series(trained / "checkpoint-6")
    assert series.positions == (6,)
    merge(plan_average(series, "uniform"), tmp_path / "out")
    assert_same(load_file(tmp_path / "out/model.safetensors"), state(trained, 6))


def test_what_is_no_series_is_refused(trained, copy, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(MergeError, match="holds no checkpoint-STEP folders"):
        read_series(tmp_path / "empty")
    with pytest.raises(SettingError, match="got no checkpoints"):
        read_series([])
    with pytest.raises(SettingError, match="Hugging Face hold one model"):
        read_series(trained, "averaged")
    torch.save({"state_dict": state(copy, 2), "global_step": 2}, copy / "step=2.ckpt")
    with pytest.raises(MergeError, match="and of Lightning"):
        read_series(copy)
    with pytest.raises(MergeError, match="is of another kind than"):
        read_series([copy / "step=2.ckpt", copy / "checkpoint-4"])
    with pytest.raises(MergeError, match=r"is a checkpoint of Lightning, and .*checkpoint-4 is not"):
        plan_merge([copy / "step=2.ckpt", copy / "checkpoint-4"])


def test_several_directories_that_have_checkpoints_inside_are_models_themselves(trained, copy):
    plan = plan_merge([trained, copy])
    assert [source.path for source in plan.inputs] == [trained, copy]


def test_a_step_that_two_folders_note_is_one_or_refused(copy):
    shutil.copytree(copy / "checkpoint-4", copy / "checkpoint-5")
    assert read_series(copy).positions == STEPS
    content = json.loads((copy / "checkpoint-6/trainer_state.json").read_text())
    (copy / "checkpoint-8/trainer_state.json").write_text(json.dumps(content))
    with pytest.raises(
        MergeError, match=r"checkpoint-8: is at step 6, as is .*checkpoint-6, with other weights"
    ):
        read_series(copy)
