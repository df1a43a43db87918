"""The Trainer on a schedule of the position: exact to go on with, to branch, and its averages told apart."""

import json
import shutil
import warnings
from itertools import chain
from types import SimpleNamespace

import pytest
import torch
from safetensors import safe_open

from riverrun.averaging import HalfLife, Track, Uniform
from riverrun.errors import CheckpointError, SettingError
from riverrun.schedules import Constant, Cosine, InverseSqrt

pytest.importorskip("accelerate")
transformers = pytest.importorskip("transformers")

from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM, Trainer, TrainerCallback  # noqa: E402

from riverrun.integrations.transformers import AnytimeMixin, AnytimeTrainer  # noqa: E402
from riverrun.integrations.transformers.contradictions import refuse_what_cannot_work  # noqa: E402

SCHEDULE = InverseSqrt(warmup=3, warmup_start=0.1, offset=8)
TRACKS = (HalfLife(25), Uniform())
PEAK = 1e-2
CONFIG = LlamaConfig(
    vocab_size=32,
    hidden_size=8,
    intermediate_size=16,
    num_hidden_layers=1,
    num_attention_heads=2,
    max_position_embeddings=8,
    attention_dropout=0.2,
    use_cache=False,
)


def tokens(seed, number):
    rows = torch.randint(32, (number, 8), generator=torch.Generator().manual_seed(seed))
    return [{"input_ids": row, "labels": row} for row in rows]


DATA, HELDOUT, OTHERS = tokens(1, 26), tokens(2, 8), tokens(3, 8)  # 7 updates of 4 sequences an epoch


class Watch(TrainerCallback):
    """Notes the LR that each update used, the weights after it, and the sequences of each microbatch."""

    def __init__(self):
        self.rates, self.raw, self.seen, self.evaluations = {}, {}, [], []

    def on_pre_optimizer_step(self, args, state, control, optimizer, **more):
        self.rates[state.global_step + 1] = [group["lr"] for group in optimizer.param_groups]

    def on_step_end(self, args, state, control, model, **more):
        self.raw[state.global_step] = weights(model)

    def on_evaluate(self, args, state, control, metrics, model, **more):
        self.evaluations.append(({key for key in metrics if key.endswith("loss")}, weights(model)))


def weights(model):
    return {name: parameter.detach().clone() for name, parameter in model.named_parameters()}


def new_trainer(
    folder, max_steps, *, kind=AnytimeTrainer, schedule=SCHEDULE, tracks=TRACKS, anytime=None, **changed
):
    ours = {"train_dataset", "eval_dataset", "callbacks", "optimizers", "compute_metrics"}
    of_trainer = {name: changed.pop(name) for name in ours & changed.keys()}
    settings = {
        "per_device_train_batch_size": 4,
        "learning_rate": PEAK,
        "save_steps": 5,
        "logging_steps": 1,
        "report_to": "none",
        "disable_tqdm": True,
        "use_cpu": True,
    } | changed
    args = transformers.TrainingArguments(output_dir=str(folder), max_steps=max_steps, **settings)
    transformers.set_seed(0)
    watch = Watch()
    own = {} if kind is Trainer else {"schedule": schedule, "tracks": tracks, **(anytime or {})}
    trainer = kind(
        model=LlamaForCausalLM(CONFIG),
        args=args,
        **{"train_dataset": DATA, "callbacks": [watch], **of_trainer},
        **own,
    )
    trainer.watch = watch
    train_on = trainer.training_step

    def training_step(model, inputs, *others):
        watch.seen.append(inputs["input_ids"].tolist())
        return train_on(model, inputs, *others)

    trainer.training_step = training_step
    return trainer


def trained(folder, max_steps, resume=None, **changed):
    trainer = new_trainer(folder, max_steps, **changed)
    trainer.train(resume)
    return trainer


def averages(trainer):
    return {
        name: {key: value.clone() for key, value in trainer.averages.average(name).items()}
        for name in trainer.averages.names
    }


def logged(trainer, key):
    return {entry["step"]: entry[key] for entry in trainer.state.log_history if key in entry}


