"""torchtitan's components, without its trainer."""

import importlib
import sys
import types

import pytest
import torch
import torch.distributed.checkpoint as dcp
from torch import nn

from riverrun.averaging import HalfLife, Uniform
from riverrun.errors import CheckpointError, SettingError
from riverrun.schedules import WSD, Constant, InverseSqrt

pytest.importorskip("torchtitan")
from torchtitan.components.checkpointer import CheckpointManager
from torchtitan.components.optimizer import (
    LRSchedulersContainer,
    OptimizersContainer,
    ParamGroupConfig,
)

from riverrun.integrations.torchtitan import AnytimeLRSchedulers, Averages, read_average
from riverrun.integrations.torchtitan.needed import needed

SCHEDULE = InverseSqrt(warmup=3, warmup_start=0.1, offset=10)
PEAKS = {"AdamW": 1e-2, "Adam": 4e-3}
TRACKS = ["half-life:25", "uniform"]
STOCK = LRSchedulersContainer.Config(warmup_steps=2)


class Part(nn.Module):
    """A stage of a pipeline: names of its own, a weight and a bias."""

    def __init__(self, number):
        super().__init__()
        self.layers = nn.ModuleDict({str(number): nn.Linear(3, 3)})


class Training:
    """Two stages of a pipeline on one rank, two optimizers each, and what a trainer of torchtitan's makes of them."""

    def __init__(self, folder, lr_scheduler, tracks=TRACKS, **checkpoint):
        torch.manual_seed(0)
        self.parts = [Part(0), Part(1)]
        groups = [
            ParamGroupConfig(pattern="bias", optimizer_name="Adam", optimizer_kwargs={"lr": PEAKS["Adam"]}),
            ParamGroupConfig(
                pattern=".*",
                optimizer_name="AdamW",
                optimizer_kwargs={"lr": PEAKS["AdamW"], "weight_decay": 0.5},
            ),
        ]
        config = OptimizersContainer.Config(param_groups=groups, implementation="for-loop")
        self.optimizers = config.build(model_parts=self.parts)
        self.lr_schedulers = lr_scheduler.build(optimizers=self.optimizers, training_steps=20)
        self.averages = Averages.Config(tracks=tracks).build(
            model_parts=self.parts, optimizers=self.optimizers, lr_schedulers=self.lr_schedulers
        )
        self.checkpointer = CheckpointManager.Config(
            enable=True, interval=1, keep_latest_k=0, last_save_model_only=False, **checkpoint
        ).build(
            dataloader=None,
            model_parts=self.parts,
            optimizers=self.optimizers,
            lr_schedulers=self.lr_schedulers,
            states={"averages": self.averages},
            sd_adapter=None,
            base_folder=str(folder),
        )
        del self.checkpointer.states["dataloader"]

    def weights(self):
        return {name: p.detach().clone() for part in self.parts for name, p in part.named_parameters()}

    def state(self):
        """All that training on depends on, and the averages."""
        averages = {name: dict(self.averages.average(name)) for name in self.averages.names}
        return self.weights(), self.optimizers.state_dict(), self.lr_schedulers.state_dict(), averages

    def train(self, updates):
        """Updates; the LR that each optimizer used for each, and the weights after each."""
        used, seen = [], []
        for _ in range(updates):
            for part in self.parts:
                for parameter in part.parameters():
                    parameter.grad = 0.1 * parameter.detach() + 0.01
            self.optimizers.step()
            used.append({type(o).__name__: o.param_groups[0]["lr"] for o in self.optimizers})
            seen.append(self.weights())
            self.lr_schedulers.step()
        return used, seen


def anytime(schedule=SCHEDULE):
    return AnytimeLRSchedulers.Config(schedule=schedule)


def expected(schedule, steps):
    return [{name: peak * schedule(step) for name, peak in PEAKS.items()} for step in steps]


@pytest.mark.parametrize("schedule", [SCHEDULE, WSD(budget=8), SCHEDULE.decay(at=5, steps=4)])
def test_update_s_has_each_peak_times_the_schedule_at_s(tmp_path, schedule):
    training = Training(tmp_path, anytime(schedule))
    assert len(training.lr_schedulers) == 4
    assert training.lr_schedulers.get_metrics()["lr/AdamW"] == PEAKS["AdamW"] * schedule(1)
    used, _ = training.train(10)
    assert used == expected(schedule, range(1, 11))


