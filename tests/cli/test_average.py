"""`riverrun average`: the average of all the weights that a run passed through, from the few blocks that it kept."""

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import torch

from riverrun.models.hugging_face import load_pretrained
from riverrun.runs import Tree
from riverrun.runs.checkpoint import Checkpoint
from riverrun.runs.metrics import read_records
from riverrun.schedules import Constant
from riverrun.train.engine import settle
from riverrun.train.readouts import evaluate, open_windows
from riverrun.train.restore import open_recorded, restore_readout

# Relative to the weights, what fp32 sums of dozens of iterates may be off by.
ROUNDING = 1e-6


def flat(model):
    return torch.cat([parameter.detach().flatten() for parameter in model.parameters()]).double()


def written(directory):
    """The weights in a model directory."""
    return flat(load_pretrained(directory)[1])


def made(riverrun, *arguments):
    """What is printed of each average that is made."""
    ended = riverrun("average", "run", *arguments, "--json")
    assert (ended.code, ended.err) == (0, "")
    return json.loads(ended.out)["averages"]


@pytest.fixture(scope="session")
def iterates(trained_with_history):
    """{node: weights after each update, [steps, elements] in float64}, of another run of the same recipe."""
    found = torch.load(trained_with_history.parent / "iterates.pt")
    return {node: weights.double() for node, weights in found.items()}


@pytest.fixture(scope="session")
def check_weights(iterates):
    """Hold an average against the exact one, whose share of each iterate is given.

    The bound is the share of weight that lies elsewhere. How far that moves the average is at most that share of the
    largest distance between iterates, and on a run that goes somewhere less: of the last iterate's distance.
    """

    def check(found, shares, node="trunk"):
        used = iterates[node][: len(shares)]
        average = torch.as_tensor(shares, dtype=torch.float64) @ used
        error = (written(found["directory"]) - average).norm()
        assert error <= found["bound"] * (used[-1] - average).norm() + ROUNDING * used[-1].norm()

    return check


def window(first, last, at=60):
    """Equal weights on the iterates first .. last of 1 .. at."""
    steps = np.arange(1, at + 1)
    inside = (steps >= first) & (steps <= last)
    return inside / inside.sum()


def falling(keep, at=60):
    shares = keep ** np.arange(at - 1, -1, -1.0)
    return shares / shares.sum()


def growing(f, at=60):
    """The f-average of updates at every step: keep (1 - 1/t) ** (f ln 2) at each."""
    shares = np.zeros(at)
    for t in range(1, at + 1):
        keep = (1 - 1 / t) ** (f * np.log(2))
        shares *= keep
        shares[t - 1] = 1 - keep
    return shares


def decayed(shape, start, at=60, floor=0.0):
    """The iterate at the start, and each later update as far as the decay of the LR would have made it."""
    multipliers = np.ones(at)
    decay = Constant().decay(at=start, steps=at - start, shape=shape, floor=floor)
    multipliers[start:] = decay(np.arange(start + 1, at + 1))
    return multipliers - np.append(multipliers[1:], 0.0)


PROFILES = {
    "tail:0.2": window(49, 60),
    "tail:0.5": window(31, 60),
    "uniform": window(1, 60),
    "uniform:from=25": window(26, 60),
    "half-life:25": growing(25),
    "half-life:9": growing(9),
    "ema:0.9": falling(0.9),
    "decay-like:cosine:0.2": decayed("cosine", 48),
    "decay-like:sqrt:0.5": decayed("sqrt", 30),
    "decay-like:inverse:0.5:floor=0.1": decayed("inverse", 30, floor=0.1),
    "late.csv": (window(11, 30) * 1 + window(31, 60) * 3) / 4,
}


def test_every_kind_of_profile_is_the_average_of_all_iterates(
    riverrun, run_with_history, check_weights, here
):
    (here / "late.csv").write_text("step,weight\n10,0\n30,1\n60,3\n")
    asked = [word for spec in PROFILES for word in ("--profile", spec)]
    averages = made(riverrun, *asked, "--max-bound", "0.4")
    for found, (spec, shares) in zip(sorted(averages, key=by_spec), sorted(PROFILES.items()), strict=True):
        assert (found["profile"], found["step"]) == (spec, 60)
        assert 0 <= found["bound"] <= 0.4
        check_weights(found, shares)
    directories = {found["profile"]: found["directory"] for found in averages}
    assert directories["tail:0.2"] == "run/trunk/readouts/tail-0.2-00000060"
    assert directories["late.csv"] == "run/trunk/readouts/file-late-00000060"


