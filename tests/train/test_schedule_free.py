"""Schedule-Free AdamW in a trunk: the package's trajectory, bit for bit, without its switches between modes."""

import copy
import sys
from itertools import accumulate

import pytest
import torch

from riverrun.errors import CheckpointError, SettingError
from riverrun.models import parameter_kind
from riverrun.models.hugging_face import load_pretrained
from riverrun.runs import Tree
from riverrun.runs.metrics import read_records
from riverrun.train import build_plan, loop, open_session, train
from riverrun.train.engine import Engine
from riverrun.train.loop import backward
from riverrun.train.memory import memory_of
from riverrun.train.optimizer import apply_hyperparameters
from riverrun.train.readouts import evaluate
from riverrun.train.restore import restore_readout
from riverrun.train.session import new_state

schedulefree = pytest.importorskip("schedulefree")

NAME = "optimizer.name=schedule-free-adamw"
CPU = Engine(torch.device("cpu"), "fp32", compile=False)
COUNTERS = ("k", "weight_sum", "lr_max")


def open_empty(recipe, folder):
    node = Tree(folder).trunk
    node.path.mkdir(parents=True)
    return open_session(recipe, node, print)


def same_bits(these, those):
    return all(torch.equal(a, b) for a, b in zip(these, those, strict=True))


def average(state):
    return dict(state.weights())["schedule-free"]


def test_a_run_is_the_package_used_by_hand_with_its_own_warmup_and_modes(tiny_recipe, tmp_path):
    recipe = tiny_recipe(NAME, 'schedule={kind = "constant", warmup = "7 steps"}')
    session = open_empty(recipe, tmp_path / "run")
    state, plan = session.state, session.plan
    model = copy.deepcopy(state.model)
    matrices = [p for name, p in model.named_parameters() if parameter_kind(name) != "norm"]
    norms = [p for name, p in model.named_parameters() if parameter_kind(name) == "norm"]
    by_hand = schedulefree.AdamWScheduleFree(
        [{"params": matrices}, {"params": norms, "weight_decay": 0.0}],
        lr=plan.recipe.optimizer.peak_lr,
        betas=(0.9, 0.95),
        weight_decay=0.1,
        warmup_steps=7,
    )
    by_hand.train()
    for step in range(1, 21):
        backward(session, session.stream.batch(step))
        for ours, theirs in zip(state.model.parameters(), model.parameters(), strict=True):
            theirs.grad = ours.grad.clone()
        apply_hyperparameters(state.optimizers, plan, step)
        state.optimizers[0].step()
        by_hand.step()
        state.model.zero_grad()
        assert same_bits(state.parameters, model.parameters())
        for name in (*COUNTERS, "scheduled_lr"):
            assert state.optimizers[0].param_groups[0][name] == by_hand.param_groups[1][name]
    assert by_hand.param_groups[0]["lr_max"] == recipe.optimizer.peak_lr
    x = average(state)
    by_hand.eval()
    assert same_bits(x, model.parameters())
    assert not same_bits(x, state.parameters)


def test_x_is_the_weighted_mean_of_the_iterates(tiny_recipe, tmp_path):
    """The definition, written out: x averages z with the weights lr_max squared."""
    session = open_empty(tiny_recipe(NAME), tmp_path / "run")
    state, plan = session.state, session.plan
    total, weights = [torch.zeros_like(p, dtype=torch.float64) for p in state.parameters], 0.0
    for step in range(1, 16):
        backward(session, session.stream.batch(step))
        apply_hyperparameters(state.optimizers, plan, step)
        state.optimizers[0].step()
        weight = max(plan.lr(s) for s in range(1, step + 1)) ** 2
        for mean, parameter in zip(total, state.parameters, strict=True):
            mean += weight * state.optimizers[0].state[parameter]["z"].double()
        weights += weight
    for x, mean in zip(average(state), total, strict=True):
        torch.testing.assert_close(x.double(), mean / weights, rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    "overrides",
    [
        (),
        ("engine.precision=bf16", "batch.microbatch=3"),
        ('optimizer.weight_decay_schedule={kind = "inverse-sqrt", offset = "10 steps"}',),
        ('schedule={kind = "cosine", warmup = "5 steps", total = "30 steps"}',),
    ],
    ids=["plain", "bf16", "decaying weight decay", "cosine"],
)
def test_extending_never_changes_the_past(overrides, tiny_recipe, run_bits, tmp_path):
    recipe = tiny_recipe(NAME, *overrides)
    train(recipe, tmp_path / "once", "40 steps")
    for until in ("1 step", "17 steps", "18 steps", "40 steps"):
        train(recipe, tmp_path / "extended", until)
    assert run_bits(tmp_path / "once", 40) == run_bits(tmp_path / "extended", 40)


def test_resuming_is_exact_at_every_position(tiny_recipe, run_bits, tmp_path):
    recipe = tiny_recipe(NAME)
    for step in range(1, 21):
        train(recipe, tmp_path / "stepwise", f"{step} steps")
    train(recipe, tmp_path / "once", "20 steps")
    assert run_bits(tmp_path / "once", 20) == run_bits(tmp_path / "stepwise", 20)


def test_a_checkpoint_brings_every_counter_back(tiny_recipe, tmp_path):
    recipe = tiny_recipe(NAME)
    outcome = train(recipe, tmp_path / "run", "12 steps")
    state = new_state(build_plan(recipe, vocabulary=257), CPU)
    state.restore(outcome.node.latest_checkpoint(print))
    lrs = [outcome.plan.lr(s) for s in range(1, 13)]
    *_, weight_sum = accumulate(max(lrs[:s]) ** 2 for s in range(1, 13))
    for group in state.optimizers[0].param_groups:
        assert {name: group[name] for name in COUNTERS} == {
            "k": 12,
            "weight_sum": weight_sum,
            "lr_max": max(lrs),
        }
        assert type(group["k"]) is int


