"""A feed gives a sink each step of the record once, whole, in order, and tells what goes wrong."""

import json
import math
import shutil

import pytest

from riverrun import extras
from riverrun.errors import SettingError
from riverrun.runs import BusyError, RunError, Tree
from riverrun.runs.metrics import append_record
from riverrun.trackers import TRACKERS, Feed, TrackerError, feeding, tracked
from riverrun.trackers import feed as feed_module


class Listed:
    """A sink that keeps what it is given."""

    look = "nowhere"

    def __init__(self, last=0):
        self.last, self.rows, self.closed = last, {}, False

    def log(self, step, values):
        assert step not in self.rows
        self.rows[step] = dict(values)

    def close(self):
        self.closed = True


def test_every_step_goes_there_with_all_that_is_known_of_it(tree, expected):
    for node in tree.nodes():
        sink = Listed()
        assert Feed(node, sink, "list").send() == len(sink.rows)
        assert sink.rows == expected(node)
        assert list(sink.rows) == sorted(sink.rows)
    assert min(sink.rows) > tree.branch("end").parent.step == 40
    assert {"tokens", "loss/raw", "loss/ema-25", "loss/ema-12.5"} <= sink.rows[60].keys()


def test_a_sink_is_given_what_it_does_not_have(tree, expected):
    sink = Listed(last=21)
    feed = Feed(tree.trunk, sink, "list")
    feed.send()
    assert sink.rows == {step: row for step, row in expected(tree.trunk).items() if step > 21}
    before = dict(sink.rows)
    assert (feed.send(), feed.last) == (0, 40)
    append_record(tree.trunk.metrics_path, {"step": 42, "tokens": 2688, "loss/train": None})
    assert feed.send() == 1
    assert before.items() <= sink.rows.items()
    assert math.isnan(sink.rows[42]["loss/train"])  # it was not finite


def test_a_readout_joins_the_step_before_it_is_sent(tree):
    sink, trunk = Listed(last=40), tree.trunk
    feed = Feed(trunk, sink, "list")
    append_record(trunk.metrics_path, {"step": 42, "lr": 0.5})
    append_record(trunk.metrics_path, {"step": 45, "lr": 0.25})
    assert feed.send_settled() == 1
    append_record(trunk.evaluations_path, {"step": 45, "loss/raw": 2.0})
    assert feed.send_settled() == 0
    append_record(trunk.metrics_path, {"step": 48, "lr": 0.125})
    assert feed.send() == 2
    assert sink.rows == {42: {"lr": 0.5}, 45: {"lr": 0.25, "loss/raw": 2.0}, 48: {"lr": 0.125}}


def test_a_step_that_was_sent_is_not_sent_again_for_a_readout_that_comes_late(tree):
    sink, trunk = Listed(last=40), tree.trunk
    feed = Feed(trunk, sink, "list")
    append_record(trunk.metrics_path, {"step": 42, "lr": 0.5})
    assert feed.send() == 1
    append_record(trunk.evaluations_path, {"step": 42, "loss/raw": 2.0})
    assert feed.send() == 0
    assert sink.rows == {42: {"lr": 0.5}}


def test_a_node_is_the_same_run_wherever_it_lies_and_another_than_any_other(tree, tmp_path):
    trunk, branch = (tracked(node) for node in tree.nodes())
    assert trunk.id.startswith("trunk-")
    assert branch.id.startswith("end-")
    shutil.copytree(tree.path, tmp_path / "elsewhere")
    moved = tracked(Tree.open(tmp_path / "elsewhere").trunk)
    assert (moved.id, moved.group, moved.name) == (trunk.id, "elsewhere", "elsewhere/trunk")
    path = tmp_path / "elsewhere/trunk/node.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"created": "later"}))
    assert tracked(Tree.open(tmp_path / "elsewhere").trunk).id != trunk.id


def test_the_configuration_says_where_a_node_comes_from_and_what_trained_it(tree):
    trunk, branch = (tracked(node) for node in tree.nodes())
    assert trunk.configuration["kind"] == "trunk"
    assert not {"parent", "fork_step"} & trunk.configuration.keys()
    origin = {
        "tree": "small",
        "node": "end",
        "id": branch.id,
        "kind": "branch",
        "parent": "trunk",
        "fork_step": 40,
    }
    settings = {"optimizer.peak_lr": 1e-2, "schedule.base.kind": "inverse-sqrt", "engine.device": "cpu"}
    assert (origin | settings).items() <= branch.configuration.items()
    assert not any(isinstance(value, dict) for value in branch.configuration.values())


def test_an_unknown_tracker_is_answered_with_the_nearest(tree):
    with pytest.raises(ValueError, match=r"got 'tensorbord'; must be one of .* did you mean 'tensorboard'\?"):
        feeding(tree.trunk, "tensorbord").__enter__()


@pytest.mark.parametrize("tracker", TRACKERS)
def test_a_missing_package_is_named_with_its_extra(tracker, tree, monkeypatch):
    monkeypatch.setattr(extras, "find_spec", lambda name: None)
    with pytest.raises(SettingError, match=rf"needs {tracker} .*pip install 'riverrun\[{tracker}\]'"):
        feeding(tree.trunk, tracker).__enter__()


def test_a_run_that_cannot_be_written_is_told_with_what_to_name_instead(tree):
    (tree.trunk.path / "trackers").write_text("")
    with pytest.raises(RunError, match=r"/trackers/wandb: cannot be written .*with riverrun track RUN$"):
        feeding(tree.trunk, "wandb").__enter__()


def test_a_node_is_fed_to_a_tracker_by_one_process_at_a_time(tree, monkeypatch):
    monkeypatch.setattr(feed_module, "open_sink", lambda tracker, node: Listed())
    with feeding(tree.trunk, "wandb"):
        with pytest.raises(BusyError, match="another process is sending to wandb"):
            feeding(tree.trunk, "wandb").__enter__()
        with feeding(tree.trunk, "mlflow"), feeding(tree.branch("end"), "wandb"):
            pass
    assert not (tree.trunk.path / "trackers/wandb").exists()  # there was nothing to keep


def test_what_a_tracker_raises_is_one_line_and_it_is_closed(tree, monkeypatch):
    sink = Listed()

    def refuse(step, values):
        raise ConnectionError("no route to host\nand a page of details")

    sink.log = refuse
    monkeypatch.setattr(feed_module, "open_sink", lambda tracker, node: sink)
    with (
        pytest.raises(TrackerError, match=r"^wandb: no route to host$"),
        feeding(tree.trunk, "wandb") as feed,
    ):
        feed.send()
    assert sink.closed


def test_a_package_that_a_store_needs_besides_is_named(tree, monkeypatch):
    def lacking(tracker, node):
        raise ModuleNotFoundError("No module named 'sqlalchemy'", name="sqlalchemy")

    monkeypatch.setattr(feed_module, "open_sink", lacking)
    with pytest.raises(TrackerError, match=r"^mlflow: needs sqlalchemy\. pip install sqlalchemy$"):
        feeding(tree.trunk, "mlflow").__enter__()