def by_spec(found):
    return found["profile"]


@pytest.mark.parametrize(
    ("at", "spec", "shares"),
    [
        ("33", "tail:0.5", np.append(np.zeros(16), np.append(0.5, np.ones(16))) / 16.5),
        ("11 steps", "uniform:from=5", window(6, 11, 11)),
        ("2176 tokens", "half-life:6.25", growing(6.25, 34)),
        ("0.05x", "tail:0.2", None),
        ("latest", "tail:0.05", window(58, 60)),
    ],
)
def test_at_any_position_it_is_the_average_of_what_was_before(
    at, spec, shares, riverrun, run_with_history, check_weights
):
    (found,) = made(riverrun, "--at", at, "--profile", spec)
    if shares is None:  # 1x are 1,055 steps of this recipe
        assert found["step"] == 53
        shares = np.append(np.zeros(42), np.append(0.6, np.ones(10))) / 10.6
    assert found["step"] == len(shares)
    check_weights(found, shares)
    assert found["checkpoint"]["step"] == min(
        step for step in (10, 15, 23, 34, 51, 52, 60) if step >= found["step"]
    )


def test_a_branch_takes_the_past_of_the_trunk_along(riverrun, run_with_history, check_weights):
    """20 steps of its own; the last half of its way begins before the fork."""
    (found,) = made(riverrun, "--node", "end", "--profile", "tail:0.5")
    assert (found["node"], found["step"]) == ("end", 54)
    assert found["directory"] == "run/branches/end/readouts/tail-0.5-00000054"
    check_weights(found, window(28, 54, 54), "end")
    (found,) = made(riverrun, "--node", "end", "--at", 40, "--profile", "uniform:from=20")
    assert found["checkpoint"]["step"] == 51
    check_weights(found, window(21, 40, 40), "end")


def test_up_to_its_fork_a_branch_is_the_trunk(riverrun, run_with_history, check_weights):
    """What is made there is the trunk's, and `best` finds its path."""
    for at in (30, 34):
        (found,) = made(riverrun, "--node", "end", "--at", at, "--profile", "uniform:from=12")
        assert (found["node"], found["checkpoint"]["step"]) == ("trunk", 34)
        check_weights(found, window(13, at, at))
    assert [record["step"] for record in Tree.open(run_with_history).trunk.averages()] == [30, 34]
    assert Tree.open(run_with_history).branch("end").averages() == []


def test_what_it_says_of_an_average_is_so(riverrun, run_with_history, here):
    ended = riverrun("average", "run", "--at", 33, "--profile", "tail:0.5", "--out", "averaged")
    assert (ended.code, ended.err) == (0, "")
    facts = json.loads((here / "averaged/riverrun.json").read_text())
    node = Tree.open(run_with_history).trunk
    saved = next(saved for saved in node.checkpoints() if saved.step == 34)
    assert facts["checkpoint"] == {"step": 34, "sha256": saved.hash}
    assert (facts["made"], facts["node"], facts["source"]) == ("average", "trunk", "history")
    assert (facts["profile"], facts["step"], facts["tokens"]) == ("tail:0.5", 33, 33 * 64)
    (record,) = node.averages()
    assert record.items() <= facts.items()
    assert record.keys() >= {"step", "tokens", "profile", "bound", "source", "loss/tail-0.5", "bpb/tail-0.5"}
    recipe, corpus, plan = open_recorded(node)
    _, model = load_pretrained(here / "averaged")
    # In the precision that the recipe's "auto" is on this processor.
    _, engine = settle(recipe)
    assert record["loss/tail-0.5"] == evaluate(model, open_windows(corpus, plan).report, engine)
    rows = dict(re.split(r"\s+", line, maxsplit=1) for line in ended.out.splitlines())
    assert rows["average"] == (
        f"tail-0.5 of trunk at step 33: tail:0.5, {facts['bound']:.1%} of the weight lies on other iterates"
    )
    assert rows["from"] == f"the history in {saved.path.relative_to(here)}"
    assert rows["loss"].startswith(
        f"{facts['loss/tail-0.5']:.4f} nats per token, {facts['bpb/tail-0.5']:.3f} bits"
    )
    assert rows["model"] == "averaged"


