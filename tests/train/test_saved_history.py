"""A history in checkpoints: the same blocks however the run was interrupted, each one the mean of its iterates."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from itertools import pairwise

import pytest
import torch

from riverrun.averaging import BlockLayout
from riverrun.errors import RiverrunError
from riverrun.runs import Tree, checkpoint
from riverrun.runs.metrics import read_records
from riverrun.train import parse_recipe, train
from riverrun.train.branch import plan_branch, train_branch
from riverrun.train.recipe import differences
from riverrun.train.saved_history import saved_facts
from riverrun.train.state import State
from riverrun.units import Duration

HISTORY = "averaging.history.resolution=4"
RECIPES = {
    "fp32": (HISTORY,),
    "bf16": (HISTORY, "averaging.history.dtype=bfloat16"),
    "gaps": (HISTORY, "averaging.every=3"),
    "spilled": (HISTORY, "averaging.history.spill=true", "averaging.history.shortest=0.2"),
}


def saved_at(node, step):
    return {saved.step: saved for saved in node.checkpoints()}[step]


def loaded(saved, part):
    tensors = {name: torch.empty(shape, dtype=dtype) for name, (shape, dtype) in saved.names(part).items()}
    saved.load_some(tensors, part)
    return tensors


def parts_of(saved):
    """Part -> span, oldest first; the last is open."""
    found = [tuple(span) for span in saved.manifest["history"]["spans"]]
    return {f"history/{begin:08d}-{end:08d}": (begin, end) for begin, end in found[:-1]} | {
        "history/open": found[-1]
    }


@pytest.fixture
def all_bits(run_bits):
    """Everything of a run: what `run_bits` reads, and the history, spans and every block."""

    def read(run, step):
        saved = saved_at(Tree.open(run).trunk, step)
        blocks = {
            part: {
                name: tensor.view(torch.uint8).numpy().tobytes()
                for name, tensor in loaded(saved, part).items()
            }
            for part in parts_of(saved)
        }
        facts = {key: value for key, value in saved.manifest["history"].items() if key != "spill"}
        return run_bits(run, step), facts, blocks

    return read


@pytest.fixture
def recorded(monkeypatch):
    """A list of (position, weights) that grows as runs are trained."""
    found, update = [], State.update_averages

    def record(state):
        found.append((state.step, flat(dict(zip(state.names, state.parameters, strict=True)))))
        update(state)

    monkeypatch.setattr(State, "update_averages", record)
    return found


def flat(tensors):
    return torch.cat([tensors[name].detach().flatten() for name in sorted(tensors)]).double()


def is_mean(saved, part, span, iterates, tolerance):
    """Whether a block is the mean of the iterates in its span, each standing for those since the one before."""
    begin, end = span
    inside = [(step, weights) for step, weights in iterates if begin < step <= end]
    shares = [last - first for first, last in pairwise([begin, *(step for step, _ in inside)])]
    mean = sum(share * weights for share, (_, weights) in zip(shares, inside, strict=True)) / sum(shares)
    return (flat(loaded(saved, part)) - mean).norm() <= tolerance * mean.norm()


@pytest.mark.parametrize("overrides", RECIPES.values(), ids=RECIPES.keys())
def test_every_block_of_every_checkpoint_is_the_mean_of_its_iterates(
    overrides, tiny_recipe, recorded, tmp_path
):
    node = train(tiny_recipe(*overrides), tmp_path / "run", "60 steps").node
    tolerance = 1e-2 if "averaging.history.dtype=bfloat16" in overrides else 1e-6
    assert len(node.checkpoints()) > 5
    for saved in node.checkpoints():
        for part, span in parts_of(saved).items():
            assert is_mean(saved, part, span, recorded, tolerance), (saved.step, span)
    begins, ends = zip(*parts_of(saved).values(), strict=True)
    assert begins[0] == 0
    assert begins[1:] == ends[:-1]
    assert ends[-1] == 60


class Crash(Exception):
    pass


@pytest.mark.parametrize("overrides", RECIPES.values(), ids=RECIPES.keys())
def test_after_crashes_in_the_middle_of_blocks_it_is_that_of_a_run_without(
    overrides, tiny_recipe, all_bits, tmp_path, monkeypatch
):
    recipe = tiny_recipe(*overrides)
    train(recipe, tmp_path / "once", "60 steps")
    update = State.update_averages
    for step in (12, 22, 33, 57):  # none of them a checkpoint's

        def crash(state, at=step):
            if state.step >= at:
                raise Crash
            update(state)

        with monkeypatch.context() as patch:
            patch.setattr(State, "update_averages", crash)
            with pytest.raises(Crash):
                train(recipe, tmp_path / "crashed", "60 steps")
    train(recipe, tmp_path / "crashed", "60 steps")
    assert all_bits(tmp_path / "crashed", 60) == all_bits(tmp_path / "once", 60)


TRAIN = """
import json, sys
from pathlib import Path
from riverrun.train import parse_recipe, train
recipe = parse_recipe(json.loads(sys.argv[1]))
sys.exit(train(recipe, Path(sys.argv[2]), sys.argv[3]).exit_code)
"""


def test_a_kill_costs_nothing_of_it(tiny_recipe, all_bits, tmp_path):
    settings = (
        "averaging.history.spill=true",
        "averaging.every=2",
        "metrics.every=1",
        "checkpoints.every=11 steps",
    )
    recipe = tiny_recipe(HISTORY, *settings)
    run = tmp_path / "killed"
    position = 0
    command = [sys.executable, "-c", TRAIN, json.dumps(recipe.to_dict()), str(run), "1000000 steps"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as process:
        while process.poll() is None and position < 47:
            time.sleep(0.001)
            records = read_records(run / "trunk/metrics.jsonl")
            position = records[-1]["step"] if records else 0
        process.send_signal(signal.SIGKILL)
        complaint = process.communicate()[1]
    assert process.returncode == -signal.SIGKILL, complaint
    assert not [name for name in os.listdir(run / "trunk") if name.startswith(".unfinished-history")]
    end = position + 20
    for where in (run, tmp_path / "once"):
        train(recipe, where, f"{end} steps")
    assert all_bits(run, end) == all_bits(tmp_path / "once", end)


def test_a_disk_that_fills_up_among_the_blocks_costs_nothing_either(
    tiny_recipe, all_bits, tmp_path, monkeypatch
):
    recipe = tiny_recipe(HISTORY)
    train(recipe, tmp_path / "once", "60 steps")
    write = checkpoint._write_file

    def fill_up(path, tensors, remarks):
        write(path, tensors, remarks)
        if "00000034" in str(path) and path.parent.name == "open":
            raise OSError(28, "No space left on device", str(path))

    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "_write_file", fill_up)
        with pytest.raises(RiverrunError, match="No space left on device; make room"):
            train(recipe, tmp_path / "full", "60 steps")
    node = Tree.open(tmp_path / "full").trunk
    assert [saved.step for saved in node.checkpoints()][-1] == 26
    assert (
        sorted(path.name for path in node.checkpoint_folder.iterdir())[0] == "00000010"
    )  # nothing half-written
    for saved in node.checkpoints():
        saved.verify()
    train(recipe, tmp_path / "full", "60 steps")
    assert all_bits(tmp_path / "full", 60) == all_bits(tmp_path / "once", 60)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_spilled_to_the_disk_it_is_the_same_and_leaves_no_file(
    dtype, tiny_recipe, all_bits, tmp_path, recorded
):
    found = []
    for spill in ("true", "false"):
        overrides = (HISTORY, f"averaging.history.spill={spill}", f"averaging.history.dtype={dtype}")
        node = train(tiny_recipe(*overrides), tmp_path / spill, "60 steps").node
        found.append(all_bits(tmp_path / spill, 60))
        assert {path.name for path in node.path.iterdir()} == {
            ".lock",
            "node.json",
            "metrics.jsonl",
            "events.jsonl",
            "evaluations.jsonl",
            "checkpoints",
        }
    assert found[0] == found[1]


def test_without_a_history_the_trajectory_is_the_same(tiny_recipe, run_bits, tmp_path):
    train(tiny_recipe(), tmp_path / "without", "40 steps")
    train(tiny_recipe(HISTORY), tmp_path / "with", "40 steps")
    assert run_bits(tmp_path / "without", 40) == run_bits(tmp_path / "with", 40)


def test_closed_blocks_are_one_file_in_all_checkpoints_that_have_them(tiny_recipe, tmp_path):
    node = train(tiny_recipe(HISTORY), tmp_path / "run", "60 steps").node
    last = node.checkpoints()[-1]
    files = {}
    shared = 0
    for saved in node.checkpoints():
        for part, span in parts_of(saved).items():
            (file,) = (saved.path / part).iterdir()
            if part != "history/open":
                shared += span in files
                assert files.setdefault(span, file.stat().st_ino) == file.stat().st_ino
    assert shared > 10
    for saved in node.checkpoints()[:-1]:
        shutil.rmtree(saved.path)
    last.verify()


def test_also_after_a_resume(tiny_recipe, tmp_path):
    node = train(tiny_recipe(HISTORY), tmp_path / "run", "51 steps").node
    train(tiny_recipe(HISTORY), tmp_path / "run", "52 steps")
    before, after = saved_at(node, 51), saved_at(node, 52)
    common = (parts_of(before).keys() & parts_of(after).keys()) - {"history/open"}
    assert len(common) > 5
    for part in common:
        (one,), (other,) = (before.path / part).iterdir(), (after.path / part).iterdir()
        assert os.path.samefile(one, other)


def test_a_branch_begins_with_the_history_of_the_trunk(tiny_recipe, recorded, tmp_path):
    """And shares its blocks; when the trunk is gone, the branch has its past all the same."""
    train(tiny_recipe(HISTORY), tmp_path / "run", "40 steps")
    trunk = recorded[:34]
    del recorded[:]
    tree = Tree.open(tmp_path / "run")
    branch = train_branch(plan_branch(tree, at=34, name="on", decay=None), Duration.parse("36 steps")).node
    train_branch(plan_branch(tree, at=34, name="on", decay=None), Duration.parse("50 steps"))
    fork, first = saved_at(tree.trunk, 34), branch.checkpoints()[0]
    common = (parts_of(fork).keys() & parts_of(first).keys()) - {"history/open"}
    assert common
    for part in common:
        (one,), (other,) = (fork.path / part).iterdir(), (first.path / part).iterdir()
        assert os.path.samefile(one, other)
    shutil.rmtree(tree.trunk.checkpoint_folder)
    for saved in branch.checkpoints():
        saved.verify()
        for part, span in parts_of(saved).items():
            assert is_mean(saved, part, span, trunk + recorded, 1e-6), (saved.step, span)


def test_a_run_that_had_none_may_begin_one_and_keeps_it(tiny_recipe, all_bits, recorded, tmp_path):
    """It begins where the run stands, goes on without being named again, and so does a branch."""
    recipe, asked = tiny_recipe(), tiny_recipe(HISTORY)
    node = train(recipe, tmp_path / "run", "40 steps").node
    assert saved_facts(saved_at(node, 40)) is None
    train(asked, tmp_path / "run", "47 steps")
    shutil.copytree(tmp_path / "run", tmp_path / "named")
    train(recipe, tmp_path / "run", "60 steps")
    assert train(asked, tmp_path / "named", "60 steps").step == 60
    assert all_bits(tmp_path / "run", 60) == all_bits(tmp_path / "named", 60)
    del recorded[60:]
    for saved in node.checkpoints():
        if saved.step > 40:
            assert saved_facts(saved)["start"] == min(span[0] for span in parts_of(saved).values()) == 40
            for part, span in parts_of(saved).items():
                assert is_mean(saved, part, span, recorded, 1e-6)
    branch = plan_branch(Tree.open(tmp_path / "run"), name="on", decay=None)
    on = train_branch(branch, Duration.parse("62 steps")).node
    assert saved_facts(saved_at(on, 62))["start"] == 40


@pytest.mark.parametrize("resolution", [2, 8])
def test_another_resolution_on_going_on_only_merges(resolution, tiny_recipe, recorded, tmp_path):
    node = train(tiny_recipe(HISTORY), tmp_path / "run", "47 steps").node
    before = edges(saved_at(node, 47))
    other = f"averaging.history.resolution={resolution}"
    for until in ("48 steps", "60 steps"):
        train(tiny_recipe(other), tmp_path / "run", until)
    saved = saved_at(node, 60)
    assert saved_facts(saved)["resolution"] == resolution
    assert {edge for edge in edges(saved) if edge <= 47} <= before
    wanted = set(BlockLayout(resolution=resolution).edges(60))
    assert {edge for edge in wanted if edge > 47} <= edges(saved) <= wanted | {0, 60}
    for part, span in parts_of(saved).items():
        assert is_mean(saved, part, span, recorded, 1e-6)


def edges(saved):
    return {edge for span in parts_of(saved).values() for edge in span}


def test_another_dtype_on_going_on_takes_the_blocks_over(tiny_recipe, recorded, tmp_path):
    node = train(tiny_recipe(HISTORY), tmp_path / "run", "40 steps").node
    for number, dtype in enumerate(("bfloat16", "float32")):
        train(
            tiny_recipe(HISTORY, f"averaging.history.dtype={dtype}"),
            tmp_path / "run",
            f"{50 + 10 * number} steps",
        )
    saved = saved_at(node, 60)
    saved.verify()
    for part, span in parts_of(saved).items():
        assert is_mean(saved, part, span, recorded, 1e-2)


def test_recipes_that_differ_in_the_history_alone_are_one_run(tiny_recipe):
    for overrides in RECIPES.values():
        asked = tiny_recipe(*[one for one in overrides if one != "averaging.every=3"])
        assert differences(tiny_recipe(), asked) == []
        assert parse_recipe(asked.to_dict()) == asked


def test_a_spilled_history_goes_on_spilled_where_the_recipe_does_not_name_it(tiny_recipe, tmp_path):
    train(tiny_recipe(HISTORY, "averaging.history.spill=true"), tmp_path / "run", "30 steps")
    node = train(tiny_recipe(), tmp_path / "run", "40 steps").node
    assert saved_at(node, 40).manifest["history"]["spill"]


def test_where_only_the_history_is_damaged_training_goes_on_and_the_history_begins_anew(
    tiny_recipe, tmp_path
):
    """One bad block is in every checkpoint that shares it; weights and moments are not the worse for it."""
    node = train(tiny_recipe(HISTORY), tmp_path / "run", "40 steps").node
    train(tiny_recipe(HISTORY), tmp_path / "whole", "60 steps")
    for saved in node.checkpoints():
        (oldest, *_) = sorted(saved.path.glob("history/*-*/*"))
        oldest.write_bytes(b"damaged")
    notes = []
    assert node.latest_checkpoint(notes.append) is not None
    assert notes[-1].endswith("00000040: is whole but for its history, which begins anew")
    train(tiny_recipe(HISTORY), tmp_path / "run", "60 steps")
    saved, whole = (saved_at(Tree.open(tmp_path / name).trunk, 60) for name in ("run", "whole"))
    saved.verify()
    assert saved.manifest["history"]["start"] == 40
    names = whole.names()
    for one, other in zip(*(read_weights(found, names) for found in (saved, whole)), strict=True):
        assert torch.equal(one, other)


def read_weights(saved, names):
    tensors = {name: torch.empty(shape, dtype=dtype) for name, (shape, dtype) in names.items()}
    saved.load(tensors)
    return list(tensors.values())
