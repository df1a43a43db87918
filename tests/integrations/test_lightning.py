import copy
import math
from types import SimpleNamespace

import pytest

pytest.importorskip("lightning")

import torch
import torchmetrics
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import (
    Callback,
    EarlyStopping,
    EMAWeightAveraging,
    LambdaCallback,
    ModelCheckpoint,
    StochasticWeightAveraging,
    WeightAveraging,
)
from lightning.pytorch.strategies import FSDPStrategy
from lightning.pytorch.tuner import Tuner
from torch import nn

from riverrun.averaging import FixedBeta, HalfLife, History, Uniform
from riverrun.errors import CheckpointError, SettingError
from riverrun.integrations.lightning import AnytimeAveraging, anytime_config, convert_stock_checkpoint
from riverrun.integrations.torch import Averager
from riverrun.schedules import Constant, InverseSqrt

PEAK = 0.01
SCHEDULE = InverseSqrt(warmup=4, offset=10)
TRACKS = ("half-life:25", "half-life:6.25")
NAMES = ["ema-25", "ema-6.25"]


class Tiny(LightningModule):
    """A regression with dropout, so that random numbers count; its batches are functions of their number."""

    def __init__(self, schedule=SCHEDULE, val_loaders=1, width=3, dropout=0.2):
        super().__init__()
        self.save_hyperparameters(ignore=["schedule"])
        self.schedule = schedule
        self.layers = nn.Sequential(nn.Linear(4, width), nn.Dropout(dropout), nn.Linear(width, 1))
        self.val_error = torchmetrics.MeanSquaredError()
        self.lrs, self.seen = [], []

    def forward(self, numbers):
        inputs = torch.stack([torch.sin(numbers * k + k) for k in (1.0, 2.0, 3.0, 4.0)], dim=1)
        return self.layers(inputs)[:, 0], inputs.sum(1)

    def training_step(self, batch, batch_idx):
        number = self.trainer.fit_loop.epoch_loop.total_batch_idx  # what a resumable loader would give
        outputs, targets = self(torch.arange(5.0) + 5 * number)
        return nn.functional.mse_loss(outputs, targets)

    def on_before_optimizer_step(self, optimizer):
        self.lrs.append(float(optimizer.param_groups[0]["lr"]))

    def validation_step(self, batch, batch_idx, dataloader_idx=0):
        outputs, targets = self(batch.flatten() + 1000 * dataloader_idx)
        self.seen.append(loss := nn.functional.mse_loss(outputs, targets))
        self.log("val_loss", loss)
        self.val_error(outputs, targets)
        if self.hparams.val_loaders == 1:
            self.log("val_error", self.val_error)

    def on_validation_epoch_end(self):
        self.log("val_own", torch.stack(self.seen).mean())
        self.seen.clear()

    test_step = validation_step
    on_test_epoch_end = on_validation_epoch_end

    def configure_optimizers(self):
        optimizer = torch.optim.AdamW(self.parameters(), lr=PEAK)
        return {"optimizer": optimizer, "lr_scheduler": anytime_config(optimizer, self.schedule)}

    def train_dataloader(self):
        return torch.utils.data.DataLoader(torch.zeros(6))

    def val_dataloader(self):
        loaders = [torch.utils.data.DataLoader(torch.arange(6.0), 3) for _ in range(self.hparams.val_loaders)]
        return loaders if len(loaders) > 1 else loaders[0]

    test_dataloader = val_dataloader


def new_module(kind=Tiny, **settings):
    torch.manual_seed(7)
    return kind(**settings)


def new_trainer(folder, *callbacks, epochs=2, **settings):
    known = {
        "accelerator": "cpu",
        "logger": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "enable_checkpointing": any(isinstance(callback, ModelCheckpoint) for callback in callbacks),
        "num_sanity_val_steps": 0,
    }
    return Trainer(default_root_dir=folder, max_epochs=epochs, callbacks=list(callbacks), **known | settings)


def fit(folder, module, *callbacks, ckpt_path=None, **settings):
    trainer = new_trainer(folder, *callbacks, **settings)
    torch.manual_seed(3)
    trainer.fit(module, ckpt_path=ckpt_path)
    return trainer


def weights(module):
    return {name: tensor.detach().clone() for name, tensor in module.state_dict().items() if "layers" in name}


