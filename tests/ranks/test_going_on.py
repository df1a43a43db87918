"""A run goes on from its checkpoints on any number of ranks, and on the same number bit for bit."""

import signal

import pytest
import torch
from rank_processes import train_as_rank

from riverrun.runs import Tree
from riverrun.runs.metrics import read_records
from riverrun.train import train
from riverrun.train.averages import averages
from riverrun.train.branch import plan_branch, train_branch
from riverrun.train.restore import open_recorded, restore_readout, shapes_of


def close(one, other, tolerance=1e-6):
    torch.testing.assert_close(one, other, rtol=0, atol=tolerance)


@pytest.mark.parametrize(
    ("parallel", "background"),
    [
        ("ddp", "off"),
        ("fsdp", "on"),
        pytest.param("ddp", "on", marks=pytest.mark.slow),
        pytest.param("fsdp", "off", marks=pytest.mark.slow),
    ],
)
def test_a_stop_between_changes_nothing(parallel, background, tiny_recipe, train_on, run_bits, tmp_path):
    recipe = tiny_recipe(f"engine.parallel={parallel}", f"checkpoints.background={background}")
    train_on(recipe, tmp_path / "once", "14 steps")
    for until in ("5 steps", "14 steps"):
        train_on(recipe, tmp_path / "twice", until)
    assert run_bits(tmp_path / "twice", 14) == run_bits(tmp_path / "once", 14)


def test_saving_in_the_background_saves_the_same(tiny_recipe, train_on, run_bits, tmp_path):
    """At every position, while training goes on and changes what is being saved."""
    for how in ("on", "off"):
        recipe = tiny_recipe("checkpoints.every=1 step", f"checkpoints.background={how}")
        train_on(recipe, tmp_path / how, "6 steps")
    for step in range(1, 7):
        assert run_bits(tmp_path / "on", step) == run_bits(tmp_path / "off", step)


def test_on_another_number_of_ranks_it_goes_on_but_for_rounding(
    tiny_recipe, train_on, losses, tensors, tmp_path
):
    recipe = tiny_recipe()
    train_on(recipe, tmp_path / "changing", "8 steps")
    train(recipe, tmp_path / "changing", "12 steps")
    train_on(recipe, tmp_path / "changing", "16 steps", size=3)
    train_on(recipe, tmp_path / "changing", "20 steps")
    train(recipe, tmp_path / "one", "20 steps")
    assert losses(tmp_path / "changing") == pytest.approx(losses(tmp_path / "one"), rel=1e-6)
    node = {name: Tree.open(tmp_path / name).trunk for name in ("changing", "one")}
    saved = {name: found.latest_checkpoint(pytest.fail) for name, found in node.items()}
    assert saved["changing"].manifest["history"] == saved["one"].manifest["history"]
    changing, one = (tensors(tmp_path / name, 20) for name in ("changing", "one"))
    assert changing.keys() == one.keys()
    assert any(name.startswith("history/") for name in one)
    for name, tensor in one.items():
        close(changing[name], tensor, 1e-5)


def test_what_two_ranks_saved_one_process_branches_averages_and_reads_out(tiny_recipe, train_on, tmp_path):
    recipe = tiny_recipe()
    train_on(recipe, tmp_path / "two", "20 steps")
    train(recipe, tmp_path / "one", "20 steps")
    made = {}
    for name in ("two", "one"):
        tree = Tree.open(tmp_path / name)
        outcome = train_branch(plan_branch(tree, at=16))
        shapes = shapes_of(open_recorded(tree.trunk)[2])
        profile = outcome.plan.recipe.averaging.tracks[0]
        readouts = [restore_readout(tree.trunk, which, 20) for which in ("raw", "ema-25", "tail:0.5")]
        readouts.append(restore_readout(outcome.node))
        [tail] = averages(tree.trunk, [parse(profile), parse("tail:0.5")][1:], 20, shapes)
        weights = [*tail.weights.values(), *(w for r in readouts for w in r.model.state_dict().values())]
        losses = [record["loss/train"] for record in read_records(outcome.node.metrics_path)]
        made[name] = [*weights, torch.tensor(losses)]
    assert len(made["one"]) == len(made["two"])
    for one, two in zip(made["one"], made["two"], strict=True):
        close(one, two, 2e-5)


def parse(spec):
    from riverrun.averaging import parse_profile

    return parse_profile(spec)


def branch_as_rank(run):
    outcome = train_branch(plan_branch(Tree.open(run), at=16))
    return outcome.step, outcome.exit_code


def test_two_ranks_branch_as_one_process_does(tiny_recipe, train_on, start, tmp_path):
    train_on(tiny_recipe(), tmp_path / "run", "16 steps")
    (step, code), _ = start(branch_as_rank, tmp_path / "run").results()
    [branch] = [node for node in Tree.open(tmp_path / "run").nodes() if node.id != "trunk"]
    two = [record["loss/train"] for record in read_records(branch.metrics_path)]
    outcome = train_branch(plan_branch(Tree.open(tmp_path / "run"), at=16, name="again"))
    one = [record["loss/train"] for record in read_records(outcome.node.metrics_path)]
    assert (step, code) == (outcome.step, 0)
    close(torch.tensor(two), torch.tensor(one), 1e-5)


@pytest.mark.parametrize(("which", "code"), [(signal.SIGTERM, 143), (signal.SIGUSR1, 138)])
def test_a_signal_to_one_rank_ends_all_at_the_same_step(
    which, code, tiny_recipe, start, train_on, run_bits, tmp_path
):
    recipe, run = tiny_recipe(), tmp_path / "run"
    world = start(train_as_rank, recipe.to_dict(), run, "100000 steps")
    world.wait(lambda: len(read_records(run / "trunk/metrics.jsonl")) >= 5)
    world.signal(1, which)
    (left, found), other = world.results()
    assert (left, found) == other
    assert found == code
    assert Tree.open(run).trunk.checkpoints()[-1].step == left
    train_on(recipe, run, f"{left + 3} steps")
    train_on(recipe, tmp_path / "once", f"{left + 3} steps")
    assert run_bits(run, left + 3) == run_bits(tmp_path / "once", left + 3)