def assert_same(found, wanted):
    torch.testing.assert_close(found, wanted, rtol=0, atol=0)


def assert_same_run(found, wanted):
    assert_same(weights(found.model), weights(wanted.model))
    assert_same(averages(found), averages(wanted))
    assert_same(found.optimizer.state_dict()["state"], wanted.optimizer.state_dict()["state"])
    assert logged(found, "loss") == logged(wanted, "loss")
    assert logged(found, "learning_rate") == logged(wanted, "learning_rate")


@pytest.fixture(scope="module")
def trunk(tmp_path_factory):
    """20 steps at once, over the end of two epochs; folder and trainer. Not to be trained further."""
    folder = tmp_path_factory.mktemp("trunk")
    return folder, trained(folder, 20)


def contents(folder):
    return {
        path.relative_to(folder): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()
    }


# The schedule


def test_update_s_uses_the_peak_times_the_schedule(trunk):
    _, trainer = trunk
    wanted = {s: PEAK * SCHEDULE(s) for s in range(1, 21)}
    assert trainer.watch.rates == {
        s: [lr, lr] for s, lr in wanted.items()
    }  # two groups: with decay and without
    assert logged(trainer, "learning_rate") == wanted
    assert trainer.lr_scheduler.state_dict() == {"position": 20}


def test_microbatches_are_not_counted(trunk, tmp_path):
    _, whole = trunk
    trainer = trained(tmp_path, 8, per_device_train_batch_size=2, gradient_accumulation_steps=2)
    assert trainer.watch.rates == {s: [PEAK * SCHEDULE(s)] * 2 for s in range(1, 9)}
    assert trainer.averages.step == 8
    assert list(chain(*trainer.watch.seen[:13])) == list(chain(*whole.watch.seen[:7]))


def test_groups_keep_peaks_of_their_own(tmp_path):
    model = LlamaForCausalLM(CONFIG)
    first, *rest = model.parameters()
    optimizer = torch.optim.SGD([{"params": [first], "lr": 0.5}, {"params": rest, "lr": 0.25}])
    trainer = new_trainer(tmp_path, 4, optimizers=(optimizer, None))
    trainer.model = trainer.model_wrapped = model
    trainer.train()
    assert trainer.watch.rates == {s: [0.5 * SCHEDULE(s), 0.25 * SCHEDULE(s)] for s in range(1, 5)}


def test_an_update_that_the_scaler_skips_is_counted(tmp_path):
    trainer = new_trainer(tmp_path, 8, max_grad_norm=0.0)
    trainer.accelerator.scaler = torch.amp.GradScaler("cpu", init_scale=2.0**126, backoff_factor=2.0**-60)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        trainer.train()
    raw = trainer.watch.raw
    assert_same(raw[1], raw[2])  # the gradients overflowed
    assert not torch.equal(raw[4]["lm_head.weight"], raw[8]["lm_head.weight"])
    assert trainer.watch.rates == {s: [PEAK * SCHEDULE(s)] * 2 for s in range(1, 9)}
    assert trainer.averages.step == 8


def test_training_again_begins_anew(tmp_path):
    trainer = trained(tmp_path, 4)
    trainer.train()
    assert trainer.watch.rates == {s: [PEAK * SCHEDULE(s)] * 2 for s in range(1, 5)}
    assert trainer.averages.step == 4


def test_arguments_that_say_otherwise_are_told_once(tmp_path):
    with pytest.warns(UserWarning, match="lr_scheduler_type, warmup_steps: set, and does nothing") as told:
        trained(tmp_path, 2, lr_scheduler_type="cosine", warmup_steps=3)
    assert sum("does nothing" in str(warning.message) for warning in told) == 1


def test_no_warning_on_the_usual_way(tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        trained(tmp_path, 2, eval_dataset=HELDOUT, eval_strategy="steps", eval_steps=1)


def test_a_scheduler_of_ones_own_is_refused(tmp_path):
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.ones(1))])
    stock = torch.optim.lr_scheduler.ConstantLR(optimizer)
    with pytest.raises(SettingError, match="optimizers: got a scheduler"):
        new_trainer(tmp_path, 2, optimizers=(optimizer, stock))


