"""Trackers that are fed while a node trains have all of it in the end, and training does not notice them."""

import shutil
import threading

import pytest
import torch

from riverrun import extras
from riverrun.errors import SettingError
from riverrun.runs import Tree
from riverrun.runs.metrics import append_record, read_records
from riverrun.trackers import fed_live, feed, live
from riverrun.train import Quiet, train

ON = 'metrics.trackers=["tensorboard"]'


class Told(Quiet):
    """Keeps the notes."""

    def __init__(self):
        self.notes = []

    def note(self, text):
        self.notes.append(text)


class Broken:
    """A sink that takes two steps and no more."""

    last, look = 0, "here"

    def __init__(self, log):
        self.steps, self._log = [], log

    def log(self, step, values):
        if len(self.steps) == 2:
            self._log()
        self.steps.append(step)

    def close(self):
        pass


def refuse():
    raise ConnectionError("network is unreachable")


def bits(node):
    """All that training leaves: the records, and the tensors of each checkpoint."""
    saved = {}
    for checkpoint in node.checkpoints():
        tensors = {
            name: torch.empty(shape, dtype=dtype) for name, (shape, dtype) in checkpoint.names().items()
        }
        checkpoint.load(tensors)
        saved[checkpoint.step] = {name: tensor.numpy().tobytes() for name, tensor in tensors.items()}
    return saved, node.metrics_path.read_bytes(), node.evaluations_path.read_bytes()


def warnings(node):
    return [
        event["text"] for event in read_records(node.path / "events.jsonl") if event["event"] == "warning"
    ]


@pytest.fixture
def events():
    """A function that gives what TensorBoard has of a node: {step: keys}; what is there twice fails."""
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    def read(node):
        found = {}
        accumulator = EventAccumulator(str(node.path / "tensorboard"), {"scalars": 0}).Reload()
        for key in accumulator.Tags()["scalars"]:
            for event in accumulator.Scalars(key):
                assert key not in found.setdefault(event.step, set())
                found[event.step].add(key)
        return found

    return read


def test_a_tracked_run_is_bit_for_bit_the_untracked_one_and_is_tracked_to_its_end(
    tiny_recipe, trained, tmp_path, events, expected
):
    told = Told()
    train(tiny_recipe(ON), tmp_path / "run", "40 steps", progress=told)
    trunk = Tree.open(tmp_path / "run").trunk
    assert bits(trunk) == bits(Tree.open(trained).trunk)
    assert events(trunk) == {step: set(row) for step, row in expected(trunk).items()}
    assert "loss/raw" in events(trunk)[40]  # the readout of the stop, which is no line of metrics.jsonl
    assert f"metrics go to tensorboard: tensorboard --logdir {tmp_path / 'run'}" in told.notes
    assert warnings(trunk) == []


def test_what_a_resume_takes_again_is_tracked_once(tiny_recipe, trained, tmp_path, events, expected):
    run = tmp_path / "run"
    trunk = Tree(run).trunk
    train(tiny_recipe(ON), run, "31 steps")
    for checkpoint in trunk.checkpoints():
        if checkpoint.step > 15:
            shutil.rmtree(checkpoint.path)
    train(tiny_recipe(ON), run, "40 steps")
    assert trunk.metrics_path.read_bytes() == Tree.open(trained).trunk.metrics_path.read_bytes()
    assert events(trunk) == {step: set(row) for step, row in expected(trunk).items()}


def test_the_last_step_waits_for_its_readout(tree, monkeypatch):
    class Rows:
        last, look = 40, "here"

        def __init__(self):
            self.rows, self.first = {}, threading.Event()

        def log(self, step, values):
            self.rows[step] = dict(values)
            self.first.set()

        def close(self):
            pass

    sink, trunk = Rows(), tree.trunk
    monkeypatch.setattr(feed, "open_sink", lambda name, node: sink)
    monkeypatch.setattr(feed, "require_tracker", lambda setting, name: None)
    monkeypatch.setattr(live, "_SECONDS_BETWEEN_LOOKS", 0.01)
    with fed_live(trunk, ["mlflow"], print, patience=600):
        append_record(trunk.metrics_path, {"step": 42, "lr": 0.5})
        append_record(trunk.metrics_path, {"step": 45, "lr": 0.25})
        assert sink.first.wait(60)
        append_record(trunk.evaluations_path, {"step": 45, "loss/raw": 2.0})
    assert sink.rows == {42: {"lr": 0.5}, 45: {"lr": 0.25, "loss/raw": 2.0}}


