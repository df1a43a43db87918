"""`riverrun plan`: a dry run whose numbers are those of the real run."""

import json

import pytest

from riverrun.models import count_parameters
from riverrun.runs import Tree
from riverrun.train import load_recipe

# Wide enough that tensors, not their headers, make up a checkpoint.
WIDE = ("--set", "model.width=64", "--set", "model.layers=2")


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_its_numbers_are_those_of_the_run(optimizer, riverrun, here):
    settings = (*WIDE, "--set", f"optimizer.name={optimizer}", "--set", "checkpoints.keep=2")
    found = json.loads(riverrun("plan", "tiny.toml", "--until", "40 steps", "--json", *settings).out)
    ended = riverrun("train", "tiny.toml", "--run", "run", "--until", "40 steps", "--quiet", *settings)
    assert ended.code == 0
    node = Tree.open(here / "run").trunk
    counts = count_parameters(load_recipe(here / "tiny.toml", settings[1::2]).decoder(vocabulary=257))
    assert found["parameters"] == counts.total
    assert found["non_embedding_parameters"] == counts.non_embedding
    assert found["tokens_per_x"] == 20 * counts.non_embedding
    assert (found["step"], found["tokens"]) == (40, 40 * 4 * 16)
    assert found["memory"]["weights"] == 4 * counts.total
    assert found["memory"]["tracks"] == 2 * found["memory"]["weights"]
    for checkpoint in node.checkpoints():
        on_disk = sum(file.stat().st_size for file in checkpoint.path.iterdir())
        assert found["memory"]["checkpoint"] == pytest.approx(on_disk, rel=0.03)
    # The latest ones stay besides the fork points, unless they are fork points themselves.
    assert 0 <= found["checkpoints_kept"] - len(node.checkpoints()) <= 2
    assert found["disk"] == found["memory"]["checkpoint"] * found["checkpoints_kept"]
    assert found["seconds"] > 0


def test_it_writes_nothing(riverrun, here, files_below):
    before = files_below(here)
    ended = riverrun("plan", "tiny.toml", "--until", "40 steps")
    assert (ended.code, ended.err) == (0, "")
    assert files_below(here) == before
    assert not (here / "runs").exists()


def test_it_says_what_a_person_wants_to_know(riverrun):
    printed = riverrun("plan", "tiny.toml", "--until", "40 steps").out
    rows = dict(line.split(maxsplit=1) for line in printed.splitlines())
    assert {"model", "1x", "until", "compute", "memory", "disk", "time"} == rows.keys()
    assert rows["model"].startswith("llama, 7.49k parameters")
    assert rows["until"].startswith("40 steps: 40 steps, 2.56k tokens")


def test_as_json_there_is_nothing_else_on_standard_output(riverrun):
    ended = riverrun("plan", "tiny.toml", "--json")
    assert json.loads(ended.out)["tokens"] >= json.loads(ended.out)["tokens_per_x"]
    assert ended.out.count("\n") == 1


def test_the_shipped_recipe_is_found_by_name(riverrun):
    assert riverrun("plan", "quickstart", "--until", "1 step").code == 0


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_with_a_history_its_numbers_are_those_of_the_run_too(dtype, riverrun, here):
    history = ("--set", "averaging.history.resolution=3", "--set", f"averaging.history.dtype={dtype}")
    settings = (*WIDE, *history, "--set", "checkpoints.keep=2")
    found = json.loads(riverrun("plan", "tiny.toml", "--until", "40 steps", "--json", *settings).out)
    ended = riverrun("train", "tiny.toml", "--run", "run", "--until", "40 steps", "--quiet", *settings)
    assert ended.code == 0
    kept = Tree.open(here / "run").trunk.checkpoints()
    files = {file.stat().st_ino for saved in kept for file in saved.path.glob("history/*-*/*")}
    latest_go = len({file.stat().st_ino for saved in kept[-2:] for file in saved.path.glob("history/*-*/*")})
    assert 0 <= found["blocks_kept"] - len(files) <= latest_go
    for saved in kept:
        oldest, *closed = sorted(saved.path.glob("history/*-*/*"))
        assert found["memory"]["weights"] == pytest.approx(oldest.stat().st_size, rel=0.03)  # always in fp32
        for file in closed:
            assert file.stat().st_size == pytest.approx(_block(found, dtype), rel=0.03)
        assert found["memory"]["blocks"] >= found["memory"]["weights"] + len(closed) * _block(found, dtype)
        own = [*saved.path.iterdir(), *(saved.path / "history/open").iterdir()]
        on_disk = sum(file.stat().st_size for file in own if file.is_file())
        assert found["memory"]["checkpoint"] == pytest.approx(on_disk, rel=0.03)
    assert found["memory"]["tracks"] == 3 * found["memory"]["weights"]  # two averages and the open block
    assert found["disk"] == found["memory"]["checkpoint"] * found["checkpoints_kept"] + found["block_disk"]
    sizes = {
        file.stat().st_ino: file.stat().st_size for saved in kept for file in saved.path.glob("history/*-*/*")
    }
    spare = (found["blocks_kept"] - len(files)) * _block(found, dtype)
    assert found["block_disk"] == pytest.approx(sum(sizes.values()) + spare, rel=0.05)


def _block(found, dtype):
    """The size of a closed block that is not the oldest."""
    return found["memory"]["weights"] // (1 if dtype == "float32" else 2)


def test_with_a_history_it_says_what_that_takes(riverrun):
    asked = ("plan", "tiny.toml", "--until", "40 steps", "--set", "averaging.history.resolution=3")
    rows = dict(line.split(maxsplit=1) for line in riverrun(*asked).out.splitlines())
    found = json.loads(riverrun(*asked, "--json").out)
    closed = found["memory"]["blocks"] // found["memory"]["weights"]  # in fp32 all are of one size
    assert f"in host memory: at most {closed} closed blocks of " in rows["history"]
    assert rows["history"].endswith("in float32; suffixes from 0.02 of the run on come within 12.5%")
    assert "2 averages and an open block" in rows["memory"]
    assert f", {found['blocks_kept']} blocks that they share, " in rows["disk"]
    spilled = riverrun(
        *asked, "--set", "averaging.history.spill=true", "--set", "averaging.history.dtype=bfloat16"
    )
    assert "on the run's disk: " in spilled.out
    assert "in bfloat16; " in spilled.out


def test_a_history_takes_the_same_memory_however_long_the_run(riverrun):
    def memory(until):
        asked = ("plan", "tiny.toml", "--until", until, "--json", "--set", "averaging.history.resolution=4")
        return json.loads(riverrun(*asked).out)["memory"]

    assert memory("10 steps") == memory("1000000 steps")