@pytest.mark.parametrize(
    ("deepspeed", "fsdp", "named"), [(True, False, "deepspeed"), (False, True, "fsdp_version")]
)
def test_wrappers_that_hide_the_weights_are_refused(trunk, monkeypatch, deepspeed, fsdp, named):
    _, trainer = trunk
    monkeypatch.setattr(trainer, "lr_scheduler", None)
    monkeypatch.setattr(trainer, "is_deepspeed_enabled", deepspeed)
    monkeypatch.setattr(trainer, "is_fsdp_enabled", fsdp)
    plugin = SimpleNamespace(fsdp_version=1)
    monkeypatch.setattr(trainer, "accelerator", SimpleNamespace(state=SimpleNamespace(fsdp_plugin=plugin)))
    with pytest.raises(SettingError, match=f"^{named}: "):
        refuse_what_cannot_work(trainer)


# The averages


def test_averages_are_of_the_weights_after_each_step(trunk):
    _, trainer = trunk
    raw = trainer.watch.raw
    for profile in TRACKS:
        track = Track([torch.empty_like(value) for value in raw[1].values()], profile)
        for step, values in raw.items():
            track.update(list(values.values()), step)
        assert_same(list(trainer.averages.average(profile.name).values()), track.value())


def test_callbacks_find_them_up_to_date_at_the_end_of_a_step(tmp_path):
    class Looks(TrainerCallback):
        def on_step_end(self, args, state, control, **more):
            found.append((state.global_step, trainer.averages.step, trainer.lr_scheduler.position))

    found = []
    trainer = new_trainer(tmp_path, 3, callbacks=[Looks(), Watch()])
    trainer.train()
    assert found == [(step, step, step) for step in (1, 2, 3)]


def test_they_change_nothing_of_the_training(tmp_path):
    settings = {"eval_strategy": "steps", "eval_steps": 2, "eval_dataset": HELDOUT, "schedule": Constant()}
    stock = trained(tmp_path / "stock", 6, kind=Trainer, lr_scheduler_type="constant", **settings)
    ours = trained(tmp_path / "ours", 6, **settings)
    assert_same(weights(ours.model), weights(stock.model))
    assert logged(ours, "eval_loss") == logged(stock, "eval_loss")
    assert logged(ours, "loss") == logged(stock, "loss")


def test_they_may_take_in_every_other_step(tmp_path):
    trainer = trained(tmp_path, 5, anytime={"average_every": 2, "average_device": "cpu"})
    assert trainer.averages.step == 4
    resumed = trained(tmp_path, 6, resume=True, tracks=TRACKS[::-1], anytime={"average_every": 2})
    assert_same(averages(resumed), averages(trained(tmp_path / "b", 6, anytime={"average_every": 2})))


# Evaluation


def test_each_readout_has_metrics_of_its_own(tmp_path):
    trainer = trained(tmp_path, 4, eval_dataset=HELDOUT, eval_strategy="steps", eval_steps=2)
    found = trainer.evaluate()
    losses = {key for key in found if key.endswith("_loss")}
    assert losses == {"eval_loss", "eval_ema-25_loss", "eval_uniform_loss"}
    assert len({found[key] for key in losses}) == 3
    for name, key in [("raw", "eval_loss"), ("ema-25", "eval_ema-25_loss"), ("uniform", "eval_uniform_loss")]:
        with trainer.averages.applied(name):
            assert Trainer.evaluate(trainer, metric_key_prefix="alone")["alone_loss"] == found[key]
            assert trainer.evaluate()["eval_loss"] == found["eval_loss"]  # a name is one readout's, wherever
        assert set(logged(trainer, key)) == {2, 4}
    assert "other_ema-25_loss" in trainer.evaluate(OTHERS, metric_key_prefix="other")


