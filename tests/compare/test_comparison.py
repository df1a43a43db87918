"""Comparisons of real runs: the same results however they come about, and what fails is told."""

import math
import shutil
from collections import Counter
from concurrent.futures import Future
from concurrent.futures.process import BrokenProcessPool
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from riverrun.compare import execution
from riverrun.compare.comparison import compare, expected_tokens, sweep_models
from riverrun.compare.cost import cost_of
from riverrun.compare.measured import Facts, measure
from riverrun.compare.report import write_report
from riverrun.compare.runs import runs_for, way
from riverrun.compare.work import is_done
from riverrun.runs import Tree, find_checkpoint
from riverrun.runs.metrics import append_record, read_records
from riverrun.train import load_recipe, train

FEW = ('budgets=["20 steps","40 steps"]', "seeds=[0]", 'sweep={"optimizer.peak_lr"=[0.01]}')


def silent(run, what):
    pass


def keep(plan_table, *arms):
    """Leave the plan these arms alone."""
    plan_table["arms"] = {name: plan_table["arms"][name] for name in arms}


def facts(design):
    return Facts(
        name="few",
        budgets=tuple(map(str, design.plan.budgets)),
        tolerance=0.03,
        tuning_seeds=design.plan.tuned_on,
    )


def test_every_arm_gives_what_its_own_run_alone_gives(design, here, tmp_path):
    """The result of a shared tree is, bit for bit, that of a run trained from its start with the whole schedule."""
    compared = compare(wanted := design(*FEW), tmp_path, here(tmp_path), silent)
    assert not compared.failures
    found = {(r.method, r.budget): r for r in compared.results}
    assert all(math.isfinite(r.loss) and math.isfinite(r.select) for r in compared.results)
    whole = {
        "wsds": {"kind": "wsds", "budgets": ["20 steps", "40 steps"], "floor": 0.0},
        "wsd": {"kind": "wsd", "budget": "40 steps", "floor": 0.0},
        "cosine": {"kind": "cosine", "total": "42 steps", "floor": 0.0},
        "cyclic": {
            "kind": "cyclic-cosine",
            "budgets": ["20 steps", "42 steps"],
            "rewarmup": "3 steps",
            "floor": 0.0,
        },
    }
    for arm, schedule in whole.items():
        (model, *_) = wanted.models(arm, wanted.plan.points(arm)[0], 0)
        recipe = replace(model.legs[0].recipe, schedule={**schedule, "warmup": "4 steps"})
        end = found[arm, "40 steps"].step
        outcome = train(recipe, tmp_path / "alone" / arm, f"{end} steps")
        record = outcome.node.readouts()[-1]
        assert record["step"] == end
        assert found[arm, "40 steps"].loss == record["loss/raw"]
        assert found[arm, "40 steps"].select == record["select/raw"] != record["loss/raw"]


def test_wsd_and_wsds_are_one_run_at_the_first_budget(design, here, tmp_path):
    compared = compare(design(*FEW), tmp_path, here(tmp_path), silent)
    first = {r.method: r for r in compared.results if r.budget == "20 steps"}
    assert first["wsd"].loss == first["wsds"].loss
    assert first["wsd"].curve == first["wsds"].curve
    assert first["wsd"].total_tokens == first["wsds"].total_tokens


def test_what_is_done_is_not_done_again_and_more_can_be_asked_for(design, here, tmp_path):
    few = design(*FEW, "seeds=[0]")
    first = here(tmp_path)
    before = compare(few, tmp_path, first, silent)
    again = here(tmp_path)
    assert compare(few, tmp_path, again, silent).results == before.results
    assert again.trained == []
    more = here(tmp_path)
    later = compare(design(*FEW, "seeds=[0,1]"), tmp_path, more, silent)
    assert set(more.trained).isdisjoint(first.trained)
    assert [r for r in later.results if r.seed == 0] == before.results


def test_all_arms_see_the_same_data_and_start_from_the_same_weights(design, here, tmp_path):
    compare(design(*FEW, "recipe.metrics.every=1"), tmp_path, here(tmp_path), silent)
    trunks = [Tree(path.parent).trunk for path in tmp_path.glob("*/trunk")]
    assert len(trunks) > 5
    assert len({trunk.facts["data"]["hash"] for trunk in trunks}) == 1
    # Before the first update nothing but weights and data matters.
    assert len({read_records(trunk.metrics_path)[0]["loss/train"] for trunk in trunks}) == 1


