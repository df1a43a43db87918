"""Averages after the fact: from any checkpoint's history, at any position, those of all iterates up to the bound."""

from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from riverrun.averaging import DecayLike, HalfLife, Tail, Uniform
from riverrun.errors import CheckpointError, SettingError
from riverrun.runs import Tree
from riverrun.runs.metrics import append_record, read_records
from riverrun.train import averages as module
from riverrun.train import build_plan, train
from riverrun.train.averages import USUAL, averages
from riverrun.train.branch import plan_branch, train_branch
from riverrun.train.decay import Decay, parse_length
from riverrun.train.restore import restore_readout, shapes_of
from riverrun.train.session import recorded_recipe
from riverrun.train.state import State
from riverrun.units import Duration

# Relative to the weights, what fp32 sums of dozens of iterates may be off by.
ROUNDING = 1e-6


@pytest.fixture(scope="module")
def grown(tiny_recipe, tmp_path_factory):
    """(tree, {node: weights after each update}): a trunk to 60, `side` from 34 to 50, `end` from there to 58."""
    weights, update = [], State.update_averages

    def record(state):
        weights.append(flat(state.parameters))
        update(state)

    run = tmp_path_factory.mktemp("grown") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(State, "update_averages", record)
        train(tiny_recipe("averaging.history.resolution=4"), run, "60 steps")
        tree = Tree.open(run)
        train_branch(plan_branch(tree, at=34, decay=None, name="side"), Duration.parse("50 steps"))
        decay = Decay(length=parse_length("8 steps"))
        train_branch(plan_branch(tree, source="side", decay=decay, name="end"))
    trunk, side, end = weights[:60], weights[60:76], weights[76:]
    ways = {"trunk": trunk, "side": trunk[:34] + side, "end": trunk[:34] + side + end}
    return tree, {name: torch.stack(way) for name, way in ways.items()}


def flat(tensors):
    return torch.cat([tensor.detach().flatten() for tensor in tensors]).double()


def make(node, profiles, step, **settings):
    shapes = shapes_of(build_plan(recorded_recipe(node), vocabulary=257))
    return list(averages(node, profiles, step, shapes, **settings))


def same_bits(one, other):
    return all(torch.equal(one.weights[name], other.weights[name]) for name in one.weights)


@pytest.mark.parametrize("name", ["trunk", "side", "end"])
def test_at_every_position_each_is_within_its_bound_of_that_of_all_iterates(name, grown):
    tree, iterates = grown
    node, way = tree.node(name), iterates[name]
    largest = torch.cdist(way, way).max()
    forks = {"trunk": (), "side": (34,), "end": (34, 50)}[name]
    for step in range(1, len(way) + 1, 6):
        for found in make(node, USUAL, step, largest_bound=1):
            exact = torch.from_numpy(found.profile.weights(step)) @ way[:step]
            error = (flat(found.weights.values()) - exact).norm()
            assert error <= found.bound * largest + ROUNDING * exact.norm(), (step, found.profile)
            assert found.step == step <= found.checkpoint.step
            above = sum(step > fork for fork in forks)
            assert found.node.id == ("trunk", "side", "end")[above]


def test_at_a_checkpoint_what_is_asked_mostly_comes_nearly_exact(grown):
    """Every checkpoint has the narrow blocks of its own position."""
    tree, _ = grown
    for saved in tree.trunk.checkpoints():
        for found in make(tree.trunk, [Tail(0.2), Tail(0.5), HalfLife(12.5), Uniform()], saved.step):
            assert found.bound <= 1 / 12
            assert found.checkpoint.step == saved.step


def test_tracks_are_taken_where_they_are_these_averages_and_nowhere_else(grown):
    tree, _ = grown
    tracks = [HalfLife(25), HalfLife(6.25)]
    assert [found.source for found in make(tree.trunk, [*tracks, HalfLife(9)], 34)] == [
        "track",
        "track",
        "history",
    ]
    assert [found.source for found in make(tree.trunk, tracks, 33, largest_bound=1)] == ["history"] * 2
    (found,) = make(tree.trunk, [Uniform()], 34, snap=True)
    assert found.source == "history"


def test_what_comes_with_too_large_a_bound_is_refused_or_left_out(grown):
    tree, _ = grown
    bounds = {found.profile: found.bound for found in make(tree.trunk, USUAL, 45, largest_bound=1)}
    assert len(bounds) == len(USUAL)
    kept = make(tree.trunk, USUAL, 45, largest_bound=0.05, leave_out=True)
    assert {found.profile for found in kept} == {one for one, bound in bounds.items() if bound <= 0.05}
    assert 0 < len(kept) < len(USUAL)
    for profile, bound in bounds.items():
        if bound > 0.05:
            with pytest.raises(CheckpointError, match=f"{profile.spec} at step 45 would have") as error:
                make(tree.trunk, [Uniform(), profile], 45, largest_bound=0.05)
            assert "\n" not in str(error.value)


