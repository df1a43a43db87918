"""`riverrun tree`: what a run holds."""

import json
import shutil
import subprocess
import sys

import pytest
import torch

from riverrun.runs import Tree
from riverrun.runs.metrics import append_record, read_records


def test_it_names_schedule_position_best_readout_and_checkpoints(riverrun, run):
    ended = riverrun("tree", "run")
    assert (ended.code, ended.err) == (0, "")
    words = " ".join(ended.out.split())
    assert "trunk inverse-sqrt, at step 40" in words
    assert "best at step 40 (2.56k tokens): " in words
    assert "checkpoints: 10, 15, 23, 34, 39, 40" in words


def test_as_json_it_agrees_with_the_record(riverrun, run):
    ended = riverrun("tree", "run", "--json")
    found = json.loads(ended.out)
    (trunk,) = found["nodes"]
    assert found["run"] == "run"
    assert (trunk["id"], trunk["parent"], trunk["schedule"], trunk["step"]) == (
        "trunk",
        None,
        "inverse-sqrt",
        40,
    )
    assert trunk["checkpoints"] == [10, 15, 23, 34, 39, 40]
    (last,) = read_records(run / "trunk/evaluations.jsonl")
    losses = {name: last[f"loss/{name}"] for name in ("raw", "ema-25", "ema-6.25")}
    name = min(losses, key=losses.get)
    assert trunk["best"] == {
        "readout": name,
        "loss": losses[name],
        "bpb": last[f"bpb/{name}"],
        "step": 40,
        "tokens": 2560,
    }


@pytest.fixture(scope="session")
def grown_once(trained, tmp_path_factory):
    """Two branches from one fork, and one of a branch; not to be changed."""
    from riverrun.cli import main

    run = tmp_path_factory.mktemp("grown") / "run"
    shutil.copytree(trained, run)
    before = torch.get_num_threads()
    for options in (
        "--at 34 --length 8steps --name short",
        "--at 34 --length 9steps --peak-lr 0.02 --name fast",
        "--from short --decay none --until 200steps --name on",
    ):
        assert main(["branch", str(run), *options.split(), "--quiet"]) == 0
    torch.set_num_threads(before)
    return run


@pytest.fixture
def grown(grown_once, here):
    """A copy of that run to do anything with, as the folder `run` of the working directory."""
    shutil.copytree(grown_once, here / "run")
    return here / "run"


def test_branches_are_drawn_under_the_node_and_step_that_they_came_from(riverrun, grown):
    lines = riverrun("tree", "run").out.splitlines()
    heads = [line for line in lines if ", at step " in line]
    assert [(len(line) - len(line.lstrip(" │├└─")), line.lstrip(" │├└─")) for line in heads] == [
        (4, "trunk  inverse-sqrt, at step 40; 2.56k tokens"),
        (
            8,
            "from step 34: fast  linear decay to 0.1 over steps 34-43, peak 0.02, at step 43; 576 tokens of its own, "
            "2.75k on its path",
        ),
        (
            8,
            "from step 34: short  linear decay to 0.1 over steps 34-42, at step 42; 512 tokens of its own, "
            "2.69k on its path",
        ),
        (
            12,
            "from step 42: on  inverse-sqrt, at step 200; 10.1k tokens of its own, 12.8k on its path",
        ),
    ]
    assert lines[-1] == "13.8k tokens trained in all, in 4 nodes"


def test_many_checkpoints_are_shortened(riverrun, grown):
    out = riverrun("tree", "run").out
    assert "checkpoints: 51, 76, 114, 171, 195, 200" in out
    riverrun("train", "tiny.toml", "--run", "run", "--until", "500 steps")
    saved = json.loads(riverrun("tree", "run", "--json").out)["nodes"][0]["checkpoints"]
    shown = [f"{step:,}" for step in saved]
    expected = f"checkpoints: {', '.join(shown[:3])}, ..., {', '.join(shown[-4:])} ({len(saved)} in all)"
    assert len(saved) > 8
    assert expected in riverrun("tree", "run").out