def test_trackers_may_be_others_when_a_run_goes_on(tiny_recipe, tmp_path, events, expected):
    trunk = Tree(tmp_path / "run").trunk
    train(tiny_recipe(), tmp_path / "run", "20 steps")
    assert not (trunk.path / "tensorboard").exists()
    train(tiny_recipe(ON), tmp_path / "run", "30 steps")
    assert events(trunk) == {step: set(row) for step, row in expected(trunk).items()}
    train(tiny_recipe(), tmp_path / "run", "40 steps")
    assert max(events(trunk)) == 30


def test_a_tracker_that_fails_is_told_once_and_changes_nothing(
    tiny_recipe, trained, tmp_path, monkeypatch, events
):
    broken, told, open_sink = Broken(refuse), Told(), feed.open_sink
    monkeypatch.setattr(
        feed, "open_sink", lambda name, node: broken if name == "mlflow" else open_sink(name, node)
    )
    monkeypatch.setattr(feed, "require_tracker", lambda setting, name: None)
    monkeypatch.setattr("riverrun.train.session.require_tracker", lambda setting, name: None)
    recipe = tiny_recipe('metrics.trackers=["mlflow", "tensorboard"]')
    assert train(recipe, tmp_path / "run", "40 steps", progress=told).exit_code == 0
    trunk = Tree.open(tmp_path / "run").trunk
    assert bits(trunk) == bits(Tree.open(trained).trunk)
    assert broken.steps == [3, 6]
    (warning,) = warnings(trunk)
    assert warning.startswith("mlflow: network is unreachable. ")
    assert f"riverrun track {tmp_path / 'run'} --to mlflow --node trunk" in warning
    assert told.notes.count(warning) == 1
    assert max(events(trunk)) == 40  # the other one goes on


@pytest.mark.parametrize(("limit", "patience"), [(0.2, 600), (5.0, 0.4)])
def test_a_tracker_that_hangs_does_not_hold_up_the_end(
    tiny_recipe, trained, tmp_path, monkeypatch, limit, patience
):
    """Nor longer than half of what other ranks wait for this one."""
    released = threading.Event()
    monkeypatch.setattr(feed, "open_sink", lambda name, node: Broken(released.wait))
    monkeypatch.setattr(live, "_PATIENCE", limit)
    pytest.importorskip("tensorboard")
    try:
        train(tiny_recipe(ON, f"engine.patience={patience}"), tmp_path / "run", "40 steps")
        trunk = Tree.open(tmp_path / "run").trunk
        assert bits(trunk) == bits(Tree.open(trained).trunk)
        (warning,) = warnings(trunk)
        assert warning.startswith("tensorboard: has not taken all after 0 seconds")
    finally:
        released.set()


def test_a_missing_package_is_told_before_anything_is_written(tiny_recipe, tmp_path, monkeypatch):
    monkeypatch.setattr(extras, "find_spec", lambda name: None)
    with pytest.raises(SettingError) as raised:
        train(tiny_recipe(ON), tmp_path / "run", "40 steps")
    assert str(raised.value) == (
        "metrics.trackers tensorboard: needs tensorboard for its runs. pip install 'riverrun[tensorboard]'"
    )
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("value", "told"),
    [
        ('["wandbb"]', r"metrics\.trackers: got 'wandbb'; must be one of .*; did you mean 'wandb'\?"),
        ('["wandb", "wandb"]', r"metrics\.trackers: got \['wandb', 'wandb'\]; each may be named once"),
    ],
)
def test_a_wrong_tracker_in_a_recipe_is_told_with_its_path(value, told, tiny_recipe):
    with pytest.raises(SettingError, match=told):
        tiny_recipe(f"metrics.trackers={value}")
