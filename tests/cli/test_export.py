"""`riverrun export`: what is written is the readout, for others to load."""

import json

import pytest
import torch

from riverrun.models.hugging_face import load_pretrained
from riverrun.runs import Tree
from riverrun.train.restore import restore_readout


@pytest.fixture
def restored(run):
    return lambda name: restore_readout(Tree.open(run).trunk, name)


@pytest.mark.parametrize("readout", ["raw", "ema-25"])
def test_transformers_loads_it_and_gives_the_same_logits(readout, riverrun, restored, here):
    transformers = pytest.importorskip("transformers")
    ended = riverrun("export", "run", "--readout", readout, "--out", "exported")
    assert (ended.code, ended.out) == (0, "exported\n")
    own = restored(readout)
    theirs = transformers.LlamaForCausalLM.from_pretrained("exported", attn_implementation="eager").eval()
    torch.manual_seed(0)
    tokens = torch.randint(own.model.config.vocabulary, (3, 16))
    with torch.no_grad():
        torch.testing.assert_close(theirs(tokens).logits, own.model(tokens), rtol=0, atol=1e-4)
    assert theirs.config.eos_token_id == own.tokenizer.end_of_text
    tokenizer = transformers.AutoTokenizer.from_pretrained("exported")
    text = "Fellow citizens of the Senate — and 日本"
    assert tokenizer.encode(text) == list(own.tokenizer.encode(text))
    assert tokenizer.decode(tokenizer.encode(text)) == text


def test_without_a_name_it_lies_in_the_run_under_readout_and_step(riverrun, run):
    assert riverrun("export", "run", "--readout", "ema-25", "--at", 10).out == (
        "run/trunk/readouts/ema-25-00000010\n"
    )
    best = json.loads(riverrun("tree", "run", "--json").out)["nodes"][0]["best"]["readout"]
    assert riverrun("export", "run").out == f"run/trunk/readouts/{best}-00000040\n"
    assert load_pretrained(run / f"trunk/readouts/{best}-00000040")[0].width == 16


def test_a_branch_is_exported_into_its_own_folder(riverrun, run):
    riverrun("branch", "run", "--length", "20 steps", "--name", "end", "--quiet")
    ended = riverrun("export", "run", "--node", "end", "--readout", "raw")
    assert ended.out == "run/branches/end/readouts/raw-00000060\n"
    own = restore_readout(Tree.open(run).branch("end"), "raw").model.state_dict()
    _, model = load_pretrained(run / "branches/end/readouts/raw-00000060")
    assert all(torch.equal(tensor, own[name]) for name, tensor in model.state_dict().items())


def test_half_the_bytes_in_bfloat16(riverrun, restored, here):
    riverrun("export", "run", "--readout", "raw", "--out", "exported", "--dtype", "bfloat16")
    _, model = load_pretrained(here / "exported")
    raw = restored("raw").model.state_dict()
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, raw[name].bfloat16().float())
    size = sum(tensor.numel() for tensor in raw.values())
    assert 2 * size <= (here / "exported/model.safetensors").stat().st_size < 3 * size


def test_what_exists_is_not_overwritten(riverrun, run, here, files_below):
    (here / "there").mkdir()
    (here / "there/thesis.tex").write_text("years of work")
    before = files_below(here)
    for path in ("there", "tiny.toml", "run"):
        complaint = riverrun("export", "run", "--out", path).complaint
        assert complaint == f"--out {path}: exists already; name another directory or remove it"
    assert files_below(here) == before
    assert riverrun("export", "run").code == 0
    assert "exists already" in riverrun("export", "run").complaint


def test_a_place_that_cannot_be_written_is_named_with_the_way_out(riverrun, run):
    complaint = riverrun("export", "run", "--out", "tiny.toml/below").complaint
    assert complaint.startswith("--out tiny.toml/below: cannot be written")
    assert "another directory" in complaint


def test_an_unknown_readout_or_position_is_named(riverrun, run, files_below):
    before = files_below(run)
    assert (
        "no readout 'ema-30'; there are raw, ema-25"
        in riverrun("export", "run", "--readout", "ema-30").complaint
    )
    assert "no checkpoint at step 7; there are: 10, 15" in riverrun("export", "run", "--at", 7).complaint
    assert files_below(run) == before


def test_a_full_disk_leaves_nothing_half_written(with_small_files, run, here):
    ended = with_small_files(9_000, "export", "run", "--out", "exported")
    assert "exported" in ended.complaint
    assert "File too large" in ended.complaint
    assert sorted(item.name for item in here.iterdir()) == ["run", "tiny.toml"]


def written(directory):
    return load_pretrained(directory)[1].state_dict()


def same_bits(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize("readout", ["tail-0.2", "tail:0.2", "decay-like:cosine:0.2", "uniform-25"])
def test_with_a_history_any_average_is_a_readout_at_any_position(readout, riverrun, run_with_history, here):
    name = readout.replace(":", "-")
    spec = {"tail-0.2": "tail:0.2", "uniform-25": "uniform:from=25"}.get(readout, readout)
    for number, (options, where) in enumerate(
        {
            (): f"trunk/readouts/{name}-00000060",
            ("--at", 50): f"trunk/readouts/{name}-00000050",
            ("--node", "end"): f"branches/end/readouts/{name}-00000054",
        }.items()
    ):
        assert riverrun("export", "run", "--readout", readout, *options).out == f"run/{where}\n"
        averaged = ("--profile", spec, *options, "--out", f"averaged-{number}")
        assert riverrun("average", "run", *averaged).code == 0
        assert same_bits(written(run_with_history / where), written(f"averaged-{number}"))


def test_with_a_history_a_track_is_a_readout_between_checkpoints_too(riverrun, run_with_history):
    riverrun("average", "run", "--profile", "half-life:6.25", "--at", 45, "--out", "averaged")
    ended = riverrun("export", "run", "--readout", "ema-6.25", "--at", 45)
    assert ended.out == "run/trunk/readouts/ema-6.25-00000045\n"
    assert same_bits(written("averaged"), written(run_with_history / "trunk/readouts/ema-6.25-00000045"))
    assert "no checkpoint at step 45" in riverrun("export", "run", "--readout", "raw", "--at", 45).complaint


def test_without_a_history_the_positions_of_a_track_are_named(riverrun, run, files_below):
    before = files_below(run)
    for readout in ("ema-25", "tail:0.2"):
        complaint = riverrun("export", "run", "--readout", readout, "--at", 33).complaint
        assert "there are raw, ema-25, ema-6.25 at steps 10, 15, 23, 34, 39, 40, and no history" in complaint
    assert files_below(run) == before
