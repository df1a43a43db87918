"""The promises of a trunk, on a real small model and real text: bit for bit, or not at all."""

import math
import shutil
from dataclasses import replace

import pytest
import torch

from riverrun.errors import CheckpointError
from riverrun.runs import RunError, Tree
from riverrun.runs.metrics import read_records
from riverrun.train import Quiet, build_plan, open_session, readouts, train
from riverrun.train.engine import Engine
from riverrun.train.loop import backward
from riverrun.train.optimizer import apply_hyperparameters
from riverrun.train.restore import restore_readout
from riverrun.train.session import new_state

CPU = Engine(torch.device("cpu"), "fp32", compile=False)

RECIPES = {
    "adamw": (),
    "muon": ("optimizer.name=muon",),
    "accumulating": ("batch.microbatch=3",),
    "gaps": ("averaging.every=3", 'averaging.tracks=["half-life:12.5", "uniform:from=7", "ema:0.9"]'),
    "ramp": ('batch.ramps=[{at = "12 steps", sequences = 6}, {at = "25 steps", sequences = 9}]',),
    "olmo": ("model.family=olmo", "model.tied=false"),
    "bf16": ("engine.precision=bf16",),
    "decaying weight decay": (
        'optimizer.weight_decay_schedule={kind = "inverse-sqrt", offset = "10 steps"}',
    ),
}


@pytest.mark.parametrize("overrides", RECIPES.values(), ids=RECIPES.keys())
def test_extending_never_changes_the_past(overrides, tiny_recipe, run_bits, tmp_path):
    recipe = tiny_recipe(*overrides)
    train(recipe, tmp_path / "once", "40 steps")
    for until in ("1 step", "17 steps", "18 steps", "40 steps"):
        train(recipe, tmp_path / "extended", until)
    assert run_bits(tmp_path / "once", 40) == run_bits(tmp_path / "extended", 40)


def test_resuming_is_exact_at_every_position(tiny_recipe, run_bits, tmp_path):
    recipe = tiny_recipe("batch.microbatch=3")
    for step in range(1, 21):
        train(recipe, tmp_path / "stepwise", f"{step} steps")
    train(recipe, tmp_path / "once", "20 steps")
    assert run_bits(tmp_path / "once", 20) == run_bits(tmp_path / "stepwise", 20)


def test_going_on_after_a_loss_of_later_checkpoints_replays_them(tiny_recipe, run_bits, tmp_path):
    recipe = tiny_recipe("checkpoints.keep=9")
    train(recipe, tmp_path / "run", "30 steps")
    before = run_bits(tmp_path / "run", 30)
    for step in (26, 30):
        shutil.rmtree(tmp_path / f"run/trunk/checkpoints/{step:08d}")
    train(recipe, tmp_path / "run", "30 steps")
    assert run_bits(tmp_path / "run", 30) == before


def test_a_damaged_checkpoint_is_passed_over_for_the_one_before(tiny_recipe, run_bits, tmp_path):
    recipe = tiny_recipe("checkpoints.keep=9")
    train(recipe, tmp_path / "run", "30 steps")
    before = run_bits(tmp_path / "run", 30)
    file = next((tmp_path / "run/trunk/checkpoints/00000030").glob("*.safetensors"))
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 4
    file.write_bytes(content)
    notes = Notes()
    outcome = train(recipe, tmp_path / "run", "30 steps", progress=notes)
    assert outcome.step == 30
    assert any("does not match its sha256" in text for text in notes.texts)
    assert run_bits(tmp_path / "run", 30) == before


def test_a_damaged_newest_checkpoint_does_not_cost_the_good_ones(tiny_recipe, tmp_path):
    recipe = tiny_recipe("checkpoints.every=5 steps", "checkpoints.first=99x", "checkpoints.keep=1")
    train(recipe, tmp_path / "run", "20 steps")
    node = Tree.open(tmp_path / "run").trunk
    train(recipe, tmp_path / "copy", "15 steps")
    shutil.copytree(tmp_path / "copy/trunk/checkpoints/00000015", tmp_path / "run/trunk/checkpoints/00000015")
    next((node.checkpoint_folder / "00000020").glob("*.safetensors")).write_bytes(b"torn")
    train(recipe, tmp_path / "run", "17 steps")
    assert train(recipe, tmp_path / "run", "18 steps").step == 18
    assert [c.step for c in node.checkpoints()] == [18, 20]