def test_state_is_complete_before_the_first_update(tiny_recipe):
    state = new_state(build_plan(tiny_recipe(NAME), vocabulary=257), CPU)
    before = state.tensors()
    for parameter in state.parameters:
        parameter.grad = torch.ones_like(parameter)
    state.optimizers[0].step()
    after = state.tensors()
    assert before.keys() == after.keys()
    assert {f"optimizer.schedule-free.{name}" for name in COUNTERS} <= before.keys()
    assert all(before[name].shape == after[name].shape for name in before)


def test_memory_is_counted_as_it_is(tiny_recipe):
    plan = build_plan(tiny_recipe(NAME), vocabulary=257)
    tensors = new_state(plan, CPU).tensors()
    held = {n: t.nbytes for n, t in tensors.items() if n.startswith("optimizer.") and t.ndim}
    assert memory_of(plan).optimizer == sum(held.values())


def test_each_readout_has_its_key_and_is_what_a_checkpoint_gives(tiny_recipe, tmp_path):
    recipe = tiny_recipe(NAME)
    outcome = train(recipe, tmp_path / "run", "16 steps")
    records = [r for r in read_records(outcome.node.metrics_path) if "loss/raw" in r]
    assert [r["step"] for r in records] == [8, 16]
    names = ("raw", "schedule-free", "ema-25", "ema-6.25")
    session = open_session(recipe, outcome.node, print)
    assert len({records[-1][f"loss/{name}"] for name in names}) == 4
    for name in names:
        model = restore_readout(outcome.node, name).model
        assert evaluate(model, session.windows.report, session.engine) == records[-1][f"loss/{name}"]
    assert same_bits(
        restore_readout(outcome.node, "schedule-free").model.parameters(), average(session.state)
    )


def test_reading_out_changes_nothing(tiny_recipe, run_bits, tmp_path):
    for name, overrides in {"often": ("readouts.ratio=1.1",), "never": ("readouts.first=999 steps",)}.items():
        train(tiny_recipe(NAME, *overrides), tmp_path / name, "20 steps")
    often, never = (run_bits(tmp_path / name, 20)[0] for name in ("often", "never"))
    assert often == never


def test_a_skipped_update_changes_neither_weights_nor_counters(tiny_recipe, run_bits, tmp_path, monkeypatch):
    def poisoned(session, batch):
        loss, norm = backward(session, batch)
        return (float("nan"), norm) if session.state.step + 1 == 13 else (loss, norm)

    monkeypatch.setattr(loop, "backward", poisoned)
    recipe = tiny_recipe(NAME, "optimizer.on_nonfinite=skip")
    train(recipe, tmp_path / "run", "12 steps")
    before = run_bits(tmp_path / "run", 12)[0]
    train(recipe, tmp_path / "run", "13 steps")
    after = run_bits(tmp_path / "run", 13)[0]
    assert {name.split(".")[0] for name in before if before[name] != after[name]} == {"track"}
    train(recipe, tmp_path / "run", "20 steps")
    assert (
        open_session(recipe, Tree(tmp_path / "run").trunk, print).state.tensors()["optimizer.schedule-free.k"]
        == 19
    )


def test_export_writes_x(tiny_recipe, tmp_path):
    from riverrun.cli import main

    outcome = train(tiny_recipe(NAME), tmp_path / "run", "16 steps")
    arguments = ["export", str(tmp_path / "run"), "--readout", "schedule-free", "--out", str(tmp_path / "x")]
    assert main(arguments) == 0
    exported = load_pretrained(tmp_path / "x")[1].state_dict()
    x = restore_readout(outcome.node, "schedule-free").model.state_dict()
    assert exported.keys() == x.keys()
    assert all(torch.equal(exported[name], x[name]) for name in x)


def test_norms_are_not_decayed(tiny_recipe):
    plan = build_plan(tiny_recipe(NAME, "optimizer.weight_decay=0.3"), vocabulary=257)
    state = new_state(plan, CPU)
    apply_hyperparameters(state.optimizers, plan, 1)
    norms = {id(p) for name, p in state.model.named_parameters() if "norm" in name}
    decays = {
        id(p): group["weight_decay"] for group in state.optimizers[0].param_groups for p in group["params"]
    }
    assert len(decays) == len(state.parameters)
    assert all(decay == (0.0 if p in norms else 0.3) for p, decay in decays.items())


def test_other_optimizers_have_no_such_readout(tiny_recipe, tmp_path):
    outcome = train(tiny_recipe(), tmp_path / "run", "5 steps")
    with pytest.raises(CheckpointError, match=r"readout 'schedule-free'; there are raw, ema-25, ema-6\.25"):
        restore_readout(outcome.node, "schedule-free")


def test_a_missing_package_is_named_with_its_extra(tiny_recipe, monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "schedulefree", None)
    with pytest.raises(SettingError, match=r"schedulefree; pip install 'riverrun\[schedule-free\]'"):
        train(tiny_recipe(NAME), tmp_path / "run", "5 steps")
    assert not Tree(tmp_path / "run").trunk.exists


def test_a_first_beta_of_zero_is_refused(tiny_recipe, tmp_path):
    with pytest.raises(SettingError, match=r"optimizer.betas: got \[0.0, 0.95\]; the first must be above 0"):
        train(tiny_recipe(NAME, "optimizer.betas=[0.0, 0.95]"), tmp_path / "run", "5 steps")
