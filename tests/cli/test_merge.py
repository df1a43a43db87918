"""`riverrun merge`: what is merged, and what a user sees."""

import json
import os
import signal
import subprocess
import sys

import pytest
import torch
from safetensors.torch import load_file, save_file

from riverrun.models.hugging_face import load_pretrained

CHECKPOINTS = "run/trunk/checkpoints"


def checkpoint(step):
    return f"{CHECKPOINTS}/{step:08d}"


@pytest.fixture
def models(here):
    """Two Hugging Face directories, as `one` and `two`."""
    for number, name in enumerate(("one", "two")):
        (here / name).mkdir()
        save_file({"a": torch.full((6, 4), float(number))}, here / name / "model.safetensors")
        (here / name / "config.json").write_text('{"model_type": "any"}')
    return here


def test_the_output_is_the_average_and_the_last_line_says_where_it_is(riverrun, models):
    ended = riverrun("merge", "one", "two", "--out", "out", "--profile", "weights:0.25,0.75")
    assert (ended.code, ended.err) == (0, "")
    assert ended.out.startswith("out: 2 inputs merged at ")
    assert "GB/s in" in ended.out
    assert torch.equal(load_file(models / "out/model.safetensors")["a"], torch.full((6, 4), 0.75))


def test_a_dry_run_shows_the_plan_and_writes_nothing(riverrun, models, files_below):
    before = files_below(models)
    asked = (
        "merge",
        "one",
        "two",
        "--out",
        "out",
        "--profile",
        "weights:1,3",
        "--positions",
        "1000,2_000",
        "--dry-run",
    )
    ended = riverrun(*asked)
    assert ended.code == 0
    assert "0.25      " in ended.out
    assert f"{models}/two  step 2,000" in ended.out
    assert "note: the weights given sum to 4" in ended.out
    assert "1 tensors, F32" in ended.out
    plan = json.loads(riverrun(*asked, "--json").out)
    assert [(each["position"], each["weight"]) for each in plan["inputs"]] == [(1000, 0.25), (2000, 0.75)]
    assert plan["bytes_to_read"] == 2 * 96
    assert files_below(models) == before


def test_json_has_the_manifest(riverrun, models):
    printed = json.loads(riverrun("merge", "one", "two", "--out", "out", "--json").out)
    manifest = json.loads((models / "out/riverrun.json").read_text())
    assert printed.items() >= manifest.items()
    assert printed["out"] == "out"
    assert printed["gigabytes_per_second"] > 0


def test_a_terminal_s_absence_gives_lines_with_the_rate(riverrun, models, monkeypatch):
    monkeypatch.setattr("riverrun.cli.merge.MergeProgress.seconds_between_lines", 0.0)
    ended = riverrun("merge", "one", "two", "--out", "out")
    assert ended.err.startswith("merging ")
    assert "GB/s" in ended.err
    assert riverrun("merge", "one", "two", "--out", "quiet", "--quiet").err == ""


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ((), "inputs: got none"),
        (("one", "three"), "there is no such directory"),
        (("one", "two", "--profile", "half-life:25"), "--positions 1000,2000"),
        (("one", "two", "--positions", "1000;2000"), "--positions: got '1000;2000'"),
        (("one", "two", "--profile", "weights:1"), "--profile: got 'weights:1', 1 weights for 2 inputs"),
        (("one", "two", "--readout", "ema-25"), "--readout: got 'ema-25'"),
    ],
)
def test_what_cannot_be_is_one_line(riverrun, models, asked, said):
    assert said in riverrun("merge", *asked, "--out", "out").complaint
    assert not (models / "out").exists()


@pytest.mark.parametrize("readout", ["raw", "ema-25"])
@pytest.mark.parametrize("family", ["llama", "olmo"])
def test_checkpoints_give_what_their_exports_give(riverrun, run, here, readout, family):
    if family == "olmo":
        (here / "olmo.toml").write_text((here / "tiny.toml").read_text().replace('"llama"', '"olmo"'))
        riverrun("train", "olmo.toml", "--run", "olmo", "--until", "40 steps", "--quiet")
        run.rename(here / "llama")
        (here / "olmo").rename(run)
    steps = (10, 23, 40)
    ended = riverrun(
        "merge", *map(checkpoint, steps), "--out", "merged", "--profile", "tail:0.9", "--readout", readout
    )
    assert ended.code == 0, ended.err
    for step in steps:
        riverrun("export", "run", "--readout", readout, "--at", step, "--out", f"at-{step}")
    exports = [f"at-{step}" for step in steps]
    riverrun("merge", *exports, "--out", "exported", "--profile", "tail:0.9", "--positions", "10,23,40")
    merged, exported = here / "merged", here / "exported"
    assert {file.name for file in merged.iterdir()} == {file.name for file in exported.iterdir()}
    for name in ("config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json"):
        assert (merged / name).read_bytes() == (here / "at-40" / name).read_bytes()
    one, two = load_file(merged / "model.safetensors"), load_file(exported / "model.safetensors")
    assert one.keys() == two.keys()
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert load_pretrained(merged)[0].width == 16
    manifest = json.loads((merged / "riverrun.json").read_text())
    assert [each["position"] for each in manifest["inputs"]] == [10, 23, 40]
    assert all(len(each["checkpoint"]) == 64 for each in manifest["inputs"])
    assert (manifest["step"], manifest["readout"]) == (40, readout)


