"""Series that Lightning wrote, with and without its callbacks for weight averaging, against averages in fp64."""

import argparse
import json
import os
import runpy
import shutil
import warnings
from collections import OrderedDict

import pytest
import torch
from safetensors.torch import load_file

pl = pytest.importorskip("lightning.pytorch")

from lightning.pytorch.callbacks import (  # noqa: E402
    EMAWeightAveraging,
    ModelCheckpoint,
    StochasticWeightAveraging,
)

from riverrun.errors import SettingError  # noqa: E402
from riverrun.merge import MergeError, merge, plan_average, plan_merge, read_series  # noqa: E402
from riverrun.merge.headers import Stored  # noqa: E402
from riverrun.merge.inputs import Input  # noqa: E402
from riverrun.merge.layout import one_file  # noqa: E402
from riverrun.merge.lightning_output import write_without_contents  # noqa: E402

STEPS = (2, 4, 6, 8, 10)


class Net(pl.LightningModule):
    """Two layers of which one is tied to another name, and a batch norm."""

    def __init__(self, width=8, odd=None, norm=False):
        super().__init__()
        self.save_hyperparameters()
        self.inner = torch.nn.Linear(4, width)
        self.norm = torch.nn.BatchNorm1d(width) if norm else torch.nn.Identity()
        self.outer = torch.nn.Linear(width, 1)
        self.same = self.outer
        self.vocabulary = None

    def forward(self, rows):
        return self.outer(self.norm(self.inner(rows)))

    def training_step(self, batch, _):
        return (self(batch[0]) - 1).square().mean()

    def validation_step(self, batch, _):
        self.log("loss", self.training_step(batch, 0))

    def configure_optimizers(self):
        return torch.optim.AdamW(self.parameters(), 1e-2)

    def on_save_checkpoint(self, checkpoint):
        checkpoint["vocabulary"] = ["a", "b"]

    def on_load_checkpoint(self, checkpoint):
        self.vocabulary = checkpoint["vocabulary"]


def trainer(**settings):
    return pl.Trainer(
        accelerator="cpu", logger=False, enable_progress_bar=False, enable_model_summary=False, **settings
    )


def rows():
    generator = torch.Generator().manual_seed(1)
    return torch.utils.data.DataLoader(
        torch.utils.data.TensorDataset(torch.randn(40, 4, generator=generator)), 8
    )