def test_a_schedule_may_be_its_table_and_torchtitans_own_settings_are_refused():
    config = AnytimeLRSchedulers.Config(schedule=SCHEDULE.to_dict())
    assert config.schedule == SCHEDULE
    assert config.warmup_steps == 3
    assert config.to_dict()["schedule"] == SCHEDULE.to_dict()
    for setting in ({"total_steps": 100}, {"decay_ratio": 0.1}, {"warmup_steps": 9}, {"min_lr_factor": 0.1}):
        with pytest.raises(TypeError, match=next(iter(setting))):
            AnytimeLRSchedulers.Config(schedule=SCHEDULE, **setting)


def test_interrupted_and_resumed_is_continuous(tmp_path):
    once = Training(tmp_path / "once", anytime())
    once.train(9)

    first = Training(tmp_path, anytime())
    first.train(4)
    first.checkpointer.save(4)
    first.train(1)  # lost with the process
    second = Training(tmp_path, anytime())
    assert second.checkpointer.load()
    assert second.averages.step == 4
    used, _ = second.train(5)
    assert used == expected(SCHEDULE, range(5, 10))
    torch.testing.assert_close(second.state(), once.state(), rtol=0, atol=0)


@pytest.mark.parametrize("position", [0, 5])
def test_a_checkpoint_of_torchtitans_own_container_gives_its_position_alone(tmp_path, position):
    stock = Training(tmp_path, STOCK)
    stock.train(position)
    stock.checkpointer.save(position + 1)
    ours = Training(tmp_path, anytime())
    assert ours.checkpointer.load()
    assert ours.lr_schedulers.state_dict() == stock.lr_schedulers.state_dict() == {"last_epoch": position}
    used, _ = ours.train(3)
    assert used == expected(SCHEDULE, range(position + 1, position + 4))


def test_a_run_without_averages_begins_some_with_its_next_update(tmp_path):
    before = Training(tmp_path, anytime())
    del before.checkpointer.states["averages"]
    before.train(5)
    before.checkpointer.save(5)
    after = Training(tmp_path, anytime(), exclude_from_loading=["averages"])
    assert after.checkpointer.load()
    _, seen = after.train(1)
    torch.testing.assert_close(after.averages.average("uniform"), seen[0], rtol=0, atol=0)
    assert after.averages.step == 6


def test_a_track_that_a_checkpoint_does_not_have_is_missed_and_one_more_is_left(tmp_path):
    before = Training(tmp_path, anytime())
    before.train(5)
    before.checkpointer.save(5)
    with pytest.raises(dcp.CheckpointException, match=r"averages\.tracks\.ema-12\.5"):
        Training(tmp_path, anytime(), tracks=["half-life:25", "half-life:12.5"]).checkpointer.load()
    fewer = Training(tmp_path, anytime(), tracks=["uniform"])
    assert fewer.checkpointer.load()
    uniform = before.averages.average("uniform")
    torch.testing.assert_close(fewer.averages.average("uniform"), uniform, rtol=0, atol=0)


def test_a_branch_has_the_decays_lr_from_its_first_update_on(tmp_path):
    trunk = Training(tmp_path / "trunk", anytime(Constant()))
    trunk.train(6)
    trunk.checkpointer.save(6)
    decay = Constant().decay(at=6, steps=4, floor=0.0)
    branch = Training(
        tmp_path / "branch",
        anytime(decay),
        initial_load_path=f"{tmp_path}/trunk/checkpoint/step-6",
        initial_load_model_only=False,
    )
    assert branch.checkpointer.load()
    torch.testing.assert_close(branch.state(), trunk.state(), rtol=0, atol=0)
    used, _ = branch.train(4)
    assert used == expected(decay, range(7, 11))
    assert used[-1]["AdamW"] == 0