def test_beside_its_loss_are_those_of_the_readouts_there(riverrun, run_with_history):
    recorded = Tree.open(run_with_history).trunk.readouts()[-1]
    assert recorded["step"] == 60
    printed = riverrun("average", "run", "--profile", "tail:0.2").out
    for name in ("raw", "ema-25", "ema-6.25"):
        assert f"{name} {recorded[f'loss/{name}']:.4f}" in printed


def test_in_bfloat16_it_is_the_same_average_rounded_once(riverrun, run_with_history, here):
    asked = ("average", "run", "--profile", "tail:0.5", "--out")
    riverrun(*asked, "whole")
    riverrun(*asked, "half", "--dtype", "bfloat16")
    assert torch.equal(written("half"), written("whole").bfloat16().double())
    assert (here / "half/model.safetensors").stat().st_size < (
        here / "whole/model.safetensors"
    ).stat().st_size
    losses = {record["loss/tail-0.5"] for record in read_records(run_with_history / "trunk/averages.jsonl")}
    assert len(losses) == 1


@pytest.mark.parametrize(("spec", "at"), [("tail:0.5", 60), ("tail:0.3", 47), ("uniform:from=7", 52)])
def test_snapped_to_edges_of_blocks_it_is_exact(spec, at, riverrun, run_with_history, iterates):
    (found,) = made(riverrun, "--at", at, "--profile", spec, "--snap")
    assert found["bound"] == 0
    assert found["source"] == "history"
    start = int(found["profile"].removeprefix("uniform:from="))
    edges = {edge for span in spans(run_with_history, found["checkpoint"]["step"]) for edge in span}
    assert {start, found["step"]} <= edges
    exact = iterates["trunk"][start : found["step"]].mean(0)
    assert (written(found["directory"]) - exact).norm() <= ROUNDING * exact.norm()
    assert found["directory"] == f"run/trunk/readouts/uniform-{start}-{found['step']:08d}"


def spans(run, step):
    (saved,) = (saved for saved in Tree.open(run).trunk.checkpoints() if saved.step == step)
    return saved.manifest["history"]["spans"]


@pytest.mark.parametrize("at", [60, 34])
def test_what_a_track_holds_is_taken_from_it_bit_for_bit(at, riverrun, run_with_history):
    (found,) = made(riverrun, "--at", at, "--profile", "half-life:25", "--out", "averaged")
    assert (found["source"], found["bound"], found["step"]) == ("track", 0, at)
    riverrun("export", "run", "--readout", "ema-25", "--at", at, "--out", "exported")
    assert torch.equal(written("averaged"), written("exported"))


@pytest.mark.parametrize(
    "settings", [(), ("--set", "averaging.history.resolution=4")], ids=["track", "history"]
)
def test_with_updates_every_k_steps_the_last_one_stands_for_a_checkpoint_behind_it(settings, riverrun, here):
    """The checkpoint at step 40 holds the averages of step 39."""
    gaps = ("--set", "averaging.every=3", *settings)
    riverrun("train", "tiny.toml", "--run", "run", "--until", "40 steps", "--quiet", *gaps)
    (found,) = made(riverrun, "--profile", "half-life:25")
    assert (found["source"], found["bound"], found["step"]) == ("track", 0, 39)
    riverrun("export", "run", "--readout", "ema-25", "--out", "exported")
    assert torch.equal(written(found["directory"]), written("exported"))