def averages(callback, name="ema-25"):
    return {key: tensor.clone() for key, tensor in callback.averager.average(name).items()}


def same(ours, others):
    assert ours.keys() == others.keys()
    return all(torch.equal(ours[name], others[name]) for name in ours)


def load(path):
    return torch.load(path, weights_only=True)


def loss_of(module, state):
    """What validating these weights gives, by hand."""
    other = copy.deepcopy(module).eval()
    other.load_state_dict(state, strict=False)
    with torch.no_grad():
        outputs, targets = other(torch.arange(6.0))
    return nn.functional.mse_loss(outputs, targets)


@pytest.mark.parametrize("accumulate", [1, 4])
def test_update_s_has_the_schedules_lr_and_the_averages_are_of_all_updates(tmp_path, accumulate):
    """Four batches make an update, then the two that are left of the epoch another."""
    module, callback = new_module(), AnytimeAveraging(TRACKS)
    by_hand = []

    class ByHand(Callback):
        def on_fit_start(self, trainer, pl_module):
            by_hand.append(Averager(pl_module, TRACKS))

        def on_before_zero_grad(self, trainer, pl_module, optimizer):
            if trainer.global_step:  # the weights that the update before has left
                by_hand[0].update(trainer.global_step)

    trainer = fit(tmp_path, module, callback, ByHand(), accumulate_grad_batches=accumulate)
    updates = 2 * math.ceil(6 / accumulate)
    assert trainer.global_step == callback.averager.step == updates
    assert module.lrs == [PEAK * SCHEDULE(s) for s in range(1, updates + 1)]
    by_hand[0].update(updates)
    for name in NAMES:
        assert same(averages(callback, name), by_hand[0].average(name))


class Early(Tiny):
    """Ends each epoch before its fourth batch."""

    def on_train_batch_start(self, batch, batch_idx):
        return -1 if batch_idx == 3 else None


class Gaps(Tiny):
    """Each second batch is none at all."""

    def train_dataloader(self):
        return torch.utils.data.DataLoader(torch.arange(6.0), collate_fn=lambda x: x[0] if x[0] % 2 else None)


@pytest.mark.parametrize("kind", [Early, Gaps])
def test_what_is_no_update_moves_neither_schedule_nor_averages(tmp_path, kind):
    module, callback = new_module(kind), AnytimeAveraging()
    fit(tmp_path, module, callback, ModelCheckpoint(tmp_path, filename="{epoch}", save_top_k=-1))
    assert module.lrs == [PEAK * SCHEDULE(s) for s in range(1, 7)]
    assert callback.averager.step == 6
    second, resumed = new_module(kind), AnytimeAveraging()
    fit(tmp_path / "second", second, resumed, ckpt_path=tmp_path / "epoch=0.ckpt")
    assert second.lrs == module.lrs[3:]
    assert resumed.averager.step == 6


def test_interrupted_and_resumed_is_continuous_bit_for_bit(tmp_path):
    module, callback = new_module(), AnytimeAveraging(TRACKS, History)
    fit(tmp_path, module, callback, epochs=4)

    first = new_module()
    fit(tmp_path / "first", first, AnytimeAveraging(TRACKS, History)).save_checkpoint(tmp_path / "half.ckpt")
    random_state = torch.get_rng_state()  # of dropout: Lightning saves none
    second, resumed = new_module(), AnytimeAveraging(TRACKS, History)
    trainer = new_trainer(tmp_path / "second", resumed, epochs=4)
    torch.set_rng_state(random_state)
    trainer.fit(second, ckpt_path=tmp_path / "half.ckpt")

    assert same(weights(second), weights(module))
    assert first.lrs + second.lrs == module.lrs
    for name in [*NAMES, "tail-0.5"]:
        with callback.averager.applied(name), resumed.averager.applied(name):
            assert same(weights(second), weights(module))


def test_resumed_amid_an_epoch(tmp_path):
    module, callback = new_module(dropout=0.0), AnytimeAveraging()
    saving = ModelCheckpoint(tmp_path, filename="{step}", every_n_train_steps=4, save_top_k=-1)
    fit(tmp_path, module, callback, saving)
    second, resumed = new_module(dropout=0.0), AnytimeAveraging()
    fit(tmp_path / "second", second, resumed, ckpt_path=tmp_path / "step=4.ckpt")
    assert second.lrs == module.lrs[4:]
    assert same(weights(second), weights(module))
    assert same(averages(resumed), averages(callback))