def test_another_grid_of_fork_points_is_refused_and_another_interval_is_not(tiny_recipe, tmp_path):
    train(tiny_recipe(), tmp_path / "run", "40 steps")
    before = [c.step for c in Tree(tmp_path / "run").trunk.checkpoints()]
    with pytest.raises(RunError, match=r"checkpoints\.ratio was 1\.5, is 3\.0"):
        train(tiny_recipe("checkpoints.ratio=3.0"), tmp_path / "run", "41 steps")
    train(tiny_recipe("checkpoints.every=7 steps"), tmp_path / "run", "41 steps")
    assert {10, 15, 23, 34} <= {c.step for c in Tree(tmp_path / "run").trunk.checkpoints()} & {*before}


def test_an_average_that_holds_nothing_yet_is_no_model(tiny_recipe, tmp_path):
    outcome = train(tiny_recipe("averaging.every=50"), tmp_path / "run", "13 steps")
    with pytest.raises(CheckpointError, match="ema-25 holds nothing yet"):
        restore_readout(outcome.node, "ema-25")
    assert restore_readout(outcome.node, "best").name == "raw"


def test_a_checkpoint_of_other_data_is_refused(tiny_recipe, tmp_path):
    for seed in (1, 2):
        train(tiny_recipe(f"seed={seed}"), tmp_path / str(seed), "5 steps")
    shutil.rmtree(tmp_path / "1/trunk/checkpoints")
    shutil.copytree(tmp_path / "2/trunk/checkpoints", tmp_path / "1/trunk/checkpoints")
    with pytest.raises(CheckpointError, match="other data"):
        train(tiny_recipe("seed=1"), tmp_path / "1", "6 steps")


class Notes(Quiet):
    def __init__(self):
        self.texts = []

    def note(self, text):
        self.texts.append(text)


def test_stopping_is_not_scheduling(tiny_recipe, tmp_path):
    """The hyperparameters of a step do not know where the run stops."""
    recipe = tiny_recipe("metrics.every=1")
    for until in (12, 24):
        train(recipe, tmp_path / str(until), f"{until} steps")
    short, long = (read_records(tmp_path / f"{n}/trunk/metrics.jsonl") for n in (12, 24))
    assert len(short) == 12
    assert short == long[:12]


@pytest.mark.parametrize(
    "schedule",
    [
        {"kind": "constant"},
        {"kind": "cosine", "total": "60 steps"},
        {"kind": "decayed", "base": {"kind": "constant"}, "at": "20 steps", "steps": "10 steps"},
    ],
    ids=lambda schedule: schedule["kind"],
)
def test_a_checkpoint_under_another_schedule_uses_that_schedule_at_once(schedule, tiny_recipe, tmp_path):
    """The position is the only schedule state: nothing in a checkpoint brings the old LR back."""
    recipe = tiny_recipe()
    outcome = train(recipe, tmp_path / "trunk", "20 steps")
    plan = build_plan(replace(recipe, schedule=schedule), vocabulary=257)
    state = new_state(plan, CPU)
    state.restore(outcome.node.latest_checkpoint(print))
    apply_hyperparameters(state.optimizers, plan, state.step + 1)
    lrs = {group["lr"] for optimizer in state.optimizers for group in optimizer.param_groups}
    assert lrs == {1e-2 * plan.schedule(21)}
    assert lrs != {outcome.plan.lr(20)}
    assert lrs != {outcome.plan.lr(21)}