@pytest.mark.parametrize("at", [40, 39])
def test_with_updates_every_k_steps_each_stands_for_those_since_the_last(at, riverrun, iterates, here):
    gaps = ("--set", "averaging.every=3", "--set", "averaging.history.resolution=4")
    riverrun("train", "tiny.toml", "--run", "run", "--until", "40 steps", "--quiet", *gaps)
    (found,) = made(riverrun, "--at", at, "--profile", "uniform")
    assert (found["step"], found["bound"]) == (39, 0)
    exact = iterates["trunk"][2:39:3].mean(0)
    assert (written(found["directory"]) - exact).norm() <= ROUNDING * exact.norm()


def test_what_exists_is_refused_before_anything_is_made(riverrun, run_with_history, here, files_below):
    riverrun("average", "run", "--profile", "tail:0.2")
    (here / "there").mkdir()
    before = files_below(here)
    usual = "run/trunk/readouts/tail-0.2-00000060"
    for arguments, target in (
        (("--profile", "tail:0.2"), usual),
        (("--profile", "tail:0.5", "--profile", "half-life:25", "--profile", "tail:0.20"), usual),
        (("--profile", "tail:0.5", "--out", "there"), "there"),
    ):
        complaint = riverrun("average", "run", *arguments).complaint
        assert complaint == f"--out {target}: exists already; name another directory or remove it"
        assert files_below(here) == before


def test_one_average_under_two_names_is_refused(riverrun, run_with_history, files_below):
    before = files_below(run_with_history)
    twice = ("--profile", "tail:0.2", "--profile", "tail:0.20")
    complaint = riverrun("average", "run", *twice).complaint
    assert complaint == "--profile: two of them are tail:0.2 at step 60; name one"
    nearly = ("--profile", "tail:0.2", "--profile", "tail:0.199", "--snap")
    assert "two of them are uniform:from=48 at step 60" in riverrun("average", "run", *nearly).complaint
    assert files_below(run_with_history) == before


def test_a_full_disk_leaves_nothing_half_written(with_small_files, run_with_history, here, files_below):
    before = files_below(here)
    ended = with_small_files(9_000, "average", "run", "--profile", "tail:0.2", "--out", "averaged")
    assert "--out averaged: cannot be written" in ended.complaint
    assert files_below(here) == before


WRONG = {
    "no profile": (
        (),
        "--profile: name one, such as --profile tail:0.2, or have the usual ones compared with --sweep",
    ),
    "a sweep of one": (
        ("--sweep", "--profile", "tail:0.2"),
        "--profile: a sweep compares the usual ones; leave one",
    ),
    "an unknown profile": (("--profile", "tali:0.2"), "did you mean 'tail:NUMBER'?"),
    "out of range": (("--profile", "tail:2"), "--profile: alpha: got 2.0; must be a number, more than 0"),
    "no file": (("--profile", "lost.csv"), "--profile: lost.csv cannot be read"),
    "a table of another kind": (
        ("--profile", "other.csv"),
        "other.csv: got the columns 'a,b'; must be step,weight",
    ),
    "one place for two": (
        ("--profile", "tail:0.2", "--profile", "uniform", "--out", "one"),
        "--out one: takes one profile, and there are 2; leave it out",
    ),
    "no edge to snap": (
        ("--profile", "half-life:9", "--snap"),
        "--snap: got 'half-life:9', which has no edge",
    ),
    "a bound above 1": (
        ("--profile", "tail:0.2", "--max-bound", "2"),
        "--max-bound: got 2; must be a share",
    ),
    "the beginning": (
        ("--profile", "tail:0.2", "--at", "0"),
        "--at: got 0; an average needs at least 1 step",
    ),
    "before the beginning": (("--profile", "tail:0.2", "--at=-5"), "--at: got '-5'; a duration is written"),
    "no position": (("--profile", "tail:0.2", "--at", "soon"), "--at: got 'soon'; a duration is written"),
    "beyond the end": (
        ("--profile", "tail:0.2", "--at", "61"),
        "run/trunk: has no checkpoint at step 61 or later; the last one is at step 60",
    ),
    "far beyond": (
        ("--sweep", "--at", "2x"),
        "run/trunk: has no checkpoint at step 2,110 or later; the last one is",
    ),
    "beyond the end of a branch": (
        ("--profile", "tail:0.2", "--node", "end", "--at", "60"),
        "run/branches/end: has no checkpoint at step 60 or later; the last one is at step 54",
    ),
    "no such node": (
        ("--profile", "tail:0.2", "--node", "edn"),
        "run: has no node 'edn'; did you mean 'end'?",
    ),
}


