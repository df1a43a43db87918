"""Two processes or more that train together, on the CPU."""

import copy
import sys
from pathlib import Path

import pytest
import torch

from riverrun.runs import Tree
from riverrun.runs.metrics import read_records
from riverrun.train import parse_recipe

sys.path.insert(0, str(Path(__file__).parent))  # where the ranks' processes find it, too

from rank_processes import World, train_as_rank

TINY = {
    "model": {"family": "llama", "layers": 2, "width": 16, "heads": 2, "context": 16, "tied": True},
    "batch": {"sequences": 6},
    "optimizer": {"peak_lr": 1e-2},
    "schedule": {"kind": "inverse-sqrt", "warmup": "5 steps", "offset": "20 steps"},
    "averaging": {"tracks": ["half-life:25"], "history": {"resolution": 2}},
    "readouts": {"first": "8 steps", "ratio": 2.0, "sequences": 8},
    "checkpoints": {"first": "8 steps", "ratio": 2.0, "every": "100 steps", "keep": 9},
    "metrics": {"every": 1},
    "engine": {"device": "cpu", "precision": "fp32", "threads": 1, "parallel": "fsdp"},
}


@pytest.fixture(scope="session")
def tiny_recipe():
    """A function of overrides ("optimizer.name=muon", ...) that gives a recipe of a few thousand parameters."""

    def make(*overrides):
        return parse_recipe(copy.deepcopy(TINY), overrides)

    return make


@pytest.fixture
def start():
    """A function that starts ranks at some work, `start(work, *arguments, size=2)`; none outlives its test."""
    worlds = []

    def begin(work, *arguments, size=2, kept_here=True):
        worlds.append(World(work, arguments, size, kept_here))
        return worlds[-1]

    yield begin
    for world in worlds:
        world.close()


@pytest.fixture
def train_on(start):
    """A function that trains on several ranks: (step, exit code), the same for all of them."""

    def run(recipe, folder, until, size=2):
        first, *others = start(train_as_rank, recipe.to_dict(), folder, until, size=size).results()
        assert all(other == first for other in others)
        return first

    return run


@pytest.fixture
def losses():
    """The training losses of a run, by update; the record must have each."""

    def read(run):
        records = read_records(run / "trunk/metrics.jsonl")
        assert [record["step"] for record in records] == list(range(1, len(records) + 1))
        return torch.tensor([record["loss/train"] for record in records], dtype=torch.float64)

    return read


def saved_at(run, step):
    return {checkpoint.step: checkpoint for checkpoint in Tree.open(run).trunk.checkpoints()}[step]


def tensors_of(saved):
    """Every tensor of a checkpoint, those of its history too, whole; the checkpoint must be good."""
    saved.verify()
    found = {}
    for part in sorted({name.rpartition("/")[0] for name in saved.manifest["files"]}):
        names = saved.names(part)
        tensors = {name: torch.empty(shape, dtype=dtype) for name, (shape, dtype) in names.items()}
        saved.load_some(tensors, part)
        found |= {f"{part}/{name}": tensor for name, tensor in tensors.items()}
    return found


@pytest.fixture(scope="session")
def tensors():
    """Name -> tensor of all that a run's checkpoint at a step holds."""
    return lambda run, step: tensors_of(saved_at(run, step))


@pytest.fixture(scope="session")
def run_bits():
    """Everything of a run that must not depend on how it was interrupted: tensors, counters, metrics."""

    def read(run, step):
        saved = saved_at(run, step)
        counters = {key: value for key, value in saved.manifest.items() if key not in ("files", "sha256")}
        bits = {name: tensor.numpy().tobytes() for name, tensor in tensors_of(saved).items()}
        return bits, counters, (run / "trunk/metrics.jsonl").read_bytes()

    return read