def test_all_are_told_before_the_first_is_made_and_may_be_refused(grown, monkeypatch):
    tree, _ = grown
    told = []
    profiles = [HalfLife(25), Tail(0.2), DecayLike("cosine", 0.2)]
    made = make(tree.node("end"), profiles, 58, expect=lambda *what: told.append(what))
    assert [(node.id, profile, step) for node, profile, step in told] == [
        ("end", one, 58) for one in profiles
    ]
    assert [found.profile for found in made] == profiles

    def refuse(*_):
        raise SettingError("there is one already")

    def must_not(*_):
        raise AssertionError("something was made")

    monkeypatch.setattr(module, "combine_saved", must_not)
    with pytest.raises(SettingError, match="one already"):
        make(tree.trunk, profiles, 60, expect=refuse)


@pytest.mark.parametrize(("setting", "value"), [("_SUMMED_AT_ONCE", 3), ("_SUMMED_BYTES", 1)])
def test_how_many_are_summed_at_once_changes_no_bit(setting, value, grown, monkeypatch):
    tree, _ = grown
    before = make(tree.trunk, USUAL, 60)
    monkeypatch.setattr(module, setting, value)
    after = make(tree.trunk, USUAL, 60)
    assert [found.profile for found in before] == [found.profile for found in after]
    assert all(same_bits(*pair) for pair in zip(before, after, strict=True))


@pytest.mark.parametrize("name", ["tail-0.2", "tail:0.2"])
def test_a_readout_of_that_name_is_that_average(name, grown):
    tree, _ = grown
    for node, step in ((tree.trunk, 60), (tree.trunk, 50), (tree.node("side"), 50), (tree.node("side"), 20)):
        restored = restore_readout(node, name, step)
        (found,) = make(node, [Tail(0.2)], step)
        assert (restored.name, restored.step) == ("tail-0.2", step)
        assert restored.checkpoint.path == found.checkpoint.path
        assert torch.equal(flat(restored.model.parameters()), flat(found.weights.values()))
    assert restore_readout(tree.node("end"), name).step == 58


def test_between_checkpoints_a_track_is_made_as_any_average_is(grown):
    tree, iterates = grown
    restored = restore_readout(tree.trunk, "ema-6.25", 45)
    assert (restored.name, restored.step, restored.checkpoint.step) == ("ema-6.25", 45, 51)
    exact = torch.from_numpy(HalfLife(6.25).weights(45)) @ iterates["trunk"][:45]
    assert (flat(restored.model.parameters()) - exact).norm() < 0.1 * (iterates["trunk"][44] - exact).norm()
    with pytest.raises(CheckpointError, match="no checkpoint at step 45; there are: 10, 15"):
        restore_readout(tree.trunk, "raw", 45)


def test_a_history_that_began_late_says_so_and_is_honest(tiny_recipe, tmp_path):
    weights = []
    train(tiny_recipe(), tmp_path / "run", "40 steps")
    node = train(tiny_recipe("averaging.history.resolution=4"), tmp_path / "run", "41 steps").node
    with pytest.MonkeyPatch.context() as patch:
        update = State.update_averages
        patch.setattr(State, "update_averages", lambda s: (weights.append(flat(s.parameters)), update(s)))
        train(tiny_recipe("averaging.history.resolution=4"), tmp_path / "run", "60 steps")
    since, late = make(node, [Uniform(41), Uniform(30)], 60, largest_bound=0.4)
    exact = torch.stack(weights).mean(0)
    assert since.bound < 0.05
    assert (flat(since.weights.values()) - exact).norm() < 0.05 * (weights[-1] - exact).norm()
    assert late.bound == pytest.approx(1 / 3)  # the weight of the iterates 31 .. 40
    with pytest.raises(
        CheckpointError, match=r"67% of its weight .*they begin after step 40; .* have it: none"
    ):
        make(node, [Uniform()], 60)
    with pytest.raises(
        CheckpointError, match=r"00000034: has no readout 'tail-0\.2'; .* no history .* step 34"
    ):
        make(node, [Tail(0.2)], 34)
    with pytest.raises(CheckpointError, match=r"00000051: .*begin after step 40"):
        make(node, [Tail(0.5)], 43)


def test_before_its_first_update_a_history_that_began_late_has_nothing(tiny_recipe, tmp_path):
    """With updates every 3 steps the first one is at step 42."""
    train(tiny_recipe("averaging.every=3"), tmp_path / "run", "40 steps")
    settings = ("averaging.every=3", "averaging.history.resolution=4")
    node = train(tiny_recipe(*settings), tmp_path / "run", "41 steps").node
    with pytest.raises(
        CheckpointError, match="begins after step 40, and holds nothing for step 41; name a later"
    ):
        make(node, [Tail(0.2)], 41)
    train(tiny_recipe(*settings), tmp_path / "run", "42 steps")
    (found,) = make(node, [Uniform(40)], 42)
    raw = restore_readout(node, "raw")
    assert found.bound == 0
    assert torch.equal(flat(found.weights.values()), flat(raw.model.parameters()))


def test_records_that_are_added_at_once_are_all_there(tmp_path):
    path = tmp_path / "averages.jsonl"
    with ThreadPoolExecutor(8) as writers:
        list(writers.map(lambda number: append_record(path, {"step": number, "text": "x" * 999}), range(200)))
    assert sorted(record["step"] for record in read_records(path)) == list(range(200))
