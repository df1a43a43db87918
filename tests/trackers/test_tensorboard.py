"""TensorBoard's own reader finds each step once, with the record's values, whatever happened to the writer."""

import json

import numpy as np
import pytest

pytest.importorskip("tensorboard")

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from riverrun.forecast.exports import read_records
from riverrun.trackers import feeding, tracked


def sent(node):
    with feeding(node, "tensorboard") as feed:
        return feed.send()


def accumulated(node):
    everything = {"scalars": 0, "tensors": 0}
    return EventAccumulator(str(node.path / "tensorboard"), size_guidance=everything).Reload()


def rows(node):
    """{step: {key: value}}; a step that is there twice fails."""
    found, events = {}, accumulated(node)
    for key in events.Tags()["scalars"]:
        for event in events.Scalars(key):
            assert key not in found.setdefault(event.step, {})
            found[event.step][key] = event.value
    return dict(sorted(found.items()))


def in_32_bits(expected):
    return {
        step: {key: float(np.float32(value)) for key, value in row.items()} for step, row in expected.items()
    }


def test_every_value_is_there_at_its_step_under_its_key(tree, expected):
    for node in tree.nodes():
        assert sent(node) == len(expected(node))
        assert rows(node) == in_32_bits(expected(node))


def test_the_configuration_is_a_text(tree):
    branch = tree.branch("end")
    sent(branch)
    events = accumulated(branch)
    (event,) = events.Tensors("configuration/text_summary")
    text = event.tensor_proto.string_val[0].decode()
    for key, value in tracked(branch).configuration.items():
        assert f"| {key} | {json.dumps(value)} |" in text


def test_sent_again_only_what_is_new_is_written(tree, expected):
    trunk = tree.trunk
    whole = trunk.metrics_path.read_bytes()
    lines = whole.splitlines(keepends=True)
    trunk.evaluations_path.unlink()
    trunk.metrics_path.write_bytes(b"".join(lines[:6]))
    assert sent(trunk) == 6
    trunk.metrics_path.write_bytes(whole)
    assert sent(trunk) == len(lines) - 6
    files = sorted((trunk.path / "tensorboard").iterdir())
    assert sent(trunk) == 0
    assert sorted((trunk.path / "tensorboard").iterdir()) == files
    assert rows(trunk) == in_32_bits(expected(trunk))
    assert len(accumulated(trunk).Tensors("configuration/text_summary")) == 1


@pytest.mark.parametrize("left", [0, 40, 333, 900])
def test_what_a_kill_kept_from_the_disk_is_written_by_the_next_feed(left, tree, expected):
    trunk = tree.trunk
    sent(trunk)
    (file,) = (trunk.path / "tensorboard").iterdir()
    file.write_bytes(file.read_bytes()[: file.stat().st_size * left // 1000])
    assert 0 < sent(trunk) <= len(expected(trunk))
    assert rows(trunk) == in_32_bits(expected(trunk))


def test_forecast_reads_back_what_was_written(tree):
    for node in tree.nodes():
        sent(node)
        (back,) = read_records(node.path / "tensorboard")
        (own,) = read_records(node.metrics_path)
        assert np.array_equal(back.steps, own.steps)
        np.testing.assert_allclose(back.losses, own.losses, rtol=1e-7)
        np.testing.assert_allclose(back.lr, own.lr, rtol=1e-7)