@pytest.mark.parametrize(("arguments", "complaint"), WRONG.values(), ids=WRONG.keys())
def test_a_wrong_option_is_named_and_nothing_is_written(
    arguments, complaint, riverrun, run_with_history, here, files_below
):
    (here / "other.csv").write_text("a,b\n1,2\n")
    before = files_below(here)
    ended = riverrun("average", "run", *arguments)
    assert complaint in ended.complaint
    assert ended.out == ""
    assert files_below(here) == before


def test_a_run_without_a_history_says_what_remains(riverrun, run):
    complaint = riverrun("average", "run", "--profile", "tail:0.2").complaint
    assert "has no readout 'tail-0.2'; there are raw, ema-25, ema-6.25, and no history" in complaint
    assert complaint.endswith("train with --set averaging.history.resolution=4")
    complaint = riverrun("average", "run", "--profile", "half-life:25", "--at", 33).complaint
    positions = re.search(r"there are raw, ema-25, ema-6\.25 at steps ([\d, ]+), and no history", complaint)[
        1
    ]
    for at in positions.split(", "):
        (found,) = made(riverrun, "--profile", "half-life:25", "--at", at)
        assert (found["source"], found["step"]) == ("track", int(at))
    shutil.rmtree(run / "trunk/checkpoints")
    assert riverrun("average", "run", "--profile", "tail:0.2").complaint == "run/trunk: has no checkpoint yet"
    complaint = riverrun("average", "run", "--profile", "tail:0.2", "--at", 5).complaint
    assert complaint == "run/trunk: has no checkpoint at step 5 or later; there is none"


@pytest.mark.parametrize(
    ("spec", "at"), [("tail:0.05", 45), ("half-life:100", 41), ("decay-like:sqrt:0.1", 60)]
)
def test_where_blocks_are_too_wide_it_names_what_remains_and_that_works(spec, at, riverrun, run_with_history):
    complaint = riverrun("average", "run", "--at", at, "--profile", spec, "--max-bound", "0.1").complaint
    said = re.search(
        rf"{spec} at step {at} would have (\d+)% of its weight on other iterates, .*; at most 10% is taken .*"
        rf"Positions that have it: ([^.]*)\. Profiles at step {at}: (.*)$",
        complaint,
    )
    share, positions, profiles = said.groups()
    capped = ("--max-bound", "0.1", "--out")
    for position in [] if positions == "none" else positions.split(", "):
        (found,) = made(riverrun, "--at", position, "--profile", spec, *capped, f"at-{position}")
        assert found["bound"] <= 0.1
    asked = [word for profile in profiles.split(", ") for word in ("--profile", profile)]
    assert all(found["bound"] <= 0.1 for found in made(riverrun, "--at", at, *asked, "--max-bound", "0.1"))
    (found,) = made(riverrun, "--at", at, "--profile", spec, "--max-bound", "1")
    assert f"{found['bound']:.0%}" == f"{share}%"


def sweep(riverrun, *arguments):
    ended = riverrun("average", "run", "--sweep", *arguments)
    assert (ended.code, ended.err) == (0, "")
    lines = ended.out.splitlines()
    table = [line.split() for line in lines if re.match(r"\S+ +\d\.\d{4} ", line)]
    return table, lines[-1] if "Left out" not in lines[-1] else lines[-2], ended.out


def test_a_sweep_compares_and_writes_no_model(riverrun, run_with_history, files_below):
    before = files_below(run_with_history)
    table, verdict, printed = sweep(riverrun)
    after = files_below(run_with_history)
    assert {name for name in after if before.get(name) != after[name]} == {"trunk/sweeps.jsonl"}
    losses = [float(row[1]) for row in table]
    assert losses == sorted(losses)
    assert len(table) == 17
    (record,) = read_records(run_with_history / "trunk/sweeps.jsonl")
    best = min(record["averages"], key=lambda name: record["averages"][name]["loss"])
    assert record["best"] == best
    assert (record["step"], record["tokens"]) == (60, 60 * 64)
    assert {entry["profile"] for entry in record["averages"].values()} == {row[0] for row in table}
    assert record["averages"][best]["profile"] == table[0][0]
    assert verdict.startswith(
        f"The best is {best}, at {losses[0]:.4f} nats per token. It was selected from 17 by the"
    )
    assert "so that loss is too good" in verdict
    assert "Left out" not in printed