def test_saving_before_the_first_update_changes_no_weight(tmp_path):
    training = Training(tmp_path, anytime())
    before = training.weights()
    training.checkpointer.save(1)  # has the optimizers make their state, by a step
    torch.testing.assert_close(training.weights(), before, rtol=0, atol=0)
    assert training.averages.step == 0


@pytest.mark.parametrize("lr_scheduler", [anytime(), STOCK], ids=["riverrun", "torchtitan"])
def test_averages_are_those_of_the_weights_after_each_update(tmp_path, lr_scheduler):
    training = Training(tmp_path, lr_scheduler)
    _, seen = training.train(12)
    assert training.averages.names == ["ema-25", "uniform"]
    assert training.averages.step == 12
    for profile in (HalfLife(25), Uniform()):
        shares = profile.weights(12, range(1, 13))
        average = training.averages.average(profile.name)
        assert (
            average.keys() == seen[0].keys() == {f"layers.{n}.{p}" for n in "01" for p in ("weight", "bias")}
        )
        for name, value in average.items():
            exact = sum(share * now[name].double() for share, now in zip(shares, seen, strict=True))
            torch.testing.assert_close(value.double(), exact, rtol=1e-6, atol=1e-7)


def test_an_average_takes_the_place_of_all_parts_and_the_raw_bits_come_back(tmp_path):
    training = Training(tmp_path, anytime())
    training.train(6)
    before = training.weights()

    def evaluate(name):
        with training.averages.applied(name):
            torch.testing.assert_close(
                training.weights(), dict(training.averages.average(name)), rtol=0, atol=0
            )
            raise RuntimeError("evaluation")

    for name in training.averages.names:
        with pytest.raises(RuntimeError, match="evaluation"):
            evaluate(name)
        torch.testing.assert_close(training.weights(), before, rtol=0, atol=0)
    with pytest.raises(ValueError, match="ema-25"), training.averages.applied("ema-24"):
        pass
    torch.testing.assert_close(training.weights(), before, rtol=0, atol=0)


def test_a_saved_average_can_be_read_alone(tmp_path):
    training = Training(tmp_path, anytime())
    training.train(6)
    training.checkpointer.save(6)
    folder = tmp_path / "checkpoint/step-6"
    for name in training.averages.names:
        torch.testing.assert_close(
            read_average(folder, name), training.averages.average(name), rtol=0, atol=0
        )
    with pytest.raises(ValueError, match="average: got 'ema-2'; must be one of ema-25, uniform"):
        read_average(folder, "ema-2")
    with pytest.raises(CheckpointError, match="must be a folder that torchtitan saved"):
        read_average(tmp_path, "uniform")
    del training.checkpointer.states["averages"]
    training.checkpointer.save(7)
    with pytest.raises(CheckpointError, match="no averages"):
        read_average(tmp_path / "checkpoint/step-7", "uniform")


def test_a_wrong_track_is_told_where_it_is_written():
    with pytest.raises(ValueError, match="half-lif"):
        Averages.Config(tracks=["half-lif:25"])


def test_without_torchtitan_one_line_names_the_extra(monkeypatch):
    monkeypatch.setattr("riverrun.extras.find_spec", lambda package: None)
    monkeypatch.delitem(sys.modules, "riverrun.integrations.torchtitan")
    with pytest.raises(SettingError, match=r"pip install 'riverrun\[torchtitan\]'$"):
        importlib.import_module("riverrun.integrations.torchtitan")


@pytest.mark.parametrize("other", [None, types.ModuleType("torchtitan.components.optimizer")])
def test_another_torchtitan_is_told_by_its_version(monkeypatch, other):
    for name in [name for name in sys.modules if name.startswith("riverrun.integrations.torchtitan")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "torchtitan.components.optimizer", other)  # gone, or without a name
    with pytest.raises(SettingError, match=r"^torchtitan: got 0\.3.*; must be 0\.3\.x\. pip install"):
        importlib.import_module("riverrun.integrations.torchtitan")


def test_a_package_that_torchtitan_imports_and_is_missing_is_named():
    with pytest.raises(SettingError, match="imports no_such_kernels, which is not installed"), needed():
        importlib.import_module("no_such_kernels")
