"""A merge of models of one run is a node of its tree, with several parents."""

import json

import pytest

from riverrun.models import load_pretrained
from riverrun.runs import Tree
from riverrun.train.restore import restore_readout


@pytest.fixture
def merged(riverrun, run):
    """Three checkpoints of the trunk, merged and scored, as the node `mean`."""
    steps = [f"run/trunk/checkpoints/{step:08d}" for step in (23, 34, 40)]
    ended = riverrun("merge", *steps, "--out", "mean", "--profile", "sqrt", "--score")
    assert (ended.code, ended.err) == (0, "")
    assert "it is the node mean" in ended.out
    return run


def test_it_has_its_parents_weights_and_place(merged, here):
    node = Tree.open(merged).node("mean")
    assert [(parent.node, parent.step) for parent in node.merged] == [
        ("trunk", 23),
        ("trunk", 34),
        ("trunk", 40),
    ]
    assert sum(parent.weight for parent in node.merged) == pytest.approx(1)
    assert all((merged / parent.path / "manifest.json").is_file() for parent in node.merged)
    assert (node.parent, node.model_path) == (None, here / "mean")


def test_the_tree_shows_it_and_counts_what_was_trained_once(riverrun, merged):
    drawn = riverrun("tree", "run").out
    assert "mean  merge of 3, sqrt; 2.56k tokens on the ways to it" in drawn
    assert "in 1 node, and 1 merge" in drawn
    found = json.loads(riverrun("tree", "run", "--json").out)
    (merge,) = found["merges"]
    assert [parent["step"] for parent in merge["parents"]] == [23, 34, 40]
    assert merge["best"]["readout"] == "merged"
    assert [node["id"] for node in found["nodes"]] == ["trunk"]


def test_its_score_is_that_of_the_directory(merged, here):
    from riverrun.train.engine import settle
    from riverrun.train.readouts import open_windows, score
    from riverrun.train.restore import open_recorded

    node = Tree.open(merged).node("mean")
    recipe, corpus, plan = open_recorded(node)
    _, engine = settle(recipe)
    _, model = load_pretrained(here / "mean")
    (record,) = node.averages()
    expected = score(model.eval(), "merged", open_windows(corpus, plan), engine)
    assert {key: record[key] for key in expected} == expected
    assert (record["step"], record["tokens"]) == (40, 2560)


def test_it_writes_text_and_exports_like_any_node(riverrun, merged, here):
    assert riverrun("generate", "run", "--node", "mean", "--tokens", 5).code == 0
    assert riverrun("export", "run", "--node", "mean", "--out", "again").code == 0
    again, mean = (load_pretrained(here / name)[1].state_dict() for name in ("again", "mean"))
    assert all((again[name] == mean[name]).all() for name in mean)
    assert restore_readout(Tree.open(merged).node("mean")).name == "merged"
    assert "holds one model" in riverrun("generate", "run", "--node", "mean", "--readout", "raw").complaint


def test_best_may_be_a_merge_and_says_where_it_lies(riverrun, merged):
    (path,) = (merged / "merges").glob("*/averages.jsonl")
    record = json.loads(path.read_text())
    path.write_text(json.dumps({**record, "loss/merged": 0.5}) + "\n")
    found = json.loads(riverrun("best", "run", "--json").out)
    assert (found["node"], found["readout"], found["tokens"]) == ("mean", "merged", 2560)
    assert found["checkpoint"].endswith("mean")
    assert "it is a merge" in riverrun("best", "run").out


def test_ways_that_part_cost_what_they_do_not_share(riverrun, run):
    riverrun("branch", "run", "--at", 34, "--length", "8 steps", "--name", "short", "--quiet")
    inputs = ["run/trunk/checkpoints/00000040", "run/branches/short/checkpoints/00000042"]
    assert riverrun("merge", *inputs, "--out", "both", "--score").code == 0
    (merge,) = json.loads(riverrun("tree", "run", "--json").out)["merges"]
    assert merge["path_tokens"] == (40 + 8) * 64
    path = run / "merges/both/averages.jsonl"
    path.write_text(json.dumps({**json.loads(path.read_text()), "loss/merged": 0.5}) + "\n")
    assert json.loads(riverrun("best", "run", "--json").out)["node"] == "both"
    within = json.loads(riverrun("best", "run", "--budget", "47 steps", "--json").out)
    assert within["node"] != "both"


def test_a_second_of_the_name_gets_a_number_and_names_of_nodes_stay(riverrun, run, here):
    one = "run/trunk/checkpoints/00000040"
    riverrun("merge", one, "--out", "x/trunk")
    riverrun("merge", one, "--out", "y/trunk")
    assert sorted(node.id for node in Tree.open(run).merges()) == ["trunk-2", "trunk-3"]
    assert Tree.open(run).node("trunk").path == run / "trunk"


def test_written_readouts_of_a_run_are_merged_as_its_own(riverrun, run):
    for step in (34, 40):
        riverrun("export", "run", "--readout", "ema-25", "--at", step)
    inputs = [f"run/trunk/readouts/ema-25-{step:08d}" for step in (34, 40)]
    assert riverrun("merge", *inputs, "--out", "mean", "--profile", "half-life:2").code == 0
    assert [parent.step for parent in Tree.open(run).node("mean").merged] == [34, 40]


def test_others_have_no_tree_and_no_text_to_score_on(riverrun, run, here):
    riverrun("export", "run", "--out", "one")
    assert "it is the node" not in riverrun("merge", "one", "--out", "alone").out
    ended = riverrun("merge", "one", "--out", "scored", "--score")
    assert ended.complaint.startswith("--score: ")
    assert not (here / "scored").exists()
    assert Tree.open(run).merges() == []