def test_each_readout_has_a_key_of_its_own_and_the_raw_weights_survive(tiny_recipe, tmp_path):
    outcome = train(tiny_recipe(), tmp_path / "run", "16 steps")
    records = [r for r in read_records(outcome.node.metrics_path) if "loss/raw" in r]
    assert [r["step"] for r in records] == [8, 16]
    assert all({"loss/raw", "loss/ema-25", "loss/ema-6.25", "bpb/ema-25"} <= r.keys() for r in records)
    assert len({records[-1][f"loss/{name}"] for name in ("raw", "ema-25", "ema-6.25")}) == 3
    # The corpus is bytes, so bits per byte are nats per token over ln 2, but for the ends of documents.
    assert records[-1]["bpb/raw"] == pytest.approx(records[-1]["loss/raw"] / math.log(2), rel=1e-2)


def test_raw_weights_are_live_again_also_when_an_evaluation_raises(tiny_recipe, tmp_path, monkeypatch):
    train(tiny_recipe(), tmp_path / "run", "5 steps")
    node = Tree(tmp_path / "run").trunk
    session = open_session(tiny_recipe(), node, print)
    before = [parameter.detach().clone() for parameter in session.state.model.parameters()]
    calls = []

    def fails_on_the_second(*arguments):
        calls.append(arguments)
        if len(calls) == 2:
            raise RuntimeError("out of memory")
        return 1.0

    monkeypatch.setattr(readouts, "evaluate", fails_on_the_second)
    with pytest.raises(RuntimeError, match="out of memory"):
        readouts.evaluate_all(session.state, session.windows, session.engine)
    assert all(torch.equal(a, b) for a, b in zip(before, session.state.model.parameters(), strict=True))


def test_fork_points_survive_and_the_latest_is_there(tiny_recipe, tmp_path):
    outcome = train(tiny_recipe(), tmp_path / "run", "40 steps")
    # Fork points from 10 steps at a ratio of 1.5: 10, 15, 22.5, 33.75; then the latest.
    assert [c.step for c in outcome.node.checkpoints()] == [10, 15, 23, 34, 39, 40]


def test_microbatches_give_the_gradient_of_the_whole_batch(tiny_recipe, tmp_path):
    gradients = []
    for name, overrides in {"whole": (), "parts": ("batch.microbatch=3",)}.items():
        recipe = tiny_recipe("optimizer.clip=0", "engine.precision=fp32", *overrides)
        session = open_session(recipe, empty_node(tmp_path / name), print)
        loss, norm = backward(session, session.stream.batch(1))
        gradients.append(torch.cat([p.grad.flatten() for p in session.state.parameters]))
        assert norm == pytest.approx(gradients[-1].norm().item(), rel=1e-5)
        assert loss == pytest.approx(math.log(257), rel=0.2)
    torch.testing.assert_close(*gradients, rtol=1e-4, atol=1e-7)


def empty_node(folder):
    node = Tree(folder).trunk
    node.path.mkdir(parents=True)
    return node


def test_norms_are_not_decayed(tiny_recipe):
    for name in ("adamw", "muon"):
        plan = build_plan(tiny_recipe(f"optimizer.name={name}", "optimizer.weight_decay=0.3"), vocabulary=257)
        state = new_state(plan, CPU)
        apply_hyperparameters(state.optimizers, plan, 1)
        norms = {id(p) for n, p in state.model.named_parameters() if "norm" in n}
        for optimizer in state.optimizers:
            for group in optimizer.param_groups:
                decays = {group["weight_decay"] for p in group["params"] if id(p) not in norms}
                assert decays <= {0.3}
                assert not [p for p in group["params"] if id(p) in norms] or group["weight_decay"] == 0.0


def test_muon_takes_the_hidden_matrices_and_adamw_the_rest(tiny_recipe):
    plan = build_plan(tiny_recipe("optimizer.name=muon"), vocabulary=257)
    state = new_state(plan, CPU)
    names = {id(parameter): name for name, parameter in state.model.named_parameters()}
    adamw, muon = ({names[id(p)] for g in o.param_groups for p in g["params"]} for o in state.optimizers)
    assert muon == {name for name in names.values() if "blocks" in name and "norm" not in name}
    assert adamw == set(names.values()) - muon
