"""A local MLflow store has each step once, with the record's values, in one call each."""

import json

import pytest

pytest.importorskip("mlflow")
pytest.importorskip("sqlalchemy")
pytest.importorskip("alembic")

from mlflow import MlflowClient

from riverrun.runs import Tree
from riverrun.trackers import TrackerError, feeding, tracked


@pytest.fixture(scope="module")
def database(tmp_path_factory):
    return f"sqlite:///{tmp_path_factory.mktemp('mlflow')}/mlflow.db"


@pytest.fixture
def client(database, tmp_path, monkeypatch):
    """Of a store in a file, in which each test has an experiment of its own."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", database)
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", tmp_path.name)
    monkeypatch.chdir(tmp_path)  # where artifacts would go
    return MlflowClient()


@pytest.fixture
def run_of(client, tmp_path):
    """A function that gives the one run of a node."""

    def find(node):
        experiment = client.get_experiment_by_name(tmp_path.name)
        runs = client.search_runs([experiment.experiment_id])
        (found,) = (run for run in runs if run.data.tags["riverrun.id"] == tracked(node).id)
        return found

    return find


@pytest.fixture
def rows(client, run_of):
    """A function that gives {step: {key: value}} of a node; a step that is there twice, or is wrong, fails."""

    def read(node):
        found, run = {}, run_of(node)
        for key in run.data.metrics:
            for metric in client.get_metric_history(run.info.run_id, key):
                assert key not in found.setdefault(metric.step, {})
                found[metric.step][key] = metric.value
        assert all(row.pop("step") == step for step, row in found.items())
        return dict(sorted(found.items()))

    return read


def send(node):
    with feeding(node, "mlflow") as feed:
        return feed.send()


def test_every_value_is_there_at_its_step_under_its_key(client, tree, rows, expected):
    branch = tree.branch("end")
    assert send(branch) == len(expected(branch))
    assert rows(branch) == expected(branch)


def test_the_run_says_which_node_it_is(client, tree, run_of):
    branch = tree.branch("end")
    send(branch)
    run = run_of(branch)
    assert (run.info.run_name, run.info.status) == ("small/end", "FINISHED")
    assert run.data.tags["riverrun.group"] == "small"
    for key, value in tracked(branch).configuration.items():
        assert run.data.params[key] == (value if isinstance(value, str) else json.dumps(value))


def test_the_experiment_is_the_tree_where_none_is_named(client, tree, monkeypatch):
    monkeypatch.delenv("MLFLOW_EXPERIMENT_NAME")
    with feeding(tree.branch("end"), "mlflow") as feed:
        feed.send()
        assert feed.sink.look.startswith("mlflow server --backend-store-uri sqlite:///")
    assert len(client.search_runs([client.get_experiment_by_name("small").experiment_id])) == 1


def test_a_tree_under_another_name_goes_on_where_its_experiment_is_named(
    client, tree, expected, tmp_path, monkeypatch
):
    send(tree.branch("end"))
    renamed = Tree(tree.path.rename(tmp_path / "renamed")).branch("end")
    assert send(renamed) == 0
    monkeypatch.delenv("MLFLOW_EXPERIMENT_NAME")
    assert send(renamed) == len(expected(renamed))
    assert client.get_experiment_by_name("renamed") is not None


def test_a_resume_goes_on_with_the_same_run_and_what_it_does_not_have(
    client, tree, rows, expected, monkeypatch
):
    trunk, calls, log_batch = tree.trunk, [], MlflowClient.log_batch

    def noted(self, run_id, metrics=(), **others):
        if metrics:
            (step,) = {metric.step for metric in metrics}
            calls.append(step)
        return log_batch(self, run_id, metrics, **others)

    monkeypatch.setattr(MlflowClient, "log_batch", noted)
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
    assert rows(trunk) == expected(trunk)


def test_a_server_that_does_not_answer_is_told(tree, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with pytest.raises(TrackerError, match=r"^mlflow: .*127\.0\.0\.1"):
        send(tree.trunk)