def test_a_branch_decays_from_its_first_update(tmp_path):
    trunk, kept = new_module(schedule=Constant()), AnytimeAveraging()
    fit(tmp_path / "trunk", trunk, kept).save_checkpoint(tmp_path / "trunk.ckpt")
    decay = Constant().decay(at=12, steps=6, floor=0.0)
    branch, callback = new_module(schedule=decay), AnytimeAveraging()
    trainer = fit(tmp_path / "branch", branch, callback, ckpt_path=tmp_path / "trunk.ckpt", epochs=3)
    assert trainer.default_root_dir == str(tmp_path / "branch")
    assert branch.lrs == [PEAK * decay(s) for s in range(13, 19)]
    assert (kept.averager.step, callback.averager.step) == (12, 18)


class Watch(Callback):
    """What other callbacks see."""

    def __init__(self):
        self.metrics, self.batches, self.drawn = [], 0, []

    def on_validation_batch_end(self, *_):
        self.batches += 1

    def on_validation_end(self, trainer, pl_module):
        if not trainer.sanity_checking:
            self.metrics.append({key: value.item() for key, value in trainer.callback_metrics.items()})
            self.drawn.append(weights(pl_module))


def test_averages_are_validated_under_their_own_names(tmp_path):
    module, callback, watch, called = new_module(), AnytimeAveraging(TRACKS), Watch(), []
    fit(
        tmp_path,
        module,
        watch,
        LambdaCallback(on_validation_end=lambda *_: called.append(callback.evaluating)),
        callback,
        num_sanity_val_steps=2,
    )
    keys = ["val_loss", "val_error", "val_own"]
    found = watch.metrics[-1]
    assert set(found) == {f"{key}{suffix}" for key in keys for suffix in ["", "/ema-25", "/ema-6.25"]}
    raw = weights(module)
    for suffix, state in [("", raw), *((f"/{name}", averages(callback, name)) for name in NAMES)]:
        for key in keys:  # by the loss, by an object of torchmetrics, by a list of the module's own
            assert found[key + suffix] == pytest.approx(loss_of(module, state).item(), rel=1e-5)
    assert len(watch.metrics) == 2
    assert called == ["raw"] * 3  # the sanity check, too
    assert watch.batches == 2 + 2 * 2  # the sanity check, and twice the raw weights
    assert same(watch.drawn[-1], raw)


def test_before_averages_have_taken_in_weights_only_the_raw_ones_are_validated(tmp_path):
    watch, stopping = Watch(), EarlyStopping("val_loss/ema-25", strict=False)
    fit(tmp_path, new_module(), AnytimeAveraging(every=5), watch, stopping, val_check_interval=2)
    assert ["val_loss" in seen for seen in watch.metrics] == [True] * 6
    assert ["val_loss/ema-25" in seen for seen in watch.metrics] == [False, False] + [True] * 4
    with pytest.raises(RuntimeError, match="`val_loss/ema-25` which is not available"):
        fit(
            tmp_path,
            new_module(),
            AnytimeAveraging(every=5),
            EarlyStopping("val_loss/ema-25"),
            val_check_interval=2,
        )


def test_an_average_that_joins_later_is_validated_once_it_has_taken_in_weights(tmp_path):
    fit(tmp_path, new_module(), AnytimeAveraging(["half-life:25"])).save_checkpoint(tmp_path / "one.ckpt")
    watch, two = Watch(), AnytimeAveraging(TRACKS, every=5, strict=False)
    fit(tmp_path, new_module(), two, watch, ckpt_path=tmp_path / "one.ckpt", epochs=3, val_check_interval=2)
    assert all("val_loss/ema-25" in seen for seen in watch.metrics)
    assert ["val_loss/ema-6.25" in seen for seen in watch.metrics] == [False, True, True]  # 14, 16, 18