def test_each_loss_of_a_sweep_is_that_of_the_average_when_it_is_written(riverrun, run_with_history):
    ended = riverrun("average", "run", "--sweep", "--at", 51, "--json")
    swept = json.loads(ended.out)
    assert swept["chosen_by"] == "loss"
    for found in swept["averages"]:
        (alone,) = made(riverrun, "--at", 51, "--profile", found["profile"])
        assert found.items() <= alone.items()


def test_a_sweep_leaves_out_what_the_blocks_do_not_give(riverrun, run_with_history):
    table, _, printed = sweep(riverrun, "--at", 45)
    left_out = re.search(r"Left out, for the blocks there are too wide: (.*)\.$", printed)[1].split(", ")
    assert len(left_out) + len(table) == 17
    assert left_out
    for spec in left_out:
        assert "at most 25% is taken" in riverrun("average", "run", "--at", 45, "--profile", spec).complaint
    table, _, printed = sweep(riverrun, "--at", 45, "--max-bound", 1)
    assert len(table) == 17


def test_a_loss_that_is_no_number_is_not_the_best(riverrun, run_with_history, monkeypatch):
    def evaluate_badly(*settings):
        losses.append(evaluate(*settings))
        return float("nan") if len(losses) < 3 else losses[-1]

    losses = []
    monkeypatch.setattr("riverrun.train.readouts.evaluate", evaluate_badly)
    table, verdict, _ = sweep(riverrun)
    assert f" at {min(losses[2:]):.4f} nats" in verdict
    assert len(table) == 15
    (record,) = read_records(run_with_history / "trunk/sweeps.jsonl")
    assert [entry["loss"] for entry in record["averages"].values()].count(None) == 2


def test_where_windows_are_kept_to_choose_by_a_sweep_chooses_on_them(riverrun, here):
    settings = ("--set", "readouts.select=4", "--set", "readouts.sequences=4")
    history = ("--set", "averaging.history.resolution=4")
    riverrun("train", "tiny.toml", "--run", "run", "--until", "40 steps", *settings, *history)
    _, verdict, _ = sweep(riverrun)
    (record,) = read_records(here / "run/trunk/sweeps.jsonl")
    best = min(record["averages"], key=lambda name: record["averages"][name]["select"])
    assert record["best"] == best
    loss = record["averages"][best]["loss"]
    assert verdict == (
        f"The best is {best}, at {loss:.4f} nats per token. It was selected, on windows kept apart: its loss here is "
        "fair."
    )


def test_best_knows_averages_that_were_made_and_not_those_of_a_sweep(riverrun, run_with_history, iterates):
    """At step 34 there is no readout, so any average there beats those before."""
    budget = ("best", "run", "--budget", "34 steps", "--json")
    before = json.loads(riverrun(*budget).out)
    sweep(riverrun, "--at", 34)
    assert json.loads(riverrun(*budget).out) == before
    (found,) = made(riverrun, "--at", 34, "--profile", "tail:0.1")
    best = json.loads(riverrun(*budget).out)
    assert (best["node"], best["readout"], best["step"]) == ("trunk", "tail-0.1", 34)
    assert best["loss"] == found["loss/tail-0.1"] < before["loss"]
    shutil.rmtree(found["directory"])
    words = riverrun(*budget[:-1]).out
    (export,) = [line.split(maxsplit=1)[1] for line in words.splitlines() if line.startswith("export ")]
    assert riverrun(*shlex.split(export)[1:]).out == f"{found['directory']}\n"
    exact = iterates["trunk"][31:34].mean(0) * 3 / 3.4 + iterates["trunk"][30] * 0.4 / 3.4
    assert (written(found["directory"]) - exact).norm() <= 1e-3 * exact.norm()