def test_several_sets_have_metrics_of_their_own(tmp_path):
    trainer = trained(
        tmp_path,
        2,
        eval_dataset={"a": HELDOUT, "b": OTHERS},
        eval_strategy="steps",
        eval_steps=2,
        metric_for_best_model="eval_b_ema-25_loss",
        load_best_model_at_end=True,
        save_steps=2,
    )
    found = trainer.evaluate()
    losses = {key for key in found if key.endswith("_loss")}
    assert losses == {f"eval_{of}{name}_loss" for of in "ab" for name in ("", "_ema-25", "_uniform")}
    assert trainer.evaluate(HELDOUT)["eval_ema-25_loss"] == found["eval_a_ema-25_loss"]
    assert trainer.evaluate({"c": OTHERS})["eval_c_uniform_loss"] == found["eval_b_uniform_loss"]
    assert trainer.state.best_metric == found["eval_b_ema-25_loss"]


def test_sets_whose_names_would_hide_a_readout_are_refused(tmp_path):
    with pytest.raises(SettingError, match="eval_dataset: got a set 'a_ema-25'"):
        new_trainer(tmp_path, 2, eval_dataset={"a": HELDOUT, "a_ema-25": OTHERS})
    with pytest.raises(SettingError, match="eval_dataset: got a set 'a_ema-25'"):
        new_trainer(tmp_path, 2).evaluate({"a": HELDOUT, "a_ema-25": OTHERS})


def test_callbacks_see_the_raw_weights_and_one_readout_at_a_time(tmp_path):
    trainer = trained(tmp_path, 2, eval_dataset=HELDOUT, eval_strategy="steps", eval_steps=2)
    raw = weights(trainer.model)
    evaluations = trainer.watch.evaluations
    assert [keys for keys, _ in evaluations] == [{"eval_loss"}, {"eval_ema-25_loss"}, {"eval_uniform_loss"}]
    for _, seen in evaluations:
        assert_same(seen, raw)


def test_what_a_callback_predicts_and_saves_at_an_evaluation_is_raw(tmp_path):
    class Predicts(TrainerCallback):
        def on_evaluate(self, args, state, control, metrics, **more):
            losses.append(trainer.predict(OTHERS).metrics["test_loss"])
            trainer._save_checkpoint(trainer.model, trial=None)

    losses = []
    trainer = trained(tmp_path, 3)
    trainer.add_callback(Predicts)
    trainer.evaluate(HELDOUT)
    assert losses == [trainer.predict(OTHERS).metrics["test_loss"]] * 3
    saved = LlamaForCausalLM.from_pretrained(tmp_path / "checkpoint-3")
    assert_same(weights(saved), weights(trainer.model))


def test_the_raw_weights_are_back_after_an_evaluation_that_fails(tmp_path):
    calls = []

    def metrics(_):
        calls.append(1)
        if len(calls) == 2:
            raise ArithmeticError("no metric")
        return {}

    trainer = trained(tmp_path, 2, eval_dataset=HELDOUT, compute_metrics=metrics)
    before = weights(trainer.model)
    with pytest.raises(ArithmeticError):
        trainer.evaluate()
    assert_same(weights(trainer.model), before)
    assert "eval_uniform_loss" in trainer.evaluate()
    assert_same(weights(trainer.model), before)


def test_before_any_update_there_are_the_raw_weights_alone(tmp_path):
    trainer = new_trainer(tmp_path, 2, eval_dataset=HELDOUT, eval_on_start=True)
    assert {key for key in trainer.evaluate() if key.endswith("_loss")} == {"eval_loss"}
    trainer.train()
    assert set(logged(trainer, "eval_loss")) == {0}
    assert not logged(trainer, "eval_ema-25_loss")


def test_a_prediction_is_the_raw_weights(trunk):
    _, trainer = trunk
    assert trainer.predict(HELDOUT).metrics["test_loss"] == Trainer.evaluate(trainer, HELDOUT)["eval_loss"]


# Checkpoints