def test_training_is_what_it_is_without_averages(tmp_path):
    module, other = new_module(), new_module()
    fit(tmp_path, module, AnytimeAveraging(TRACKS), val_check_interval=2)
    fit(tmp_path, other, limit_val_batches=0)
    fit(tmp_path, plain := new_module(), val_check_interval=2)
    assert same(weights(module), weights(plain))
    assert not same(
        weights(module), weights(other)
    )  # validation itself draws numbers, which dropout would have


def test_several_loaders(tmp_path):
    module, callback = new_module(val_loaders=2), AnytimeAveraging()
    trainer = fit(tmp_path, module, callback)
    loss = trainer.callback_metrics["val_loss/ema-25/dataloader_idx_0"]
    assert loss.item() == pytest.approx(loss_of(module, averages(callback)).item(), rel=1e-5)
    second = trainer.callback_metrics["val_loss/ema-25/dataloader_idx_1"]
    assert second != loss
    assert {"val_loss/dataloader_idx_0", "val_loss/dataloader_idx_1"} <= trainer.callback_metrics.keys()


@pytest.mark.parametrize("where", ["validation_step", "on_validation_epoch_end"])
def test_the_raw_weights_come_back_when_an_averaged_validation_fails(tmp_path, where):
    callback = AnytimeAveraging(TRACKS)

    class Failing(Tiny):
        def fail(self):
            if callback.evaluating == "ema-6.25":
                raise RuntimeError("in the validation of an average")
            self.trained = weights(self) if callback.evaluating == "raw" else self.trained

        def validation_step(self, *batch):
            super().validation_step(*batch)
            if where == "validation_step":
                self.fail()

        def on_validation_epoch_end(self):
            super().on_validation_epoch_end()
            if where != "validation_step":
                self.fail()

    module, watch = new_module(Failing), Watch()
    trainer = new_trainer(tmp_path, callback, watch)
    with pytest.raises(RuntimeError, match="in the validation of an average"):
        trainer.fit(module)
    assert same(weights(module), module.trained)
    assert callback.evaluating == "raw"
    assert trainer.callbacks[:2] == [callback, watch]
    assert type(trainer.fit_loop.epoch_loop.val_loop).__name__ == "_EvaluationLoop"


def test_checkpoint_and_early_stopping_may_monitor_an_average(tmp_path):
    stopping = EarlyStopping("val_loss/ema-25", patience=100, strict=True)
    saving = ModelCheckpoint(tmp_path, monitor="val_loss/ema-25", filename="{epoch}", save_top_k=-1)
    module, callback, watch = new_module(), AnytimeAveraging(), Watch()
    fit(tmp_path, module, stopping, saving, watch, callback, epochs=3)
    saved = {load(path)["epoch"]: score.item() for path, score in saving.best_k_models.items()}
    assert saved == {epoch: seen["val_loss/ema-25"] for epoch, seen in enumerate(watch.metrics)}
    assert stopping.best_score == min(saved.values())
    best = load(saving.best_model_path)
    average = best["callbacks"]["AnytimeAveraging"]["tracks"]["ema-25"]["average"]
    assert saving.best_model_score.item() == pytest.approx(loss_of(module, average).item(), rel=1e-5)
    assert same({key: best["state_dict"][key] for key in average}, watch.drawn[best["epoch"]])
    assert not same({key: best["state_dict"][key] for key in average}, average)


def test_what_is_saved_amid_the_validation_of_an_average_is_raw(tmp_path):
    callback = AnytimeAveraging()

    class Saving(Tiny):
        def on_validation_epoch_end(self):
            super().on_validation_epoch_end()
            self.trainer.save_checkpoint(tmp_path / f"{callback.evaluating}.ckpt")

    module = new_module(Saving)
    fit(tmp_path, module, callback, EarlyStopping("val_loss", check_on_train_epoch_end=False), epochs=1)
    raw, amid = load(tmp_path / "raw.ckpt"), load(tmp_path / "ema-25.ckpt")
    assert same(raw["state_dict"], amid["state_dict"])
    assert same({key: amid["state_dict"][key] for key in weights(module)}, weights(module))
    assert set(amid["callbacks"]) == {"AnytimeAveraging", *raw["callbacks"]}
    second = new_module()
    stopping = EarlyStopping("val_loss", check_on_train_epoch_end=False)
    fit(tmp_path, second, AnytimeAveraging(), stopping, ckpt_path=tmp_path / "ema-25.ckpt")
    assert second.lrs == [PEAK * SCHEDULE(s) for s in range(7, 13)]


