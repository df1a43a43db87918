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


GPUS = ("--gpus", "8", "--gpu", "h100")


@pytest.mark.parametrize(
    "history", [(), ("--set", "averaging.history.resolution=3")], ids=["plain", "history"]
)
def test_on_many_gpus_the_checkpoints_are_those_of_a_real_run(history, riverrun, here):
    settings = (*WIDE, *history)
    found = json.loads(riverrun("plan", "tiny.toml", *GPUS, "--until", "40 steps", "--json", *settings).out)
    ended = riverrun("train", "tiny.toml", "--run", "run", "--until", "40 steps", "--quiet", *settings)
    assert ended.code == 0
    kept = Tree.open(here / "run").trunk.checkpoints()
    for saved in kept:
        files = [*saved.path.iterdir(), *saved.path.glob("history/open/*")]
        on_disk = sum(file.stat().st_size for file in files if file.is_file())
        assert found["storage"]["checkpoint"] == pytest.approx(on_disk, rel=0.03)
    blocks = {
        file.stat().st_ino: file.stat().st_size for saved in kept for file in saved.path.glob("history/*-*/*")
    }
    assert found["storage"]["blocks"] >= 0.97 * sum(blocks.values())
    assert (found["step"], found["tokens"]) == (40, 40 * 4 * 16)


def test_on_many_gpus_it_agrees_with_the_plan_for_this_machine(riverrun):
    asked = ("plan", "tiny.toml", "--until", "40 steps", "--json", "--set", "averaging.history.resolution=3")
    here, there = json.loads(riverrun(*asked).out), json.loads(riverrun(*asked, *GPUS).out)
    for name in ("step", "tokens", "parameters", "non_embedding_parameters", "tokens_per_x", "flops"):
        assert here[name] == there[name]
    for name in ("weights", "gradients", "optimizer", "tracks", "state"):
        assert here["memory"][name] == there["ddp"]["memory"][name]
    assert here["memory"]["blocks"] == there["ddp"]["blocks"]
    assert here["checkpoints_kept"] == there["storage"]["kept"]
    assert here["disk"] == there["storage"]["disk"]


def test_on_many_gpus_no_corpus_need_be_there(riverrun, here):
    ended = riverrun("plan", "anytime-150m", *GPUS, "--until", "32x")
    assert (ended.code, ended.err) == (0, "")
    assert "a vocabulary of 32,128, from model.embedding_rows, for corpora/c4 is not there" in ended.out
    given = riverrun("plan", "wsds-1.2b", *GPUS, "--vocabulary", "32000")
    assert "a vocabulary of 32,000, as --vocabulary says" in given.out
    assert [item.name for item in here.iterdir()] == ["tiny.toml"]
    complaint = riverrun("plan", "wsds-1.2b", *GPUS).complaint
    assert complaint.startswith("data.corpus: got 'corpora/dclm', which is not there")
    assert "--vocabulary 32000" in complaint


def test_a_corpus_that_is_there_gives_the_vocabulary(riverrun):
    assert "a vocabulary of 257, that of bundled" in riverrun("plan", "tiny.toml", *GPUS).out


def test_on_many_gpus_it_says_what_a_person_wants_to_know(riverrun):
    asked = ("plan", "anytime-150m", *GPUS, "--until", "32x")
    printed = riverrun(*asked).out
    rows = dict(line.split(maxsplit=1) for line in printed.splitlines() if line and line[0] != " ")
    assert rows["until"].startswith("32x: 400,000 steps, 105B tokens, batches of 256 x 1,024")
    assert rows["chosen"] == "ddp, for it fits: batch.microbatch=32, 1 pass an update"
    assert {"GPUs", "host", "checkpoint", "disk", "time", "cost"} < rows.keys()
    assert {"change", "note"}.isdisjoint(rows)
    for assumed in ("40% model FLOPs utilisation", "$3.00 a GPU-hour", "2 GB/s a node", "8 GPUs a node"):
        assert assumed in rows["assumed"]
    stated = riverrun(
        *asked,
        *("--utilisation", "0.5", "--price", "2", "--storage-bandwidth", "1 GB/s", "--gpus-per-node", "4"),
        *("--vocabulary", "32100"),
    ).out
    assert "assumed    a vocabulary of 32,100, as --vocabulary says\n" in stated
    assert "at $2.00" in stated
    assert "in 2 nodes" in stated


def test_where_nothing_fits_it_says_what_to_change(riverrun):
    wide = (
        "model.width=8192",
        "model.heads=64",
        "model.layers=80",
        "model.context=4096",
        "batch.sequences=1024",
    )
    settings = [word for setting in wide for word in ("--set", setting)]
    asked = ("plan", "tiny.toml", "--gpu", "h100", "--until", "1 step", *settings)
    printed = riverrun(*asked, "--gpus", "1").out
    assert "chosen     none: does not fit on 1 x h100\n" in printed
    assert "change     engine.recompute=true and --gpus " in printed
    found = json.loads(riverrun(*asked, "--gpus", "1", "--json").out)
    assert found["chosen"] is None
    assert found["advice"]
    idle = json.loads(riverrun(*asked, "--gpus", "4096", "--json").out)
    assert len(idle["remarks"]) == 1


def test_as_json_a_plan_for_many_gpus_is_one_line(riverrun):
    ended = riverrun("plan", "tiny.toml", *GPUS, "--json")
    assert ended.out.count("\n") == 1
    assert json.loads(ended.out)["chosen"] == "ddp"


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (("--gpu", "h100"), "--gpu: got 'h100' without --gpus"),
        (("--vocabulary", "300"), "--vocabulary: got 300 without --gpus"),
        (("--storage-bandwidth", "1 GB/s"), "--storage-bandwidth: got '1 GB/s' without --gpus"),
        (("--gpus", "8"), "--gpu: missing; a plan for --gpus 8 needs the kind, one of b200, h200"),
        (("--gpus", "8", "--gpu", "h1000"), "did you mean 'h100'?"),
        (("--gpus", "0", "--gpu", "h100"), "--gpus: got 0; must be from 1 to"),
        ((*GPUS, "--utilisation", "40"), "--utilisation: got 40; must be above 0 and at most 1"),
        ((*GPUS, "--price", "-1"), "--price: got -1; must be dollars per GPU and hour"),
        ((*GPUS, "--vocabulary", "0"), "--vocabulary: got 0; must be at least 1 token"),
        ((*GPUS, "--storage-bandwidth", "2"), "--storage-bandwidth: got '2'; must be above 0 and written"),
        ((*GPUS, "--set", "engine.precision=fp32"), 'engine.precision: got "fp32"; plan --gpus counts bf16'),
        (
            (*GPUS, "--set", "model.attention=plain"),
            'model.attention: got "plain"; plan --gpus counts the fused',
        ),
    ],
)
def test_wrong_options_are_told_in_one_line(options, complaint, riverrun):
    assert complaint in riverrun("plan", "tiny.toml", *options).complaint