def test_the_chosen_point_alone_is_run_on_the_other_seeds(plan_table, design, here, tmp_path):
    keep(plan_table, "cosine", "seesaw", "wsds")
    wanted = design(FEW[0], "seeds=[0,1,2]", "tuning_seeds=[0]", 'sweep={"optimizer.peak_lr"=[0.01,0.02]}')
    compared = compare(wanted, tmp_path, here(tmp_path), silent)
    points = Counter((r.method, r.budget, r.seed) for r in compared.results)
    assert {count for (_, _, seed), count in points.items() if seed == 0} == {2}
    for method in ("cosine", "seesaw", "wsds"):
        assert {count for (name, _, seed), count in points.items() if name == method and seed} == {1}


def test_a_run_that_fails_is_tried_again_and_told(design, here, tmp_path):
    wanted, failed = design(*FEW), []

    def once(run):
        if run.tree.startswith("cosine") and run.key not in failed:
            failed.append(run.key)
            raise RuntimeError("a machine went away")

    told = []
    workers = here(tmp_path, once)
    compared = compare(wanted, tmp_path, workers, lambda run, what: told.append((run.key, what)))
    assert compared.failures == {}
    assert compared.retries == dict.fromkeys(failed, "a machine went away")
    assert all(
        ((key, "tried again: a machine went away") in told and (key, "done") in told) for key in failed
    )


def test_what_cannot_be_trained_is_told_its_branches_too_and_the_rest_goes_on(design, here, tmp_path):
    wanted = design(*FEW)

    def never(run):
        if run.tree.startswith("constant") and run.node == "trunk" and "schedule-free" not in str(run.recipe):
            raise OSError(28, "No space left on device")

    compared = compare(wanted, tmp_path, here(tmp_path, never), silent)
    reasons = Counter(why for why in compared.failures.values())
    assert reasons["[Errno 28] No space left on device"] == 1
    assert reasons["trunk, which it branches from, failed"] >= 3
    lost = {r.method for r in compared.results if math.isnan(r.loss)}
    assert {"constant", "wsd", "wsds"} <= lost
    assert not lost & {"cosine", "linear", "schedule-free"}
    write_report(tmp_path, measure(wanted.methods(), compared.results, facts(wanted)))
    assert "Runs without a finite loss: constant" in (tmp_path / "table.md").read_text()


def test_a_loss_that_is_no_number_is_a_result_and_not_tried_again(design, here, tmp_path):
    wanted = design(*FEW[:2], 'sweep={"optimizer.peak_lr"=[0.01,1e30]}', "recipe.optimizer.clip=0")
    compared = compare(wanted, tmp_path, here(tmp_path), silent)
    assert compared.failures
    assert compared.retries == {}
    diverged = [
        r for r in compared.results if r.method == "cosine" and dict(r.point)["optimizer.peak_lr"] > 1
    ]
    assert all(math.isnan(r.loss) for r in diverged)
    assert all(math.isfinite(r.loss) for r in compared.results if dict(r.point)["optimizer.peak_lr"] < 1)


def test_mean_learning_rates_and_costs_are_those_of_the_updates(design, here, tmp_path):
    wanted = design(*FEW)
    compared = compare(wanted, tmp_path, here(tmp_path), silent)
    found = {(r.method, r.budget): r for r in compared.results}
    constant = found["constant", "40 steps"]
    assert constant.mean_lr == pytest.approx(0.01 * (1 + 2 + 3 + 4 * 39) / 4 / 42)
    assert constant.tokens == constant.total_tokens == 42 * 64
    assert found["wsd", "40 steps"].tokens == 40 * 64
    assert found["wsd", "40 steps"].total_tokens == 42 * 64 == found["wsds", "40 steps"].total_tokens
    assert found["cosine", "40 steps"].total_tokens == (20 + 42) * 64
    assert found["wsds", "40 steps"].mean_lr > found["cyclic", "40 steps"].mean_lr
    assert found["wsd", "40 steps"].before_decay.step == 36
    lrs = np.array([lr for _, lr in found["wsds", "40 steps"].lrs])
    assert lrs.min() == 0.0
    assert lrs.max() == 0.01


def test_the_cost_told_before_is_the_cost_found_after(design, here, tmp_path):
    wanted = design(*FEW)
    cost = cost_of(wanted, workers=2)
    workers = here(tmp_path)
    compared = compare(wanted, tmp_path, workers, silent)
    assert cost.runs == len(workers.trained)
    assert cost.tokens == compared.tokens == expected_tokens(wanted)
    assert cost.alone == compared.alone > compared.tokens
    tensors = sum(f.stat().st_size for f in Path(tmp_path).rglob("checkpoints/*/*.safetensors"))
    assert cost.disk == pytest.approx(tensors, rel=0.2)