def test_a_checkpoint_after_an_evaluation_holds_raw_weights_and_the_averages(tmp_path):
    trainer = trained(tmp_path, 5, eval_dataset=HELDOUT, eval_strategy="steps", eval_steps=5)
    saved = LlamaForCausalLM.from_pretrained(tmp_path / "checkpoint-5")
    assert_same(weights(saved), weights(trainer.model))
    with safe_open(tmp_path / "checkpoint-5/averages.safetensors", framework="pt") as file:
        for name, average in averages(trainer).items():
            assert_same({key: file.get_tensor(f"{name}/{key}") for key in average}, average)


def test_averages_are_there_before_the_checkpoint_counts(tmp_path, monkeypatch):
    def fails(self, path):
        assert {file.name for file in (tmp_path / "checkpoint-5").glob("averages*")} == {
            "averages.safetensors"
        }
        raise OSError("disk full")

    trainer = new_trainer(tmp_path, 5)
    monkeypatch.setattr(transformers.TrainerState, "save_to_json", fails)
    with pytest.raises(OSError, match="disk full"):
        trainer.train()


def test_no_checkpoint_is_made_of_an_average(tmp_path):
    class Saves(TrainerCallback):
        def on_prediction_step(self, *others, **more):
            trainer._save_checkpoint(trainer.model, trial=None)

    trainer = trained(tmp_path, 3)
    shutil.rmtree(tmp_path / "checkpoint-3")
    trainer.add_callback(Saves)
    trainer.evaluate(HELDOUT)
    saved = LlamaForCausalLM.from_pretrained(tmp_path / "checkpoint-3")
    assert_same(weights(saved), trainer.watch.raw[3])


@pytest.mark.parametrize("at", [5, 10])  # within an epoch, and in the next one
def test_interrupted_and_resumed_is_continuous(trunk, tmp_path, at):
    _, whole = trunk
    trained(tmp_path, at)
    resumed = trained(tmp_path, 20, resume=True)
    assert_same_run(resumed, whole)
    assert resumed.watch.rates == {s: whole.watch.rates[s] for s in range(at + 1, 21)}
    assert resumed.watch.seen == whole.watch.seen[at:]
    assert contents(tmp_path / "checkpoint-5").keys() == contents(trunk[0] / "checkpoint-5").keys()


def test_with_microbatches_too(tmp_path):
    settings = {"per_device_train_batch_size": 2, "gradient_accumulation_steps": 2}
    whole = trained(tmp_path / "a", 9, **settings)
    trained(tmp_path / "b", 5, **settings)
    assert_same_run(trained(tmp_path / "b", 9, resume=True, **settings), whole)


def test_the_schedule_and_the_peak_are_the_scripts(trunk, tmp_path):
    folder, _ = trunk
    other = Cosine(total=30)
    with pytest.warns(UserWarning, match="was reached with the schedule .*inverse-sqrt.*it is .*cosine"):
        trainer = trained(
            tmp_path, 12, resume=folder / "checkpoint-10", schedule=other, learning_rate=2 * PEAK
        )
    assert trainer.watch.rates == {s: [2 * PEAK * other(s)] * 2 for s in (11, 12)}


def test_missing_averages_are_an_error_or_begin_with_a_warning(trunk, tmp_path):
    folder, whole = trunk
    shutil.copytree(folder / "checkpoint-15", tmp_path / "checkpoint-15")
    more = (*TRACKS, HalfLife(6))
    with pytest.raises(
        CheckpointError, match="has averages ema-25, uniform; must have ema-25, uniform, ema-6"
    ):
        trained(tmp_path, 20, resume=True, tracks=more)
    with pytest.warns(UserWarning, match="those it has not begin here"):
        trainer = trained(tmp_path, 20, resume=True, tracks=more, anytime={"strict_averages": False})
    found = averages(trainer)
    late = Track(list(trainer.watch.raw[16].values()), HalfLife(6))
    for step, values in trainer.watch.raw.items():
        late.update(list(values.values()), step)
    assert_same(list(found.pop("ema-6").values()), late.value())
    assert_same(found, averages(whole))


