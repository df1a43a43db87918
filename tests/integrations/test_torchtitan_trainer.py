"""torchtitan's own trainer, whole, as far as a CPU runs it: gloo, FSDP2, one rank here, two under torchrun."""

import gc
import os
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import torch.distributed as dist
from torch.distributed.tensor import DTensor

pytest.importorskip("torchtitan")
sys.path.insert(0, str(Path(__file__).parent))  # where torchtitan finds the configurations, too

import titan_on_cpu
import torchtitan.trainer
from titan_on_cpu import PEAK, SCHEDULE, stock, trained, trunk
from torchtitan.config import ConfigManager

from riverrun.errors import SettingError
from riverrun.integrations.torchtitan import AnytimeTrainer, anytime, decay_branch, read_average
from riverrun.schedules import Constant, InverseSqrt

pytestmark = pytest.mark.xdist_group("processes")


@pytest.fixture(scope="module", autouse=True)
def one_rank():
    """A world of one, without torchtitan's pause at the end of training and its hold on garbage collection."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LOCAL_RANK", "0")
        patch.setattr(
            torchtitan.trainer, "time", SimpleNamespace(**vars(time) | {"sleep": lambda seconds: None})
        )
        dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
        yield
        dist.destroy_process_group()
        gc.enable()


@pytest.fixture(scope="module")
def trunk_of_6(tmp_path_factory):
    """A trainer that has trained to 6, with checkpoints at 2, 4 and 6; and its folder."""
    folder = tmp_path_factory.mktemp("trunk")
    return trained(trunk(folder, steps=6)), folder


def whole(state):
    return {
        name: value.full_tensor() if isinstance(value, DTensor) else value for name, value in state.items()
    }


def weights(trainer):
    return {name: value.clone() for name, value in whole(trainer.model_parts[0].state_dict()).items()}


def outcome(trainer):
    """All that training on depends on, and the averages."""
    averages = {name: whole(trainer.averages.average(name)) for name in trainer.averages.names}
    return (
        weights(trainer),
        whole(trainer.optimizers.state_dict()),
        trainer.lr_schedulers.state_dict(),
        averages,
    )


def assert_same_bits(trainer, other):
    torch.testing.assert_close(outcome(trainer), outcome(other), rtol=0, atol=0)


def lrs(schedule, steps):
    return [[PEAK * schedule(step)] for step in steps]


def with_checkpoint(config, **settings):
    config.checkpoint = replace(config.checkpoint, **settings)
    return config


def test_the_trainer_uses_the_schedule_and_logs_it(trunk_of_6):
    trainer, _ = trunk_of_6
    assert isinstance(trainer, AnytimeTrainer)
    assert isinstance(next(trainer.model_parts[0].parameters()), DTensor)  # FSDP2, also on one rank
    assert trainer.used == lrs(SCHEDULE, range(1, 7))
    assert [trainer.logged[step]["lr/AdamW"] for step in range(1, 7)] == [lr for (lr,) in trainer.used]


def test_going_on_equals_training_longer_and_more_steps_change_no_lr(trunk_of_6, tmp_path):
    trained(trunk(tmp_path, steps=4))
    later = trained(trunk(tmp_path, steps=6))
    assert later.used == lrs(SCHEDULE, (5, 6))
    assert_same_bits(later, trunk_of_6[0])


def test_torchtitans_own_schedule_knows_the_end(trunk_of_6, tmp_path):
    """What the adapter is for: the same step of a longer run has another LR."""
    short, long = (trained(stock(tmp_path / str(steps), steps)) for steps in (3, 4))
    assert short.used[2] != long.used[2]


def test_what_is_saved_in_the_background_is_of_its_step(trunk_of_6, tmp_path):
    config = trunk(tmp_path, steps=6)
    trainer = trained(with_checkpoint(config, async_mode="async"))
    for step in (2, 4):
        for name in trainer.averages.names:
            saved, other = (
                read_average(folder / f"checkpoint/step-{step}", name) for folder in (tmp_path, trunk_of_6[1])
            )
            torch.testing.assert_close(saved, other, rtol=0, atol=0)


def test_a_branch_decays_the_trunk_from_its_checkpoint_and_ends(trunk_of_6, tmp_path):
    _, folder = trunk_of_6
    config = decay_branch(
        trunk(folder), folder / "checkpoint/step-4", steps=2, dump_folder=tmp_path, shape="cosine", floor=0.1
    )
    trainer = trained(config)
    decay = SCHEDULE.decay(at=4, steps=2, shape="cosine", floor=0.1)
    assert trainer.used == lrs(decay, (5, 6))
    assert trainer.step == trainer.averages.step == 6
    assert trainer.ntokens_seen == trunk_of_6[0].ntokens_seen  # the trunk's data, gone on with
    assert trained(config).used == []  # its own last checkpoint is its end, and it stays there


def test_the_branch_and_the_trunk_part_only_by_the_lr(trunk_of_6, tmp_path):
    """A decay that lowers nothing is the trunk, bit for bit: weights, moments, data and averages were taken along."""
    constant = anytime(stock(tmp_path / "trunk", 6), Constant(), tracks=["half-life:25", "uniform"])
    straight = trained(constant)
    config = decay_branch(
        constant, tmp_path / "trunk/checkpoint/step-4", steps=2, dump_folder=tmp_path / "branch", floor=1.0
    )
    assert_same_bits(trained(config), straight)


def test_a_run_of_torchtitans_own_can_go_on_without_a_horizon(tmp_path):
    trained(stock(tmp_path, steps=3))
    shutil.rmtree(tmp_path / "checkpoint/step-3")  # the last is the model alone, which cannot be gone on from
    config = with_checkpoint(trunk(tmp_path, steps=4), exclude_from_loading=["averages"])
    trainer = trained(config)
    assert trainer.used == lrs(SCHEDULE, (3, 4))
    assert trainer.averages.step == 4


def test_validation_runs_the_raw_weights_and_each_average_by_names_of_their_own(trunk_of_6, tmp_path):
    trainer, _ = trunk_of_6
    keys = ["validation_metrics/loss", "validation_metrics/loss/ema-25", "validation_metrics/loss/uniform"]
    assert [step for step in range(1, 7) if keys[0] in trainer.logged[step]] == [1, 3, 6]
    raw, ema, uniform = (trainer.logged[6][key] for key in keys)
    assert raw < ema < uniform  # at falling losses an average lags behind, the longer the more

    plain = trained(stock(tmp_path, steps=1))
    assert plain.logged[1][keys[0]] == pytest.approx(trainer.logged[1][keys[0]], abs=0.1)

    before = weights(trainer)
    for name, loss in (("ema-25", ema), ("uniform", uniform)):
        with trainer.averages.applied(name):
            super(type(trainer.validator), trainer.validator).validate(trainer.model_parts, 6)
        assert trainer.logged[6][keys[0]] == loss  # what torchtitan's own validation says of the average
    torch.testing.assert_close(weights(trainer), before, rtol=0, atol=0)


def test_a_validation_that_fails_leaves_the_raw_weights(trunk_of_6, monkeypatch):
    trainer, _ = trunk_of_6
    before = weights(trainer)
    loss, calls = trainer.validator.loss_fn, []

    def fail(*arguments):
        calls.append(weights(trainer))
        if len(calls) > 2:  # two batches of the raw weights
            raise RuntimeError("no loss")
        return loss(*arguments)

    monkeypatch.setattr(trainer.validator, "loss_fn", fail)
    processor = trainer.validator.metrics_processor
    with pytest.raises(RuntimeError, match="no loss"):
        trainer.validator.validate(trainer.model_parts, 6)
    assert not torch.equal(calls[2]["norm.weight"], before["norm.weight"])
    torch.testing.assert_close(weights(trainer), before, rtol=0, atol=0)
    assert trainer.validator.metrics_processor is processor


def test_no_average_takes_the_models_place_while_a_checkpoint_is_copied(trunk_of_6, monkeypatch):
    trainer, _ = trunk_of_6
    order = []
    applied = trainer.averages.applied
    monkeypatch.setattr(trainer.validator, "_wait_for_staging", lambda: order.append("copied"))
    monkeypatch.setattr(trainer.averages, "applied", lambda name: order.append(name) or applied(name))
    trainer.validator.validate(trainer.model_parts, 6)
    assert order == ["copied", "raw", "ema-25", "uniform"]


def test_a_validation_before_the_first_average_is_torchtitans_own(tmp_path):
    config = trunk(tmp_path, steps=2)
    config.averages.every = 2
    trainer = trained(config)
    assert "validation_metrics/loss" in trainer.logged[1]
    assert "validation_metrics/loss/ema-25" not in trainer.logged[1]


def test_without_averages_there_is_the_schedule_alone_also_in_checkpoints(tmp_path):
    trained(anytime(stock(tmp_path, steps=2), SCHEDULE, tracks=[]))
    trainer = trained(stock(tmp_path, steps=3))  # torchtitan's own goes on, and nothing is missing or left
    assert trainer.step == 3
    shutil.rmtree(tmp_path / "checkpoint/step-3")  # the model alone
    trainer = trained(anytime(stock(tmp_path, steps=4), SCHEDULE, tracks=[]))
    assert trainer.used == lrs(SCHEDULE, (3, 4))


def test_the_command_line_sets_the_schedules_fields_and_the_tracks(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    arguments = ["--module", "titan_on_cpu", "--config", "trunk", "--lr_scheduler.schedule.offset", "99"]
    config = ConfigManager().parse_args(
        [*arguments, "--averages.tracks", "half-life:10,uniform", "--training.steps", "7"]
    )
    assert config.lr_scheduler.schedule == replace(SCHEDULE, offset=99)
    assert config.averages.tracks == ["half-life:10", "uniform"]
    assert config.training.steps == 7


def test_a_branch_without_a_step_or_in_the_trunks_folder_is_refused(tmp_path, monkeypatch):
    for wrong in ("outputs/checkpoint", "outputs/checkpoint/step-", "outputs/checkpoint/best"):
        with pytest.raises(SettingError, match=f"checkpoint: got {wrong}; must be"):
            decay_branch(trunk(), wrong, steps=2, dump_folder="branch")
    with pytest.raises(SettingError, match="dump_folder: got outputs, where the trunk's step-4 lies"):
        decay_branch(trunk(), "outputs/checkpoint/step-4/", steps=2, dump_folder="outputs")
    with pytest.raises(SettingError, match=r"dump_folder: got \./outputs, the trunk's own; must be another"):
        decay_branch(trunk(), "copies/step-4", steps=2, dump_folder="./outputs")
    monkeypatch.chdir(tmp_path)
    Path("link").symlink_to("outputs")
    with pytest.raises(SettingError, match="dump_folder: got outputs, where the trunk's step-4 lies"):
        decay_branch(trunk("runs"), "link/checkpoint/step-4", steps=2, dump_folder="outputs")
    remote = decay_branch(trunk(), "gs://bucket/checkpoint/step-4", steps=2, dump_folder=".")
    assert remote.checkpoint.initial_load_path == "gs://bucket/checkpoint/step-4"


def torchrun(folder, *arguments):
    """torchtitan's program on two ranks, in a folder."""
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    for name in ("LOCAL_RANK", "RANK", "WORLD_SIZE"):
        environment.pop(name, None)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    done = subprocess.run(
        [*command, titan_on_cpu.__file__, "--module", "titan_on_cpu", *arguments],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-3000:]