def test_costs_as_json_add_up(riverrun, grown):
    found = json.loads(riverrun("tree", "run", "--json").out)
    nodes = {node["id"]: node for node in found["nodes"]}
    costs = {name: (node["own_tokens"], node["path_tokens"]) for name, node in nodes.items()}
    assert costs == {
        "trunk": (40 * 64, 40 * 64),
        "short": (8 * 64, 42 * 64),
        "fast": (9 * 64, 43 * 64),
        "on": (158 * 64, 200 * 64),
    }
    assert found["tokens"] == sum(own for own, _ in costs.values())
    assert {name: node["parent"] for name, node in nodes.items()} == {
        "trunk": None,
        "short": "trunk",
        "fast": "trunk",
        "on": "short",
    }
    assert (nodes["on"]["fork"]["node"], nodes["on"]["fork"]["step"]) == ("short", 42)
    assert nodes["trunk"]["fork"] is None
    assert [node["feeds"] for node in nodes.values()] == [[], [], [], []]


def test_a_branch_whose_parent_was_removed_is_still_shown(riverrun, grown):
    shutil.rmtree(grown / "branches/short")
    ended = riverrun("tree", "run")
    assert (ended.code, ended.err) == (0, "")
    assert "from step 42: on" in ended.out


def test_a_node_that_cannot_be_read_is_named_and_left_out(riverrun, grown):
    (grown / "branches/short/node.json").write_text("torn")
    ended = riverrun("tree", "run", "--json")
    assert ended.code == 0
    assert [node["id"] for node in json.loads(ended.out)["nodes"]] == ["trunk", "fast", "on"]
    (line,) = ended.err.splitlines()
    assert line.startswith("run/branches/short: node.json cannot be read (")
    assert line.endswith("; short is left out")
    assert "from step 42: on" in riverrun("tree", "run").out


def test_the_best_of_a_node_may_lie_in_its_past(riverrun, run):
    """A peak far too high: what was learned is lost, and the model of the first readout was better."""
    riverrun("branch", "run", "--peak-lr", 0.02, "--decay", "none", "--until", "42 steps", "--name", "wild")
    node = Tree.open(run).branch("wild")
    (good,) = node.readouts()
    bad = {key: value + 1 if key.startswith("loss/") else value for key, value in good.items()} | {"step": 43}
    append_record(node.evaluations_path, bad)
    best = json.loads(riverrun("tree", "run", "--json").out)["nodes"][1]["best"]
    assert (best["step"], best["loss"]) == (
        42,
        min(good[f"loss/{name}"] for name in ("raw", "ema-25", "ema-6.25")),
    )
    assert "best at step 42 (2.69k tokens): " in riverrun("tree", "run").out


def test_where_windows_are_kept_to_choose_by_the_best_is_chosen_on_them(riverrun, run):
    path = run / "trunk/evaluations.jsonl"
    (record,) = read_records(path)
    chosen = {"select/raw": 3.0, "select/ema-25": 1.0, "select/ema-6.25": 2.0}
    path.write_text(json.dumps(record | chosen) + "\n")
    best = json.loads(riverrun("tree", "run", "--json").out)["nodes"][0]["best"]
    assert (best["step"], best["readout"], best["loss"]) == (40, "ema-25", record["loss/ema-25"])


def test_it_needs_no_corpus(riverrun, run, texts, here):
    texts("words")
    riverrun("data", "ingest", "words", "--out", "corpus", "--quiet")
    riverrun("train", "tiny.toml", "--run", "other", "--until", "20 steps", "--set", "data.corpus=corpus")
    shutil.rmtree(here / "corpus")
    ended = riverrun("tree", "other")
    assert (ended.code, ended.err) == (0, "")
    assert "at step 20; 1.28k tokens" in ended.out


def test_a_run_that_was_killed_early_says_so(riverrun, run):
    shutil.rmtree(run / "trunk/checkpoints")
    for record in ("metrics", "evaluations"):
        (run / f"trunk/{record}.jsonl").write_text("")
    ended = riverrun("tree", "run")
    assert "no readout yet" in ended.out
    assert "checkpoints: none yet" in ended.out
    assert json.loads(riverrun("tree", "run", "--json").out)["nodes"][0]["best"] is None


def test_it_changes_nothing(riverrun, run, files_below):
    before = files_below(run)
    riverrun("tree", "run")
    assert files_below(run) == before


def test_a_reader_that_goes_away_is_no_crash(run):
    command = [sys.executable, "-m", "riverrun", "tree", "run", "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        process.stdout.close()
        complaint = process.stderr.read()
        process.wait(timeout=60)
    assert (process.returncode, complaint) == (141, b"")