def test_an_average_that_has_not_begun_is_not_evaluated(tmp_path):
    trained(tmp_path, 5, tracks=[Uniform()])
    with pytest.warns(UserWarning, match="begin here"):
        trainer = trained(
            tmp_path,
            6,
            resume=True,
            anytime={"strict_averages": False},
            eval_dataset=HELDOUT,
            eval_on_start=True,
            eval_strategy="steps",
            eval_steps=6,
        )
    assert set(logged(trainer, "eval_uniform_loss")) == {5, 6}
    assert set(logged(trainer, "eval_ema-25_loss")) == {6}


def test_the_best_model_of_a_stock_trainer_has_no_averages(tmp_path):
    settings = {
        "learning_rate": 3.0,
        "schedule": Constant(),
        "eval_dataset": DATA,
        "eval_strategy": "steps",
        "eval_steps": 1,
        "save_steps": 1,
        "metric_for_best_model": "loss",
        "load_best_model_at_end": True,
    }
    trained(tmp_path, 2, kind=Trainer, **settings)
    with pytest.warns(UserWarning, match="begin here"):
        trainer = trained(tmp_path, 4, resume=True, anytime={"strict_averages": False}, **settings)
    assert trainer.state.best_global_step <= 2
    assert {key for key in trainer.evaluate() if key.endswith("_loss")} == {"eval_loss"}


def test_at_its_end_a_run_is_not_trained_further(trunk, tmp_path):
    whole = trained(tmp_path, 5)
    again = trained(tmp_path, 5, resume=True, eval_dataset=HELDOUT)
    assert (again.state.global_step, again.lr_scheduler.position, again.averages.step) == (5, 5, 5)
    assert_same((weights(again.model), averages(again)), (weights(whole.model), averages(whole)))
    assert "eval_uniform_loss" in again.evaluate()
    fork = trunk[0] / "checkpoint-5"
    branch(tmp_path / "branch", fork, decay=3)
    assert branch(tmp_path / "branch", fork, decay=3, resume=True).state.global_step == 8
    for folder, last in ((tmp_path, 5), (tmp_path / "branch", 8)):
        assert {path.name for path in folder.glob("checkpoint-*")} == {f"checkpoint-{last}"}


def test_one_can_go_on_from_a_stock_trainers_checkpoint(tmp_path):
    trained(tmp_path, 5, kind=Trainer)
    with pytest.raises(CheckpointError, match="has averages none; must have ema-25, uniform"):
        trained(tmp_path, 7, resume=True)
    with pytest.warns(UserWarning, match="begin here"):
        trainer = trained(tmp_path, 7, resume=True, anytime={"strict_averages": False})
    assert trainer.watch.rates == {s: [PEAK * SCHEDULE(s)] * 2 for s in (6, 7)}


def test_an_unfinished_checkpoint_is_passed_over(trunk, tmp_path):
    folder, _ = trunk
    for step in (5, 10):
        shutil.copytree(folder / f"checkpoint-{step}", tmp_path / f"checkpoint-{step}")
    state = tmp_path / "checkpoint-10/trainer_state.json"
    state.write_text(state.read_text()[:100])  # a kill while it was written
    with pytest.warns(UserWarning, match="checkpoint-10: was not saved to its end; passed over"):
        trainer = trained(tmp_path, 6, resume=True)
    assert set(trainer.watch.rates) == {6}
    with pytest.raises(CheckpointError, match="no complete checkpoint"):
        trained(tmp_path / "b", 12, resume=tmp_path / "checkpoint-10")
    with pytest.raises(CheckpointError, match="has no complete checkpoint; leave resume_from_checkpoint out"):
        trained(tmp_path / "b", 12, resume=True)


def test_moments_averages_and_position_must_be_there(trunk, tmp_path):
    folder, _ = trunk
    checkpoint = tmp_path / "checkpoint-5"
    shutil.copytree(folder / "checkpoint-5", checkpoint)
    shutil.copy(folder / "checkpoint-10/averages.safetensors", checkpoint)
    with pytest.raises(CheckpointError, match="is of position 10, not of this checkpoint"):
        trained(tmp_path, 6, resume=True)
    averages_file = checkpoint / "averages.safetensors"
    averages_file.write_bytes(averages_file.read_bytes()[:-1000])
    with pytest.raises(
        CheckpointError, match=r"averages.safetensors: cannot be read .*; go on from an earlier"
    ):
        trained(tmp_path, 6, resume=True)
    (checkpoint / "optimizer.pt").unlink()
    with pytest.raises(
        CheckpointError, match=r"no optimizer state to go on with\. Set save_only_model=False"
    ):
        trained(tmp_path, 6, resume=True)