def test_a_second_fit_begins_anew_but_from_a_checkpoint(tmp_path):
    module, callback = new_module(), AnytimeAveraging()
    trainer = fit(tmp_path, module, callback)
    trainer.save_checkpoint(tmp_path / "run.ckpt")
    trainer.fit_loop.max_epochs = 3
    trainer.fit(module)
    assert (trainer.global_step, callback.averager.step) == (18, 6)
    assert module.lrs[12:] == [PEAK * SCHEDULE(s) for s in range(1, 7)]
    trainer.fit(module, ckpt_path=tmp_path / "run.ckpt")
    assert callback.averager.step == 18
    assert module.lrs[18:] == [PEAK * SCHEDULE(s) for s in range(13, 19)]


@pytest.mark.parametrize("verb", ["validate", "test"])
def test_a_checkpoint_is_evaluated_with_its_averages(tmp_path, verb):
    module, callback = new_module(), AnytimeAveraging(TRACKS)
    fit(tmp_path, module, callback).save_checkpoint(tmp_path / "run.ckpt")
    expected = loss_of(module, averages(callback)).item()
    fresh = AnytimeAveraging(TRACKS)
    trainer = new_trainer(tmp_path, fresh)
    other = Tiny()
    getattr(trainer, verb)(other, ckpt_path=tmp_path / "run.ckpt", verbose=False)
    assert trainer.callback_metrics["val_loss/ema-25"].item() == pytest.approx(expected, rel=1e-5)
    assert same(weights(other), weights(module))
    trainer.fit(
        other, ckpt_path=tmp_path / "run.ckpt"
    )  # what was made under inference mode does not get in the way


def test_without_averages_an_evaluation_is_of_the_raw_weights(tmp_path):
    callback = AnytimeAveraging()
    trainer = new_trainer(tmp_path, callback)
    trainer.validate(module := new_module(), verbose=False)
    assert trainer.callback_metrics["val_loss"].item() == pytest.approx(loss_of(module, {}).item(), rel=1e-5)
    assert not any("ema" in key for key in trainer.callback_metrics)
    with pytest.raises(RuntimeError, match=r"call trainer\.fit first"):
        callback.save_average(trainer, "ema-25", tmp_path / "no.ckpt")
    trainer.fit(module)
    trainer.validate(new_module(), verbose=False)  # whose averages these are not
    assert not any("ema" in key for key in trainer.callback_metrics)


def test_an_average_saved_as_weights(tmp_path):
    module, callback = new_module(width=5), AnytimeAveraging(TRACKS)
    trainer = fit(tmp_path, module, callback)
    raw = weights(module)
    callback.save_average(trainer, "ema-6.25", tmp_path / "average.ckpt")
    loaded = Tiny.load_from_checkpoint(tmp_path / "average.ckpt")
    assert same(weights(loaded), averages(callback, "ema-6.25"))
    assert same(weights(module), raw)
    with pytest.raises(KeyError, match="contains only the model"):  # no raw moments beside averaged weights
        fit(tmp_path, new_module(width=5), AnytimeAveraging(TRACKS), ckpt_path=tmp_path / "average.ckpt")
    with pytest.raises(ValueError, match="did you mean 'ema-25'"):
        callback.save_average(trainer, "ema-26", tmp_path / "no.ckpt")


def test_a_schedule_stepped_by_epochs_is_refused(tmp_path):
    class Trap(Tiny):
        def configure_optimizers(self):
            config = super().configure_optimizers()
            return [config["optimizer"]], [config["lr_scheduler"]["scheduler"]]

    with pytest.raises(SettingError, match=r'got interval "epoch".*anytime_config\(optimizer, schedule\)'):
        fit(tmp_path, new_module(Trap), AnytimeAveraging())


