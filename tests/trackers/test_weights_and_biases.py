"""Weights & Biases offline: the file that `wandb sync` would upload has each step once, as one row."""

import csv
import json
import struct
from types import SimpleNamespace

import numpy as np
import pytest

pytest.importorskip("wandb")

import wandb
from wandb.proto.wandb_internal_pb2 import Record

from riverrun.forecast.exports import read_records
from riverrun.trackers import TrackerError, feeding, tracked

BLOCK, HEADER = 32768, 7
"""Of the log format of LevelDB, in which W&B keeps records."""


def records_in(path):
    content = path.read_bytes()
    at, record = len(":W&B") + 3, b""
    while at + HEADER <= len(content):
        if BLOCK - at % BLOCK < HEADER:
            at += BLOCK - at % BLOCK
            continue
        _, length, kind = struct.unpack_from("<IHB", content, at)
        record += content[at + HEADER : at + HEADER + length]
        at += HEADER + length
        if kind in (1, 4):  # a whole record, or the last part of one
            yield Record.FromString(record)
            record = b""


def kept(folder, what):
    """All records of a kind in a folder's offline runs, in the order of their making."""
    wandb.teardown()  # until then files are written in the background
    files = sorted(folder.glob("wandb/offline-run-*/*.wandb"), key=lambda file: file.stat().st_mtime_ns)
    records = [record for file in files for record in records_in(file)]
    return [getattr(record, what) for record in records if record.WhichOneof("record_type") == what]


def history(folder):
    """{step: {key: value}}; a step that is there twice fails."""
    rows = {}
    for row in kept(folder, "history"):
        values = {"/".join(item.nested_key) or item.key: json.loads(item.value_json) for item in row.item}
        step = values["_step"]
        assert step not in rows
        rows[step] = {key: value for key, value in values.items() if not key.startswith("_")}
    return rows


@pytest.fixture(autouse=True)
def anew(on_this_machine):
    """W&B reads the environment once, so what is left of other tests is taken down."""
    wandb.teardown()
    yield
    wandb.teardown()


@pytest.fixture
def calls(monkeypatch):
    """The calls of `log` on real runs: (run's id, step)."""
    made, log = [], wandb.Run.log

    def noted(run, data, step=None, commit=None):
        made.append((run.id, step))
        return log(run, data, step=step, commit=commit)

    monkeypatch.setattr(wandb.Run, "log", noted)
    return made


def send(node):
    with feeding(node, "wandb") as feed:
        return feed.send()


def test_one_call_and_one_row_for_each_step_under_the_keys_of_the_record(tree, tmp_path, expected, calls):
    branch = tree.branch("end")
    rows = expected(branch)
    assert send(branch) == len(rows)
    assert calls == [(tracked(branch).id, step) for step in rows]
    assert history(tmp_path) == rows


def test_the_run_says_which_node_it_is(tree, tmp_path, monkeypatch):
    branch = tree.branch("end")
    send(branch)
    (run,) = kept(tmp_path, "run")
    assert (run.run_id, run.run_group, run.display_name) == (tracked(branch).id, "small", "small/end")
    assert run.project == "riverrun"
    configuration = {item.key: json.loads(item.value_json) for item in run.config.update}
    assert tracked(branch).configuration.items() <= configuration.items()


def test_a_resume_goes_on_with_the_same_run_and_what_it_does_not_have(tree, tmp_path, expected, calls):
    trunk = tree.trunk
    whole = trunk.metrics_path.read_bytes()
    trunk.metrics_path.write_bytes(b"".join(whole.splitlines(keepends=True)[:6]))
    trunk.evaluations_path.rename(tmp_path / "later")
    assert send(trunk) == 6
    (tmp_path / "later").rename(trunk.evaluations_path)
    trunk.metrics_path.write_bytes(whole)
    send(trunk)
    assert {run.run_id for run in kept(tmp_path, "run")} == {tracked(trunk).id}
    assert history(tmp_path) == expected(trunk)
    made = list(calls)
    assert send(trunk) == 0
    assert calls == made
    assert len(kept(tmp_path, "run")) == 2  # nothing new makes no run


def test_online_what_the_server_has_is_not_sent_twice(tree, monkeypatch):
    given = []
    online = SimpleNamespace(
        disabled=False,
        offline=False,
        url="http://127.0.0.1/run",
        starting_step=10,  # a server that has step 9
        log=lambda values, step, commit: given.append(step),
        finish=lambda: None,
    )
    monkeypatch.setattr(wandb, "init", lambda **settings: online)
    with feeding(tree.trunk, "wandb") as feed:
        feed.send()
        assert (feed.last, feed.sink.look) == (40, online.url)
    assert given[0] == 12
    assert given[-1] == 40


def test_another_project_is_sent_all(tree, tmp_path, expected, monkeypatch):
    branch = tree.branch("end")
    send(branch)
    monkeypatch.setenv("WANDB_PROJECT", "another")
    wandb.teardown()
    assert send(branch) == len(expected(branch))
    assert [run.project for run in kept(tmp_path, "run")] == ["riverrun", "another"]


def test_it_stands_beside_a_run_of_the_program_s_own(tree, tmp_path, capsys):
    with wandb.init(project="mine", settings=wandb.Settings(silent=True)) as own:
        capsys.readouterr()
        send(tree.branch("end"))
        assert wandb.run is own
        own.log({"still": 1.0})
    assert {"still": 1.0} in [
        {
            item.nested_key[0]: json.loads(item.value_json)
            for item in row.item
            if item.nested_key[0] == "still"
        }
        for row in kept(tmp_path, "history")
    ]
    assert capsys.readouterr() == ("", "")


def test_forecast_reads_back_what_the_history_exports(tree, tmp_path):
    trunk = tree.trunk
    send(trunk)
    rows = history(tmp_path)
    keys = sorted({key for row in rows.values() for key in row})
    with open(tmp_path / "history.csv", "w", newline="") as file:
        writer = csv.DictWriter(file, ["_step", *keys])  # as run.history() gives it
        writer.writeheader()
        writer.writerows({"_step": step, **row} for step, row in rows.items())
    (back,) = read_records(tmp_path / "history.csv")
    (own,) = read_records(trunk.metrics_path)
    for name in ("steps", "losses", "lr"):
        assert np.array_equal(getattr(back, name), getattr(own, name))


@pytest.mark.parametrize(("mode", "told"), [("disabled", "is disabled by WANDB_MODE"), ("online", "API key")])
def test_where_nothing_can_be_sent_it_is_told_and_nothing_counts_as_sent(
    mode, told, tree, tmp_path, monkeypatch
):
    monkeypatch.setenv("HOME", str(tmp_path))  # no login lies there
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("WANDB_MODE", mode)
    wandb.teardown()
    with pytest.raises(TrackerError, match=rf"^wandb: .*{told}"):
        send(tree.branch("end"))
    assert not (tree.branch("end").path / "trackers/wandb").exists()