def test_what_two_ranks_saved_goes_on_at_one(tmp_path):
    torchrun(
        tmp_path, "--config", "trunk", "--training.steps", "4", "--parallelism.spmd_backend", "full_dtensor"
    )
    saved = tmp_path / "outputs/checkpoint/step-4"
    assert len(list(saved.glob("*.distcp"))) == 2
    config = trunk(tmp_path / "outputs", steps=6)
    # torchtitan's data cannot be resharded, which it says itself
    trainer = with_checkpoint(config, exclude_from_loading=["dataloader"]).build()
    assert trainer.checkpointer.load()
    assert trainer.step == trainer.averages.step == 4
    assert trainer.lr_schedulers.state_dict() == {"last_epoch": 4}
    for name in trainer.averages.names:
        torch.testing.assert_close(
            whole(trainer.averages.average(name)), read_average(saved, name), rtol=0, atol=0
        )
    trainer.close()
    trainer = trained(config)
    assert trainer.used == lrs(SCHEDULE, (5, 6))


def test_the_page_of_the_docs(run_snippets, trunk_of_6, tmp_path):
    known = run_snippets("integrations/torchtitan.md")
    config = known["trunk"]()
    assert config.lr_scheduler.schedule == InverseSqrt(warmup=2000, offset=20_000)
    assert known["decay"]().lr_scheduler.schedule == config.lr_scheduler.schedule.decay(at=8000, steps=800)
    known["export"](trunk_of_6[1] / "checkpoint/step-6", "ema-25", tmp_path / "ema-25.pt")
    average = whole(trunk_of_6[0].averages.average("ema-25"))
    torch.testing.assert_close(torch.load(tmp_path / "ema-25.pt"), average, rtol=0, atol=0)


def test_the_configuration_of_another_trainer_is_refused():
    @dataclass(kw_only=True, slots=True)
    class Other(torchtitan.trainer.Trainer.Config):
        encoder: str = ""

    with pytest.raises(SettingError, match="also has encoder; must be a"):
        anytime(Other(), SCHEDULE)
