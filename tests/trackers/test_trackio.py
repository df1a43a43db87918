"""trackio's local store has each step once, with the record's values, and no server is started."""

import sys

import pytest

pytest.importorskip("trackio")

from riverrun.trackers import feeding, tracked


@pytest.fixture(autouse=True)
def store(tmp_path, monkeypatch):
    """An empty store: its place was read from the environment when the package was imported."""
    import trackio

    for name, module in list(sys.modules.items()):
        if name.partition(".")[0] == "trackio" and hasattr(module, "TRACKIO_DIR"):
            monkeypatch.setattr(module, "TRACKIO_DIR", tmp_path / "trackio")
    return trackio.Api()


def rows(node):
    from trackio.sqlite_storage import SQLiteStorage

    found = {}
    for log in SQLiteStorage.get_logs("riverrun", tracked(node).id):
        step = log.pop("step")
        assert step not in found
        found[step] = {key: value for key, value in log.items() if key != "timestamp"}
    return found


def send(node):
    with feeding(node, "trackio") as feed:
        return feed.send()


def test_every_value_is_there_at_its_step_under_its_key(tree, expected, capsys):
    for node in tree.nodes():
        assert send(node) == len(expected(node))
        assert rows(node) == expected(node)
    assert capsys.readouterr().out == ""


def test_the_run_says_which_node_it_is(tree, store):
    branch = tree.branch("end")
    send(branch)
    (run,) = store.runs("riverrun")
    assert run.name == tracked(branch).id
    assert run.config["_Group"] == "small"
    assert tracked(branch).configuration.items() <= run.config.items()


def test_a_resume_goes_on_with_the_same_run_and_what_it_does_not_have(tree, store, expected, monkeypatch):
    import trackio

    trunk, calls, log = tree.trunk, [], trackio.Run.log
    monkeypatch.setattr(
        trackio.Run, "log", lambda run, values, step: calls.append(step) or log(run, values, step)
    )
    whole = trunk.metrics_path.read_bytes()
    later = trunk.evaluations_path.read_bytes()
    trunk.evaluations_path.unlink()
    trunk.metrics_path.write_bytes(b"".join(whole.splitlines(keepends=True)[:6]))
    assert send(trunk) == 6
    trunk.metrics_path.write_bytes(whole)
    trunk.evaluations_path.write_bytes(later)
    send(trunk)
    assert send(trunk) == 0
    assert calls == list(expected(trunk))
    assert len(store.runs("riverrun")) == 1
    assert rows(trunk) == expected(trunk)


def test_it_stands_beside_a_run_of_the_program_s_own(tree, store, expected):
    import trackio

    own = trackio.init("mine", embed=False, auto_log_cpu=False, auto_log_gpu=False)
    send(tree.trunk)
    trackio.log({"still": 1.0})
    trackio.finish()
    from trackio.sqlite_storage import SQLiteStorage

    assert [log["still"] for log in SQLiteStorage.get_logs("mine", own.name)] == [1.0]
    assert rows(tree.trunk) == expected(tree.trunk)