def test_the_lr_that_a_tuner_finds_before_fit_is_the_peak(tmp_path):
    class Tuned(Tiny):
        lr = PEAK

        def configure_optimizers(self):
            optimizer = torch.optim.AdamW(self.parameters(), lr=self.lr)
            return {"optimizer": optimizer, "lr_scheduler": anytime_config(optimizer, self.schedule)}

    module, callback = new_module(Tuned), AnytimeAveraging()
    trainer = new_trainer(tmp_path, callback, epochs=5)
    before = weights(module)
    Tuner(trainer).lr_find(module, num_training=20, early_stop_threshold=None)
    assert module.lr != PEAK
    assert same(weights(module), before)
    module.lrs.clear()
    trainer.fit(module)
    assert module.lrs == [module.lr * SCHEDULE(s) for s in range(1, 31)]
    assert callback.averager.step == 30


class Manual(Tiny):
    """Two optimizers, the second with an update for every two of the first."""

    def __init__(self, **settings):
        super().__init__(**settings)
        self.automatic_optimization = False

    def configure_optimizers(self):
        first, second = (torch.optim.SGD(self.layers[k].parameters(), lr=PEAK) for k in (0, 2))
        return [first, second], [anytime_config(first, self.schedule)]

    def training_step(self, batch, batch_idx):
        self.manual_backward(super().training_step(batch, batch_idx))
        for number, optimizer in enumerate(self.optimizers()):
            if number == 0 or batch_idx % 2:
                optimizer.step()
        self.zero_grad()
        self.lr_schedulers().step()


def test_with_several_optimizers_the_schedule_counts(tmp_path):
    module, callback = new_module(Manual), AnytimeAveraging()
    trainer = fit(tmp_path, module, callback)
    assert (trainer.global_step, callback.averager.step) == (18, 12)

    class Uncounted(Manual):
        def configure_optimizers(self):
            return super().configure_optimizers()[0]

    with pytest.raises(SettingError, match=r"got none for 2 optimizers.*AnytimeLR"):
        fit(tmp_path, new_module(Uncounted), AnytimeAveraging())


class Stock(Tiny):
    """As a run was before: a scheduler that counts epochs."""

    def configure_optimizers(self):
        optimizer = torch.optim.AdamW(self.parameters(), lr=PEAK)
        return [optimizer], [torch.optim.lr_scheduler.StepLR(optimizer, 100)]


def test_a_checkpoint_without_averages_or_position(tmp_path):
    fit(tmp_path, new_module(Stock)).save_checkpoint(tmp_path / "plain.ckpt")
    with pytest.raises(SettingError, match="strict=False"):
        fit(tmp_path, new_module(), AnytimeAveraging(), ckpt_path=tmp_path / "plain.ckpt", epochs=3)
    module, callback = new_module(), AnytimeAveraging(strict=False)
    with pytest.warns(UserWarning, match="gives position 2, but it was made after 12 updates"):
        fit(tmp_path, module, callback, ckpt_path=tmp_path / "plain.ckpt", epochs=3)
    assert module.lrs == [PEAK * SCHEDULE(s) for s in range(13, 19)]
    assert callback.averager.step == 18


STOCK = [
    (EMAWeightAveraging(decay=0.5), FixedBeta(0.5), 1),
    (EMAWeightAveraging(decay=0.25, update_every_n_steps=2), FixedBeta(0.5), 2),
    (WeightAveraging(), Uniform(), 1),
]


@pytest.mark.parametrize(("stock", "profile", "every"), STOCK, ids=["ema", "every-2", "uniform"])
def test_a_run_of_the_stock_callback_goes_on(tmp_path, stock, profile, every):
    module = new_module(Stock)
    raw = []

    class BeforeEnd(Callback):
        """The stock callback ends by copying the average into the model; this is called after the last update."""

        def on_train_epoch_end(self, trainer, pl_module):
            raw[:] = [weights(pl_module)]

    saving = ModelCheckpoint(tmp_path, filename="{step}", every_n_epochs=1)
    fit(tmp_path, module, stock, BeforeEnd(), saving)
    with pytest.raises(SettingError, match="convert_stock_checkpoint"):
        fit(
            tmp_path, new_module(), AnytimeAveraging([profile]), ckpt_path=tmp_path / "step=12.ckpt", epochs=3
        )

    convert_stock_checkpoint(tmp_path / "step=12.ckpt", tmp_path / "raw.ckpt", module, profile, every=every)
    converted, found = load(tmp_path / "raw.ckpt"), load(tmp_path / "step=12.ckpt")
    assert same({key: converted["state_dict"][key] for key in raw[0]}, raw[0])
    track = converted["callbacks"]["AnytimeAveraging"]["tracks"][profile.name]
    assert same(track["average"], {key: found["state_dict"][key] for key in track["average"]})
    moments = found["optimizer_states"][0]["state"][0], converted["optimizer_states"][0]["state"][0]
    assert same(*moments)

    other, callback = new_module(), AnytimeAveraging([profile, HalfLife(25)], strict=False)
    with pytest.warns(UserWarning, match="goes on from 12"):
        fit(tmp_path, other, callback, ckpt_path=tmp_path / "raw.ckpt", epochs=3)
    assert other.lrs == [PEAK * SCHEDULE(s) for s in range(13, 19)]
    assert callback.averager.step == 18