def test_a_merge_in_bfloat16_says_so_in_its_configuration(riverrun, run, here):
    riverrun("merge", checkpoint(10), checkpoint(40), "--out", "out", "--dtype", "bfloat16")
    assert json.loads((here / "out/config.json").read_text())["dtype"] == "bfloat16"
    assert {tensor.dtype for tensor in load_file(here / "out/model.safetensors").values()} == {torch.bfloat16}


@pytest.mark.parametrize("hashes", [(), ("--no-hashes",)])
def test_a_damaged_checkpoint_is_refused(riverrun, run, here, hashes):
    file = next((here / checkpoint(23)).glob("*.safetensors"))
    content = bytearray(file.read_bytes())
    content[-100_000] ^= 1  # in a tensor
    file.write_bytes(content)
    ended = riverrun("merge", checkpoint(10), checkpoint(23), "--out", "out", *hashes)
    assert "does not match its sha256" in ended.complaint
    file.write_bytes(content[:-1])
    assert (
        "bytes, 163520 were written"
        in riverrun("merge", checkpoint(10), checkpoint(23), "--out", "out").complaint
    )
    (here / checkpoint(10) / "manifest.json").write_text("{}")
    assert "manifest.json cannot be read" in riverrun("merge", checkpoint(10), "--out", "out").complaint
    assert sorted(item.name for item in here.iterdir()) == ["run", "tiny.toml"]


def test_what_is_no_checkpoint_to_merge_is_told_what_would_be(riverrun, run, models):
    asked = ("merge", checkpoint(10), checkpoint(40), "--out", "out")
    assert (
        "no readout 'ema-30' to merge; did you mean 'ema-25'?"
        in riverrun(*asked, "--readout", "ema-30").complaint
    )
    assert "name its checkpoints, as in" in riverrun("merge", "run", "--out", "out").complaint
    assert "name its checkpoints, as in" in riverrun("merge", "run/trunk", "--out", "out").complaint
    assert "is a checkpoint of riverrun" in riverrun("merge", checkpoint(10), "one", "--out", "out").complaint
    (models / checkpoint(10)).rename(models / "00000010")
    assert "lies outside of its run" in riverrun("merge", "00000010", "--out", "out").complaint
    assert (
        "oldest first"
        in riverrun("merge", checkpoint(40), checkpoint(15), "--out", "out", "--profile", "sqrt").complaint
    )


def test_a_full_disk_leaves_nothing_half_written(with_small_files, run, here):
    ended = with_small_files(9_000, "merge", checkpoint(10), checkpoint(40), "--out", "out")
    assert "--out out: File too large" in ended.complaint
    assert sorted(item.name for item in here.iterdir()) == ["run", "tiny.toml"]


# A merge that waits for good as soon as something was written.
WAITING = """
import sys, time
import riverrun.merge.merging as merging
from riverrun.cli import main
def wait(plan, folder, progress, hashes):
    (folder / "model.safetensors").write_bytes(b"half")
    print("waiting", flush=True)
    while True:  # as the thread does that waits for the others
        time.sleep(0.05)
merging.merge_tensors = wait
sys.exit(main(["merge", "one", "two", "--out", "out", "--quiet"]))
"""


@pytest.mark.parametrize(("sent", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)], ids=str)
def test_a_signal_ends_it_and_leaves_nothing(models, sent, code):
    merging = subprocess.Popen([sys.executable, "-c", WAITING], stdout=subprocess.PIPE, text=True)
    assert merging.stdout.readline() == "waiting\n"
    os.kill(merging.pid, sent)
    assert merging.wait(timeout=30) == code
    assert sorted(item.name for item in models.iterdir()) == ["one", "tiny.toml", "two"]


def test_transformers_loads_a_merge(riverrun, run, here):
    transformers = pytest.importorskip("transformers")
    riverrun("merge", checkpoint(10), checkpoint(40), "--out", "out")
    theirs = transformers.AutoModelForCausalLM.from_pretrained("out").state_dict()
    found = load_file(here / "out/model.safetensors")
    assert all(torch.equal(theirs[name], tensor) for name, tensor in found.items())
