import copy

import pytest
import torch

from riverrun.train import parse_recipe

TINY = {
    "model": {"family": "llama", "layers": 1, "width": 16, "heads": 2, "context": 16, "tied": True},
    "batch": {"sequences": 4},
    "optimizer": {"peak_lr": 1e-2},
    "schedule": {"kind": "inverse-sqrt", "warmup": "5 steps", "offset": "20 steps"},
    "averaging": {"tracks": ["half-life:25", "half-life:6.25"]},
    "readouts": {"first": "8 steps", "ratio": 2.0, "sequences": 8},
    "checkpoints": {"first": "10 steps", "ratio": 1.5, "every": "13 steps"},
    "metrics": {"every": 3},
    "engine": {"device": "cpu", "threads": 1},
}


@pytest.fixture(scope="session")
def tiny_recipe():
    """A function of overrides ("optimizer.name=muon", ...) that gives a recipe of a few thousand parameters."""

    def make(*overrides):
        return parse_recipe(copy.deepcopy(TINY), overrides)

    return make


@pytest.fixture
def run_bits():
    """Everything of a run that must not depend on how it was interrupted: tensors, counters, metrics."""

    def read(run, step):
        from riverrun.runs import Tree

        node = Tree.open(run).trunk
        saved = {checkpoint.step: checkpoint for checkpoint in node.checkpoints()}[step]
        saved.verify()
        tensors = {name: torch.empty(shape, dtype=dtype) for name, (shape, dtype) in saved.names().items()}
        saved.load(tensors)
        counters = {
            key: saved.manifest[key] for key in ("step", "samples", "tokens", "skipped", "tracks", "data")
        }
        bits = {name: tensor.numpy().tobytes() for name, tensor in tensors.items()}
        return bits, counters, node.metrics_path.read_bytes()

    return read
