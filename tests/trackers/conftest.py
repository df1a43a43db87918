"""A small real run to track, trackers that stay on this machine, and their stores read back."""

import json
import os
import shutil
import socket

import pytest
import torch

from riverrun.runs import Tree
from riverrun.runs.metrics import read_records
from riverrun.train import parse_recipe, train
from riverrun.train.branch import plan_branch, train_branch
from riverrun.train.decay import Decay
from riverrun.units import Duration

TINY = {
    "model": {"family": "llama", "layers": 1, "width": 16, "heads": 2, "context": 16, "tied": True},
    "batch": {"sequences": 4},
    "optimizer": {"peak_lr": 1e-2},
    "schedule": {"kind": "inverse-sqrt", "warmup": "5 steps", "offset": "20 steps"},
    "averaging": {"tracks": ["half-life:25", "half-life:12.5"]},
    "readouts": {"first": "8 steps", "ratio": 2.0, "sequences": 8},
    "checkpoints": {"first": "10 steps", "ratio": 1.5, "every": "13 steps"},
    "metrics": {"every": 3},
    "engine": {"device": "cpu", "threads": 1},
}


@pytest.fixture(autouse=True)
def on_this_machine(tmp_path, monkeypatch):
    """No tracker has an account or a server, and none can be reached."""
    for name in list(os.environ):
        if name.startswith(("WANDB_", "MLFLOW_", "TRACKIO_")):
            monkeypatch.delenv(name)
    settings = {
        "WANDB_MODE": "offline",
        "WANDB_DIR": str(tmp_path),
        "WANDB_ERROR_REPORTING": "false",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "HF_HUB_OFFLINE": "1",
    }
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    connect = socket.socket.connect

    def connect_here(self, address):
        assert self.family == socket.AF_UNIX or address[0] in ("127.0.0.1", "::1"), address
        return connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", connect_here)


@pytest.fixture
def tiny_recipe():
    """A function of overrides that gives a recipe of a few thousand parameters."""
    return lambda *overrides: parse_recipe(json.loads(json.dumps(TINY)), overrides)


@pytest.fixture(scope="session")
def trained(tmp_path_factory):
    """A trunk at step 40 and a branch `end` that decays from there to step 60; not to be changed."""
    run = tmp_path_factory.mktemp("trained") / "small"
    before = torch.get_num_threads()
    train(parse_recipe(json.loads(json.dumps(TINY))), run, "40 steps")
    decay = Decay(length=Duration.parse("20 steps"))
    train_branch(plan_branch(Tree.open(run), decay=decay, name="end"))
    torch.set_num_threads(before)
    return run


@pytest.fixture
def tree(trained, tmp_path):
    """A copy of that run to do anything with, which no tracker has seen: its node.json files are of its own."""
    shutil.copytree(trained, tmp_path / "small")
    for path in (tmp_path / "small").rglob("node.json"):
        facts = json.loads(path.read_text())
        path.write_text(json.dumps(facts | {"created": tmp_path.name}))
    return Tree.open(tmp_path / "small")


@pytest.fixture
def expected():
    """A function that gives what a tracker must have of a node: {step: {key: value}}."""

    def read(node):
        rows = {}
        for record in read_records(node.metrics_path) + read_records(node.evaluations_path):
            rows.setdefault(record.pop("step"), {}).update(record)
        return dict(sorted(rows.items()))

    return read