def test_every_run_is_a_tree_of_its_own_that_goes_on_as_any_other(design, here, tmp_path):
    wanted = design(*FEW)
    compare(wanted, tmp_path, here(tmp_path), silent)
    runs = runs_for(sweep_models(wanted))
    assert all(is_done(tmp_path, run) for run in runs)
    (run, *_) = [run for run in runs if run.node == "trunk" and run.recipe.schedule["kind"] == "inverse-sqrt"]
    trunk = Tree.open(tmp_path / run.tree).trunk
    assert find_checkpoint(trunk, 42).step == 42
    assert train(load_recipe(trunk.path / "node.json"), tmp_path / run.tree, "50 steps").step == 50


def test_a_position_that_was_passed_unevaluated_is_told(design, here, tmp_path):
    compare(design(*FEW), tmp_path, here(tmp_path), silent)
    wanted = design(*FEW, 'budgets=["20 steps","30 steps","40 steps"]', "decays.of=cumulative")
    compared = compare(wanted, tmp_path, here(tmp_path), silent)
    assert any("compare into another folder with --out" in why for why in compared.failures.values())


def test_a_way_names_what_is_trained(design):
    wanted = design()
    (model, *_) = wanted.models("wsds", wanted.plan.points("wsds")[1], 1)
    trunk, decay = way(model)
    assert trunk.key[0].startswith("constant-0.02-seed1-")
    assert trunk.key[1] == "trunk"
    assert decay.key[1].startswith("decay-linear-18-")


def test_a_run_whose_last_checkpoint_was_lost_is_gone_over_again(design, here, tmp_path):
    """The record of a position on the readout grid is written before its checkpoint; a kill may come between."""
    wanted = design(*FEW, 'budgets=["16 steps","32 steps"]')
    before = compare(wanted, tmp_path, here(tmp_path), silent)
    (run, *_) = [run for run in runs_for(sweep_models(wanted)) if run.fork and run.end == 16]
    node = Tree.open(tmp_path / run.tree).node(run.node)
    shutil.rmtree(node.checkpoint_folder)
    assert not is_done(tmp_path, run)
    again = here(tmp_path)
    assert compare(wanted, tmp_path, again, silent).results == before.results
    assert again.trained == [run.key]


def test_an_accident_in_the_sweep_changes_no_choice(plan_table, design, here, tmp_path):
    """Chosen points are repeated only when the sweep is whole, so that the mended comparison ends in the same table."""
    keep(plan_table, "cosine", "constant", "wsd", "wsds")
    wanted = design(FEW[0], "seeds=[0,1]", "tuning_seeds=[0]", 'sweep={"optimizer.peak_lr"=[0.01,0.02]}')

    def broken(run):
        if run.tree.startswith("constant-0.02") and run.node != "trunk":
            raise OSError(28, "No space left on device")

    first = compare(wanted, tmp_path / "mended", here(tmp_path / "mended", broken), silent)
    assert first.failures
    assert not first.complete
    assert {result.seed for result in first.results} == {0}
    mended = compare(wanted, tmp_path / "mended", here(tmp_path / "mended"), silent)
    whole = compare(wanted, tmp_path / "whole", here(tmp_path / "whole"), silent)
    assert mended.complete
    assert mended.results == whole.results


def test_what_else_was_evaluated_in_a_tree_changes_no_result(design, here, tmp_path):
    wanted = design(*FEW)
    before = compare(wanted, tmp_path, here(tmp_path), silent)
    (run, *_) = [
        run for run in runs_for(sweep_models(wanted)) if run.recipe.schedule["kind"] == "power-decay"
    ]
    trunk = Tree.open(tmp_path / run.tree).trunk
    train(load_recipe(trunk.path / "node.json"), tmp_path / run.tree, "45 steps")
    record = {**trunk.readouts()[0], "step": 11, "loss/raw": 9.9}
    append_record(trunk.evaluations_path, record)
    assert compare(wanted, tmp_path, here(tmp_path), silent).results == before.results


def test_a_failure_is_told_in_one_line():
    future = Future()
    future.set_exception(RuntimeError("first\n  second"))
    assert execution._why(future.exception(), future) == "first second"
    assert "killed" in execution._why(BrokenProcessPool(), future)
