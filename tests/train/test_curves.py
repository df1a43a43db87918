"""The losses that a node recorded, as curves."""

import numpy as np
import pytest

from riverrun.runs import Node
from riverrun.runs.metrics import append_record
from riverrun.train import build_plan
from riverrun.train.curves import TRAIN, Losses, binned_training_losses, in_bins, recorded_losses


@pytest.fixture
def node(tmp_path):
    return Node(tmp_path / "trunk")


@pytest.fixture
def record(node):
    """A function that appends to the record of that node."""
    node.path.mkdir()

    def write(step, **losses):
        append_record(
            node.metrics_path, {"step": step} | {f"loss/{name}": loss for name, loss in losses.items()}
        )

    return write


@pytest.fixture
def planned(monkeypatch, tiny_recipe):
    """A function that gives the node's recipe other settings."""

    def plan(*overrides):
        plan = build_plan(tiny_recipe(*overrides), vocabulary=257)
        monkeypatch.setattr("riverrun.train.curves.recorded_plan", lambda node: plan)

    return plan


def test_a_batch_is_measured_before_its_update(node, record):
    for step in (1, 2, 3, 5):
        record(step, train=float(step))
    (train,) = recorded_losses(node)
    assert train.name == TRAIN
    np.testing.assert_array_equal(train.steps, [1, 2, 4])  # at position 0 nothing was learned
    np.testing.assert_array_equal(train.losses, [2.0, 3.0, 5.0])
    assert train.missing == 0


def test_readouts_stand_where_they_were_read_one_curve_each(node, record):
    record(8, train=3.0, raw=2.9)
    record(9, train=2.9)
    record(16, train=2.8, raw=2.7, **{"ema-25": 2.65})
    found = {one.name: one for one in recorded_losses(node)}
    assert list(found) == ["train", "raw", "ema-25"]
    np.testing.assert_array_equal(found["raw"].steps, [8, 16])
    np.testing.assert_array_equal(found["raw"].losses, [2.9, 2.7])
    np.testing.assert_array_equal(found["ema-25"].steps, [16])


def test_what_is_no_number_is_left_out_and_counted(node, record):
    for step, loss in ((2, 3.0), (3, float("nan")), (4, float("inf")), (5, 2.5)):
        record(step, train=loss, raw=loss)
    train, raw = recorded_losses(node)
    np.testing.assert_array_equal(train.losses, [3.0, 2.5])
    np.testing.assert_array_equal(raw.losses, [3.0, 2.5])
    assert train.missing == raw.missing == 2


def test_a_node_without_a_record_has_no_curves(node):
    assert recorded_losses(node) == []


def test_a_part_keeps_both_ends():
    losses = Losses("raw", np.array([5, 6, 7, 8]), np.array([4.0, 3.0, 2.0, 1.0]), missing=3)
    part = losses.between(6, 7)
    np.testing.assert_array_equal(part.steps, [6, 7])
    np.testing.assert_array_equal(part.losses, [3.0, 2.0])
    assert (part.name, part.missing) == ("raw", 3)


def test_bins_are_means_of_losses_and_of_positions():
    losses = Losses("train", np.array([1, 2, 4, 5, 9]), np.array([6.0, 4.0, 3.0, 2.0, 1.0]))
    found = in_bins(losses, [1, 4, 8, 9, 20])
    np.testing.assert_array_equal(found.steps, [2, 4, 9])  # 1.5 and 4.5 go to even numbers; a bin is empty
    np.testing.assert_array_equal(found.losses, [5.0, 2.5, 1.0])


def test_bins_grow_with_the_position_and_hold_every_loss_once(node, record, planned):
    planned()
    steps = np.arange(2, 1202)
    for step in steps:
        record(int(step), train=5.0 + step)
    found = binned_training_losses(node, 1, 1200, bins=20)
    assert 15 <= found.steps.size <= 26
    ratios = found.steps[1:] / found.steps[:-1]
    assert ratios[-8:] == pytest.approx(np.full(8, ratios[-1]), rel=0.05)
    # The loss is linear in the position, so every mean lies on the line, but for the rounding of positions.
    np.testing.assert_allclose(found.losses, 6.0 + found.steps, atol=0.5)


def test_no_bin_reaches_over_a_turn_of_the_schedule(node, record, planned):
    planned('schedule={kind="wsd", warmup="5 steps", budget="1000 steps", decay=0.1}')
    for step in range(2, 1001):
        record(step, train=1.0 if step - 1 < 900 else 2.0)
    found = binned_training_losses(node, 50, 1000, bins=12)
    assert set(found.losses) == {1.0, 2.0}, "a mean over the turn would lie between"
    assert (found.steps >= 900).sum() >= 6, "a short decay has bins of its own"


def test_few_losses_make_few_bins(node, record, planned):
    planned()
    for step in range(2, 12):
        record(step, train=1.0)
    assert binned_training_losses(node, 1, 100, bins=48).steps.size == 2
    assert binned_training_losses(node, 50, 100, bins=48).steps.size == 0