def test_the_best_models_averages_come_with_it(tmp_path):
    trainer = trained(
        tmp_path,
        6,
        learning_rate=3.0,
        schedule=Constant(),
        eval_dataset=DATA,
        eval_strategy="steps",
        eval_steps=1,
        save_steps=1,
        metric_for_best_model="ema-25_loss",
        load_best_model_at_end=True,
    )
    by_step = logged(trainer, "eval_ema-25_loss")
    best = min(by_step, key=by_step.get)
    assert best < 6
    assert_same(weights(trainer.model), trainer.watch.raw[best])
    assert trainer.evaluate()["eval_ema-25_loss"] == by_step[best]


# A model directory


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_an_average_is_a_model_directory(tmp_path, dtype):
    trainer = new_trainer(tmp_path, 4)
    trainer.model.to(dtype)
    trainer.train()
    before = weights(trainer.model)
    trainer.save_average("ema-25", tmp_path / "ema")
    assert_same(weights(trainer.model), before)
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path / "ema")
    assert loaded.dtype == dtype
    assert_same(weights(loaded), {key: value.to(dtype) for key, value in averages(trainer)["ema-25"].items()})
    assert all(value.dtype == torch.float32 for value in averages(trainer)["ema-25"].values())
    with pytest.raises(CheckpointError, match="exists already"):
        trainer.save_average("ema-25", tmp_path / "ema")
    with pytest.raises(
        ValueError, match="average: got 'ema-52'; must be one of ema-25, uniform; did you mean"
    ):
        trainer.save_average("ema-52", tmp_path / "other")
    assert not (tmp_path / "other").exists()


def test_there_is_no_average_before_training(tmp_path):
    with pytest.raises(ValueError, match=r"averages: there are none before train\(\)"):
        new_trainer(tmp_path, 4).save_average("ema-25", tmp_path / "ema")


# Branches


def branch(folder, checkpoint, decay=6, resume=None, **changed):
    trainer = new_trainer(folder, -1, **changed)
    trainer.branch_from(checkpoint, decay, floor=0.2)
    trainer.train(resume)
    return trainer


def test_a_branch_goes_on_with_all_of_the_trunk_but_its_lr(trunk, tmp_path):
    folder, whole = trunk
    before = contents(folder)
    trainer = branch(tmp_path, folder / "checkpoint-10")
    decayed = SCHEDULE.decay(at=10, steps=6, floor=0.2)
    assert trainer.watch.rates == {s: [PEAK * decayed(s)] * 2 for s in range(11, 17)}
    assert trainer.watch.rates[16][0] == pytest.approx(PEAK * SCHEDULE(10) * 0.2)
    assert trainer.state.global_step == trainer.state.max_steps == 16
    assert trainer.watch.seen == whole.watch.seen[10:16]
    assert contents(folder) == before
    assert (tmp_path / "checkpoint-16").is_dir()
    # What a branch of no decay at all would do: exactly the trunk.
    same = new_trainer(tmp_path / "same", 14)
    same.train(folder / "checkpoint-10")
    assert_same(same.watch.raw[14], whole.watch.raw[14])
    uniform = Track(list(whole.watch.raw[1].values()), Uniform())
    for step, values in ({s: whole.watch.raw[s] for s in range(1, 11)} | trainer.watch.raw).items():
        uniform.update(list(values.values()), step)
    assert_same(list(averages(trainer)["uniform"].values()), uniform.value())