def trained(folder, *callbacks, seed=0, **settings):
    """A folder with checkpoints of 2 epochs of 5 steps, and `end.ckpt`, saved after training."""
    torch.manual_seed(seed)
    saving = ModelCheckpoint(folder, save_top_k=-1, every_n_train_steps=2, save_last=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        training = trainer(max_epochs=2, callbacks=[saving, *callbacks])
        training.fit(Net(**settings), rows())
        training.save_checkpoint(folder / "end.ckpt")
    return folder


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    return trained(tmp_path_factory.mktemp("plain"), odd=argparse.Namespace(rate=1), width=6)


@pytest.fixture(scope="module")
def ema(tmp_path_factory):
    return trained(tmp_path_factory.mktemp("ema"), EMAWeightAveraging(decay=0.5, update_starting_at_step=2))


@pytest.fixture(scope="module")
def swa(tmp_path_factory):
    averaging = StochasticWeightAveraging(1e-2, swa_epoch_start=1)
    return trained(tmp_path_factory.mktemp("swa"), averaging, norm=True)


def saved(folder, step):
    (file,) = folder.glob(f"epoch=*-step={step}.ckpt")
    return torch.load(file, weights_only=False)


def expected(states, weights):
    return {
        name: sum(w * state[name].double() for w, state in zip(weights, states, strict=True)).float()
        for name in states[0]
        if states[0][name].is_floating_point()
    }


def written(out):
    return torch.load(out / "model.ckpt", weights_only=True)


def floats(state):
    return {name: tensor for name, tensor in state.items() if tensor.is_floating_point()}


def assert_same(one, two):
    assert one.keys() == two.keys()
    for name in one:
        assert torch.equal(one[name], two[name]), name


def test_an_average_is_that_of_the_weights_and_lightning_loads_it(plain, tmp_path):
    series = read_series(plain)
    assert series.positions == STEPS  # last.ckpt and end.ckpt are step 10 again
    plan = plan_average(series, "tail:0.4", at=8)
    assert not any("end.ckpt" in note for note in plan.notes)  # of which nothing is taken
    merge(plan, tmp_path / "out")
    weights = (0.375, 0.625)  # iterates 4.8 .. 8 of 8: 1.2 of 3.2 up to step 6
    assert plan.weights[-2:] == pytest.approx(weights)
    states = [saved(plain, step)["state_dict"] for step in (6, 8)]
    loaded = Net.load_from_checkpoint(tmp_path / "out/model.ckpt", weights_only=True)
    assert_same(loaded.state_dict(), expected(states, weights))
    assert loaded.hparams.width == 6
    assert loaded.vocabulary == ["a", "b"]


def test_a_model_that_needs_no_more_is_validated_by_the_trainer(ema, tmp_path):
    merge(plan_average(read_series(ema), "uniform"), tmp_path / "out")
    (found,) = trainer().validate(Net(), rows(), ckpt_path=tmp_path / "out/model.ckpt", verbose=False)
    model = Net.load_from_checkpoint(tmp_path / "out/model.ckpt")
    with torch.no_grad():
        losses = [model.training_step(batch, 0) for batch in rows()]
    assert found["loss"] == pytest.approx(float(sum(losses)) / 5, rel=1e-5)


def test_what_continues_training_is_left_out_and_what_is_no_plain_data_is_named(plain, tmp_path):
    plan = plan_average(read_series(plain), "uniform")
    manifest = merge(plan, tmp_path / "out")
    content = written(tmp_path / "out")
    assert content["global_step"] == 10
    assert not content.keys() & {"optimizer_states", "lr_schedulers", "callbacks", "loops"}
    assert content["hyper_parameters"] == {"width": 6, "norm": False}
    assert "the hyperparameter odd of end.ckpt is no plain data and is left out" in manifest["notes"]
    assert manifest == json.loads((tmp_path / "out/riverrun.json").read_text())
    assert sorted(os.listdir(tmp_path / "out")) == ["model.ckpt", "riverrun.json"]


def test_what_a_state_dict_holds_beside_tensors_is_the_last_one_s(tmp_path):
    """The versions of modules, and what they keep with get_extra_state."""

    class Counts(torch.nn.Module):
        _version = 3

        def get_extra_state(self):
            return {"seen": step}

        def set_extra_state(self, state):
            self.seen = state["seen"]

        def _load_from_state_dict(self, state, prefix, metadata, *rest):
            assert metadata["version"] == 3
            super()._load_from_state_dict(state, prefix, metadata, *rest)

    model = torch.nn.Sequential(Counts(), torch.nn.Linear(2, 2))
    for step in (1, 2):
        content = {"state_dict": model.state_dict(), "global_step": step}
        torch.save(content, tmp_path / f"step={step}.ckpt")
    merge(plan_merge([tmp_path]), tmp_path / "out")
    model.load_state_dict(written(tmp_path / "out")["state_dict"])
    assert model[0].seen == 2


def test_hyperparameters_of_a_class_of_their_own_are_named(tmp_path):
    content = {"state_dict": {"a": torch.ones(2)}, "global_step": 3}
    torch.save(content | {"hyper_parameters": argparse.Namespace(a=1)}, tmp_path / "model.ckpt")
    plan = plan_merge([tmp_path])
    assert plan.notes == ("the entry hyper_parameters of model.ckpt is no plain data and is left out",)
    merge(plan, tmp_path / "out")
    assert written(tmp_path / "out").keys() == {"state_dict", "global_step"}


def test_tied_tensors_stay_one(plain, tmp_path):
    merge(plan_average(read_series(plain), "uniform"), tmp_path / "out")
    state = written(tmp_path / "out")["state_dict"]
    assert state["same.weight"].data_ptr() == state["outer.weight"].data_ptr()


def test_tensors_that_are_one_in_some_checkpoints_only_are_apart(tmp_path):
    both = torch.ones(2)
    torch.save({"global_step": 1, "state_dict": {"a": both, "b": both}}, tmp_path / "1.ckpt")
    apart = {"a": both, "b": torch.zeros(2)}
    torch.save({"global_step": 2, "state_dict": apart}, tmp_path / "2.ckpt")
    merge(plan_merge([tmp_path]), tmp_path / "out")
    state = written(tmp_path / "out")["state_dict"]
    assert (state["a"].tolist(), state["b"].tolist()) == ([1, 1], [0.5, 0.5])


@pytest.mark.parametrize("readout", ["raw", "averaged"])
def test_raw_and_averaged_weights_of_weight_averaging_are_told_apart(ema, readout, tmp_path):
    series = read_series(ema, readout)
    key, steps = ("current_model_state", STEPS) if readout == "raw" else ("state_dict", (4, 6, 8, 10))
    assert series.positions == steps  # before step 3 nothing was averaged
    states = [saved(ema, step)[key] for step in steps]
    plan = plan_merge([ema], "uniform", readout=readout)
    merge(plan, tmp_path / "out")
    assert_same(written(tmp_path / "out")["state_dict"], expected(states, [1 / len(steps)] * len(steps)))
    notes = " ".join(plan.notes)
    assert ("raw weights were read" if readout == "raw" else "averages of WeightAveraging were read") in notes


@pytest.mark.parametrize("readout", ["raw", "averaged"])
def test_raw_and_averaged_weights_of_swa_are_told_apart(swa, readout, tmp_path):
    def state(step):
        content = saved(swa, step)
        if readout == "raw":
            return content["state_dict"]
        return next(
            kept["average_model_state"] for name, kept in content["callbacks"].items() if "Stoch" in name
        )

    plan = plan_average(read_series(swa, readout), "uniform", at=10)
    merge(plan, tmp_path / "out")
    assert_same(
        floats(written(tmp_path / "out")["state_dict"]), expected([state(s) for s in STEPS], [0.2] * 5)
    )


def test_before_swa_begins_all_weights_are_raw_and_there_is_no_average(tmp_path):
    trained(tmp_path, StochasticWeightAveraging(1e-2, swa_epoch_start=2))
    assert read_series(tmp_path).positions == STEPS
    averaged = read_series(tmp_path, "averaged")
    assert averaged.positions == (6, 8, 10)
    assert "had averaged nothing yet" in averaged.notes[0]


@pytest.mark.parametrize("averaging", ["ema", "swa"])
def test_weights_that_an_average_replaced_after_training_are_not_taken_for_raw(averaging, request, tmp_path):
    folder = request.getfixturevalue(averaging)
    series = read_series(folder)
    assert series.positions == STEPS
    assert "end.ckpt" not in [member.path.name for member in series.members]
    assert any("end.ckpt: was saved when" in note for note in series.notes)
    with pytest.raises(MergeError, match="had replaced the raw weights by the average"):
        plan_merge([folder / "end.ckpt"])


def test_the_first_weights_are_raw_though_they_are_their_average_as_well(tmp_path):
    content = {
        "global_step": 1,
        "current_model_state": {"a": torch.ones(2)},
        "state_dict": {"a": torch.ones(2)},
        "averaging_state": {"n_averaged": torch.tensor(1)},
    }
    torch.save(content, tmp_path / "first.ckpt")
    for readout in ("raw", "averaged"):
        assert read_series(tmp_path, readout).positions == (1,)


def test_what_was_saved_before_the_first_update_is_passed_over(tmp_path):
    for step in (0, 1):
        torch.save({"global_step": step, "state_dict": {"a": torch.ones(2)}}, tmp_path / f"{step}.ckpt")
    series = read_series(tmp_path)
    assert series.positions == (1,)
    assert "0.ckpt: global_step is 0; " in series.notes[0]


def test_checkpoints_may_be_named_one_by_one_in_any_order(plain, tmp_path):
    files = [next(plain.glob(f"*step={step}.ckpt")) for step in (10, 2, 6)]
    assert read_series(files).positions == (2, 6, 10)
    plan = plan_merge([files[1], files[2], files[0]], "half-life:2")
    assert [source.position for source in plan.inputs] == [2, 6, 10]
    with pytest.raises(SettingError, match="oldest first"):
        plan_merge(files, "half-life:2")
    with pytest.raises(MergeError, match=r"last.ckpt: is the checkpoint .*step=10.ckpt again"):
        plan_merge([*files, plain / "last.ckpt"])


def test_a_folder_among_others_is_refused_with_what_to_name(plain, ema):
    with pytest.raises(MergeError, match=r"holds checkpoints of Lightning \(end.ckpt\); name these"):
        plan_merge([plain, ema])


def test_a_folder_above_will_do(plain, tmp_path):
    shutil.copytree(plain, tmp_path / "version_0/checkpoints")
    assert read_series(tmp_path / "version_0").positions == STEPS


def test_two_runs_in_a_folder_are_refused(plain, tmp_path):
    shutil.copytree(plain, tmp_path / "both")
    trained(tmp_path / "other", seed=1, width=6)
    shutil.copy(next((tmp_path / "other").glob("*step=4.ckpt")), tmp_path / "both/epoch=0-step=4-v1.ckpt")
    with pytest.raises(MergeError, match=r"is at step 4, as is .* with other weights"):
        read_series(tmp_path / "both")


def test_models_of_other_shapes_are_refused(plain, ema):
    with pytest.raises(MergeError, match=r"inner.* has shape \[8.*, and \[6"):
        read_series([next(plain.glob("*step=2.ckpt")), next(ema.glob("*step=4.ckpt"))])


def test_a_checkpoint_cut_short_is_passed_over_and_named(plain, tmp_path):
    shutil.copytree(plain, tmp_path / "copy")
    (file,) = (tmp_path / "copy").glob("*step=6.ckpt")
    os.truncate(file, 2000)
    series = read_series(tmp_path / "copy")
    assert series.positions == (2, 4, 8, 10)
    assert any(f"passed over: {file}" in note for note in series.notes)
    with pytest.raises(MergeError, match="cut short"):
        plan_merge([file])


def test_shards_are_refused_with_the_command_that_makes_a_file_of_them(plain, tmp_path, monkeypatch):
    """The folder is what Lightning's FSDP strategy writes: a distributed checkpoint, and the rest in meta.pt."""
    content = saved(plain, 4)
    folder = tmp_path / "run/epoch=0-step=4.ckpt"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.distributed.checkpoint.save(
            {"model": content.pop("state_dict")}, checkpoint_id=folder, no_dist=True
        )
    content.pop("optimizer_states")
    content.pop("hyper_parameters")
    torch.save(content, folder / "meta.pt")
    with pytest.raises(MergeError, match="sharded") as refused:
        read_series(tmp_path / "run")
    command = str(refused.value).partition("make one file of it: ")[2].split()
    assert command[:2] == ["python", "-m"]
    monkeypatch.setattr("sys.argv", command[2:])
    runpy.run_module(command[2], run_name="__main__")
    series = read_series(tmp_path / "run")
    assert series.positions == (4,)
    merge(plan_average(series, "uniform"), tmp_path / "out")
    assert_same(written(tmp_path / "out")["state_dict"], saved(plain, 4)["state_dict"])


def test_shards_of_deepspeed_are_refused_with_the_call_that_makes_a_file_of_them(tmp_path):
    folder = tmp_path / "run/epoch=0-step=4.ckpt"
    folder.mkdir(parents=True)
    (folder / "zero_to_fp32.py").touch()
    with pytest.raises(MergeError, match="convert_zero_checkpoint_to_fp32_state_dict"):
        read_series(tmp_path / "run")
    with pytest.raises(MergeError, match="convert_zero_checkpoint_to_fp32_state_dict"):
        plan_merge([folder])


def test_an_averaged_readout_needs_a_callback(plain):
    with pytest.raises(MergeError, match="no callback for weight averaging saved it"):
        read_series(plain, "averaged")
    with pytest.raises(SettingError, match=r"got 'avereged'.*did you mean 'averaged'"):
        read_series(plain, "avereged")


def test_the_output_is_a_folder_in_the_dtype_asked_for(plain, tmp_path):
    plan = plan_merge([plain], dtype="bfloat16")
    with pytest.raises(SettingError, match="must be a folder"):
        merge(plan, tmp_path / "out.ckpt")
    merge(plan, tmp_path / "out")
    assert {tensor.dtype for tensor in written(tmp_path / "out")["state_dict"].values()} == {torch.bfloat16}


def test_the_page_on_merging_runs(plain, tmp_path, model, run_snippets, capsys):
    merge(plan_merge([plain]), tmp_path / "averaged")
    (tmp_path / "output_dir").mkdir()
    for step in (500, 1000, 1500, 2000, 2500, 3000):
        tensors = {"a": torch.full((3, 4), float(step)), "b": torch.tensor(float(step))}
        model(f"model-{step}", tensors)
        note = json.dumps({"global_step": step})
        shutil.move(model(f"checkpoint-{step}", tensors, trainer_state__json=note), tmp_path / "output_dir")
    known = run_snippets("merging.md", Net=Net)
    assert known["plan"].bound == 0
    assert known["movement"] == {"a": 12 * 2500.0**2, "b": 2500.0**2}
    assert torch.equal(load_file(tmp_path / "tail/model.safetensors")["a"], torch.full((3, 4), 1750.0))
    assert "(500, 1000, 1500, 2000, 2500, 3000)" in capsys.readouterr().out


def test_a_file_far_larger_than_memory_is_laid_out(tmp_path):
    huge = ("huge", "BF16", (2**18, 2**20))
    tensors = {"huge": Stored("BF16", huge[2], tmp_path / "in.ckpt", 0)}
    source = Input(
        path=tmp_path / "in.ckpt",
        tensors=tensors,
        config={},
        entries={"state_dict": OrderedDict(), "epoch": 3},
    )
    shard = write_without_contents(one_file([huge]), [source], tmp_path)
    file = tmp_path / shard.name
    assert (shard.tensors["huge"].shape, shard.tensors["huge"].file) == (huge[2], file)
    assert file.stat().st_size > shard.tensors["huge"].bytes == 2**39
    assert file.stat().st_blocks * 512 < 2**20