def test_its_commands_make_the_best_average_again(riverrun, run_with_history):
    made(riverrun, "--at", 34, "--profile", "tail:0.1")
    best = json.loads(riverrun("best", "run", "--budget", "34 steps", "--json").out)
    for command in best["reproduce"]:
        assert riverrun(*shlex.split(command)[1:]).code == 0, command
    directory = "trunk/readouts/tail-0.1-00000034"
    assert torch.equal(written(f"run/{directory}"), written(f"run-again/{directory}"))


def test_it_works_beside_a_process_that_trains_there(riverrun, run_with_history, here):
    """Checkpoints come and go meanwhile; the trainer is not held up and what it keeps stays whole."""
    settings = ("--set", "checkpoints.every=2 steps", "--set", "checkpoints.keep=1")
    command = [
        sys.executable,
        "-m",
        "riverrun",
        "train",
        "tiny.toml",
        "--run",
        "run",
        "--until",
        "99x",
        *settings,
    ]
    pipes = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE}
    node = Tree.open(run_with_history).trunk
    ends = []
    with subprocess.Popen(command, **pipes, preexec_fn=hear_signals) as training:
        try:
            while training.poll() is None and len(node.checkpoints()) < 8:
                time.sleep(0.01)
            for number in range(6):
                spec = ("tail:0.2", "half-life:25")[number % 2]
                ends.append(riverrun("average", "run", "--profile", spec, "--out", f"averaged-{number}"))
        finally:
            training.send_signal(signal.SIGTERM)
            complaint = training.communicate()[1]
    assert training.returncode == 128 + signal.SIGTERM, complaint
    for number, ended in enumerate(ends):
        if ended.code:  # the checkpoint was let go meanwhile
            assert ended.complaint
            assert not (here / f"averaged-{number}").exists()
        else:
            assert written(here / f"averaged-{number}").isfinite().all()
    assert not [name for name in os.listdir(here) if name.startswith(".unfinished")]
    assert len(read_records(node.averages_path)) == sum(ended.code == 0 for ended in ends) > 0
    for saved in node.checkpoints():
        saved.verify()


def hear_signals():
    """Where the tests run in the background, they ignore signals that their processes must hear."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)


@pytest.mark.parametrize("spec", ["tail:0.2", "half-life:25"])
def test_a_checkpoint_that_is_removed_meanwhile_is_told(spec, riverrun, run_with_history, monkeypatch, here):
    verify = Checkpoint.verify

    def verify_and_lose(saved):
        verify(saved)
        shutil.rmtree(saved.path)

    monkeypatch.setattr(Checkpoint, "verify", verify_and_lose)
    complaint = riverrun("average", "run", "--at", 52, "--profile", spec, "--out", "averaged").complaint
    assert complaint == (
        "run/trunk/checkpoints/00000052: was let go meanwhile by whoever trains there; call again"
    )
    assert not (here / "averaged").exists()


def test_a_damaged_checkpoint_is_passed_over_for_the_next(riverrun, run_with_history, iterates):
    file = next((run_with_history / "trunk/checkpoints/00000034/history/open").iterdir())
    file.write_bytes(b"torn")
    ended = riverrun("average", "run", "--at", 33, "--profile", "uniform:from=8", "--json")
    assert ended.code == 0
    assert "checkpoints/00000034: history/open/model.safetensors has 4 bytes" in ended.err
    (found,) = json.loads(ended.out)["averages"]
    assert found["checkpoint"]["step"] == 51
    exact = iterates["trunk"][8:33].mean(0)
    assert (written(found["directory"]) - exact).norm() <= 0.05 * (iterates["trunk"][32] - exact).norm()


def test_it_is_no_writer_of_the_run(riverrun, run_with_history, files_below):
    """Training goes on as if nothing had been made."""
    before = files_below(run_with_history)
    made(riverrun, "--profile", "tail:0.2")
    after = files_below(run_with_history)
    assert {name: after[name] for name in before} == before
    ended = riverrun("train", "tiny.toml", "--run", "run", "--until", "62 steps", "--quiet")
    assert ended.code == 0
    assert restore_readout(Tree.open(run_with_history).trunk, "tail-0.2").step == 62