def test_a_stock_average_of_another_profile_is_refused(tmp_path):
    stock = EMAWeightAveraging(decay=0.9)
    fit(tmp_path, module := new_module(), stock, saving := ModelCheckpoint(tmp_path, filename="stock"))
    path, out = saving.best_model_path, tmp_path / "raw.ckpt"
    first = 0.9**11 - 0.1 * 0.9**11 / (1 - 0.9**12)  # what the stock EMA has of the first weights on top
    with pytest.raises(SettingError, match=rf"'ema:0.9' differs from the average, .* in {first:.1%} of"):
        convert_stock_checkpoint(path, out, module, FixedBeta(0.9))
    with pytest.raises(SettingError, match="update_every_n_steps"):
        convert_stock_checkpoint(path, out, module, FixedBeta(0.9), every=2)
    with pytest.raises(SettingError, match="got 'half-life:25'; must be FixedBeta"):
        convert_stock_checkpoint(path, out, module, HalfLife(25))
    with pytest.raises(SettingError, match="differs from the average"):
        convert_stock_checkpoint(path, out, module, Uniform(3))
    assert not out.exists()
    convert_stock_checkpoint(path, out, module, None)
    assert "AnytimeAveraging" not in load(out)["callbacks"]
    with pytest.raises(CheckpointError, match="has no averaging_state, current_model_state"):
        convert_stock_checkpoint(out, tmp_path / "again.ckpt", module, None)

    trainer = fit(tmp_path / "ended", new_module(), EMAWeightAveraging(decay=0.9))
    trainer.save_checkpoint(path)
    with pytest.raises(CheckpointError, match="its raw weights are the average"):
        convert_stock_checkpoint(path, out, module, None)


def test_strategies_whose_shards_are_no_tensors_are_refused():
    trainer = SimpleNamespace(strategy=FSDPStrategy(), callbacks=[])  # Lightning makes none on the CPU
    with pytest.raises(SettingError, match=r"got FSDPStrategy.*ModelParallelStrategy with fully_shard"):
        AnytimeAveraging().setup(trainer, Tiny(), "fit")


@pytest.mark.parametrize("other", [EMAWeightAveraging(), StochasticWeightAveraging(0.01)])
def test_other_callbacks_that_move_the_weights_are_refused(tmp_path, other):
    with pytest.raises(SettingError, match=rf"got {type(other).__name__}, .* must be left out"):
        fit(tmp_path, new_module(), AnytimeAveraging(), other)


class Affine(LightningModule):
    """The module of the page, as it was trained before."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(4, 1)

    def training_step(self, batch, batch_idx):
        return nn.functional.mse_loss(self.layer(batch[0]), batch[1])

    def configure_optimizers(self):
        return torch.optim.AdamW(self.parameters(), lr=3e-3)


def test_the_page_runs_as_it_stands(tmp_path, run_snippets):
    dataset = [(x, x.sum(0, keepdim=True)) for x in torch.randn(40, 4)]
    saving = ModelCheckpoint(tmp_path, filename="stock")
    trainer = new_trainer(tmp_path, EMAWeightAveraging(decay=0.9), saving, epochs=6)
    trainer.fit(Affine(), torch.utils.data.DataLoader(dataset, batch_size=4))
    found = run_snippets("integrations/lightning.md", dataset=dataset)
    assert (found["branched"].averager.step, found["ours"].averager.step) == (60, 80)
    assert found["loaded"].layer.weight.shape == (1, 4)
    assert "val_loss/ema-25" in found["evaluation"].callback_metrics