def test_an_interrupted_branch_goes_on_in_its_own_directory(trunk, tmp_path):
    folder, _ = trunk

    class Stops(TrainerCallback):
        def on_step_end(self, args, state, control, **more):
            control.should_training_stop = state.global_step == 13

    whole = branch(tmp_path / "a", folder / "checkpoint-10", save_steps=1)
    part = branch(
        tmp_path / "b", folder / "checkpoint-10", resume=True, save_steps=1, callbacks=[Watch(), Stops()]
    )
    assert part.state.global_step == 13
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        resumed = branch(tmp_path / "b", folder / "checkpoint-10", resume=True, save_steps=1)
    assert set(resumed.watch.rates) == {14, 15, 16}
    assert_same_run(resumed, whole)
    with pytest.warns(UserWarning, match="was reached with the schedule .*decayed"):  # branch_from forgotten
        trained(tmp_path / "b", 17, resume=True)


def test_the_best_of_the_trunk_is_not_the_branchs(trunk, tmp_path):
    folder, _ = trunk
    shutil.copytree(folder / "checkpoint-10", tmp_path / "trunk/checkpoint-10")
    state = tmp_path / "trunk/checkpoint-10/trainer_state.json"
    best = {"best_metric": 0.0, "best_global_step": 5, "best_model_checkpoint": str(tmp_path / "trunk")}
    state.write_text(json.dumps(json.loads(state.read_text()) | best))
    trainer = branch(
        tmp_path / "branch",
        tmp_path / "trunk/checkpoint-10",
        eval_dataset=HELDOUT,
        eval_strategy="steps",
        eval_steps=3,
        save_steps=3,
        load_best_model_at_end=True,
        metric_for_best_model="loss",
    )
    assert trainer.state.best_global_step in (12, 15, 16)
    assert trainer.state.best_model_checkpoint.startswith(str(tmp_path / "branch"))


def test_a_branch_that_cannot_be_is_refused(trunk, tmp_path):
    folder, _ = trunk
    trainer = new_trainer(folder, 20)
    with pytest.raises(SettingError, match=r"output_dir: got .*the trunk's own; must be another directory"):
        trainer.branch_from(folder / "checkpoint-10", 5)
    trainer = new_trainer(tmp_path, 20)
    args = trainer.args
    with pytest.raises(CheckpointError, match="no complete checkpoint"):
        trainer.branch_from(folder / "checkpoint-11", 5)
    with pytest.raises(SettingError, match="decay: got 0; must be a number of updates, at least 1"):
        trainer.branch_from(folder / "checkpoint-10", 0)
    with pytest.raises(ValueError, match="shape"):
        trainer.branch_from(folder / "checkpoint-10", 5, shape="straight")
    assert (trainer.schedule, trainer.args) == (SCHEDULE, args)
    trainer.branch_from(folder / "checkpoint-10", 5)
    assert args.max_steps == 20
    with pytest.raises(SettingError, match=r"is a branch of .*checkpoint-10 already"):
        trainer.branch_from(folder / "checkpoint-10", 5)


def test_the_mixin_goes_in_front_of_any_trainer(tmp_path):
    class Louder(Trainer):
        def evaluate(self, *arguments, **settings):
            return {f"{key}!": value for key, value in super().evaluate(*arguments, **settings).items()}

    class Both(AnytimeMixin, Louder):
        pass

    trainer = trained(tmp_path, 2, kind=Both)
    assert {"eval_loss!", "eval_ema-25_loss!"} <= trainer.evaluate(HELDOUT).keys()


def test_the_page_of_the_docs(run_snippets, tmp_path):
    transformers.set_seed(0)
    known = run_snippets(
        "integrations/transformers.md",
        model=LlamaForCausalLM(CONFIG),
        train_dataset=DATA,
        eval_dataset=HELDOUT,
    )
    assert known["trainer"].state.global_step == 60
    assert known["branch"].state.global_step == 48
    assert AutoModelForCausalLM.from_pretrained(tmp_path / "runs/trunk/ema-25").dtype == torch.float32
    metrics = known["predictions"].metrics, known["metrics"]
    assert metrics[0]["test_loss"] == metrics[1]["eval_ema-25_loss"]
    assert isinstance(known["MyTrainer"], type)
