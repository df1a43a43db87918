"""`riverrun evaluate`: readouts on tasks, without a network, and a record of what they scored."""

import json
import math
import re
import shutil
import socket
from pathlib import Path

import pytest

from riverrun.data import held_out
from riverrun.runs import Tree
from riverrun.runs.metrics import read_records
from riverrun.train.engine import settle
from riverrun.train.readouts import evaluate
from riverrun.train.restore import open_recorded, restore_readout

pytest.importorskip("lm_eval")


@pytest.fixture(autouse=True)
def no_network(monkeypatch):
    """Whoever looks for another machine fails."""

    def refuse(*_, **__):
        raise AssertionError("the network was asked for")

    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(socket.socket, "connect", refuse)


@pytest.fixture
def scored(riverrun):
    """What is printed of each task and readout: {(task, readout): record}."""

    def call(*arguments):
        ended = riverrun("evaluate", *arguments, "--json", "--quiet")
        assert (ended.code, ended.err) == (0, "")
        return {(record["task"], record["readout"]): record for record in json.loads(ended.out)["results"]}

    return call


def values(record):
    """{metric: value} of a record, without the name of the readout."""
    return {key.split("/")[2]: value for key, value in record.items() if key.startswith("eval/")}


@pytest.fixture
def notes(here):
    """A text of one's own, as JSON lines."""
    lines = [
        f"{word} " * 31 + f"and then {word}s\n"
        for word in ("river", "shore", "swerve", "castle", "commodius")
    ]
    (here / "notes.jsonl").write_text("".join(json.dumps({"text": line}) + "\n" for line in lines))
    return here / "notes.jsonl"


def test_readouts_side_by_side_and_in_the_record_of_the_node(riverrun, run, files_below):
    before = files_below(run)
    both = ("--readout", "raw", "--readout", "ema-25")
    ended = riverrun("evaluate", "run", *both, "--limit", 2)
    assert ended.code == 0
    table = [line.split() for line in ended.out.splitlines()]
    assert table[0] == ["task", "metric", "better", "few-shot", "samples", "raw", "ema-25"]
    records = read_records(run / "trunk/tasks.jsonl")
    assert [(record["task"], record["readout"]) for record in records] == [
        (task, readout) for readout in ("raw", "ema-25") for task in ("perplexity", "last-word", "cloze")
    ]
    [row] = [line for line in table if line[:2] == ["perplexity", "bits_per_byte"]]
    bits = [
        records[place][f"eval/perplexity/bits_per_byte/{name}"] for place, name in ((0, "raw"), (3, "ema-25"))
    ]
    assert row[2:] == ["lower", "0", "2", *(f"{value:.4f}" for value in bits)]
    assert bits[0] != bits[1]
    assert ended.out.endswith("Kept in run/trunk/tasks.jsonl.\n")
    assert {
        "step": 40,
        "tokens": 40 * 4 * 16,
        "readout": "raw",
        "task": "cloze",
        "version": "1",
        "few_shot": 0,
        "limit": 2,
        "samples": 2,
    }.items() <= records[2].items()
    assert records[2]["text"]["source"] == "validation documents of bundled"
    assert {"eval/cloze/acc/raw", "eval/cloze/acc_stderr/raw"} <= records[2].keys()
    # All else is as it was: what chooses by held-out losses sees none of this.
    assert files_below(run) == before | {"trunk/tasks.jsonl": (run / "trunk/tasks.jsonl").read_bytes()}


def test_the_same_again_gives_the_same_and_is_noted_again(scored, run, notes):
    asked = ("run", "--tasks", "last-word,cloze", f"perplexity:{notes}", "--limit", 6, "--few-shot", 1)
    both = scored(*asked, "--readout", "raw", "--readout", "ema-25")
    alone = scored(*asked, "--readout", "ema-25")
    again = scored(*asked, "--readout", "ema-25")
    assert alone == again == {key: record for key, record in both.items() if key[1] == "ema-25"}
    assert len(read_records(run / "trunk/tasks.jsonl")) == 12


def test_bits_per_byte_are_those_of_the_readouts_but_for_the_windows(scored, run):
    """Windows of a document begin with it, those of a readout anywhere, and hold the ends of documents too."""
    node = Tree.open(run).trunk
    recipe, corpus, plan = open_recorded(node)
    everything = held_out(corpus, "validation", plan.decoder.context, 10**9)
    model = restore_readout(node, "ema-25").model
    nats = evaluate(model, everything, settle(recipe)[1]) * everything.target_count
    record = scored("run", "--readout", "ema-25", "--tasks", "perplexity")["perplexity", "ema-25"]
    bits = nats / everything.byte_count / math.log(2)
    assert record["eval/perplexity/bits_per_byte/ema-25"] == pytest.approx(bits, rel=1e-3)
    assert record["samples"] == corpus.documents["validation"]


def test_what_is_evaluated_is_what_export_writes(riverrun, scored, run_with_history, notes):
    for readout, name in (("tail:0.2", "tail-0.2"), ("ema-6.25", "ema-6.25"), ("raw", "raw")):
        riverrun("export", "run", "--readout", readout, "--at", 34, "--out", f"model-{name}")
        tasks = ("--tasks", f"perplexity:{notes},cloze:{notes}")
        own = scored("run", "--readout", readout, "--at", "34", *tasks)
        exported = scored(f"model-{name}", *tasks)
        for task in ("perplexity-notes", "cloze-notes"):
            assert own[task, name]["step"] == 34
            assert values(own[task, name]) == values(exported[task, f"model-{name}"])
            assert "step" not in exported[task, f"model-{name}"]
    assert len(read_records(run_with_history / "trunk/tasks.jsonl")) == 6


def test_a_branch_has_its_own_record_and_best_is_a_name(scored, run_with_history, notes):
    records = scored("run", "--node", "end", "--tasks", f"perplexity:{notes}")
    [record] = records.values()
    assert record["readout"] in ("raw", "ema-25", "ema-6.25")
    assert record["step"] == 54
    assert read_records(run_with_history / "branches/end/tasks.jsonl") == [record]
    assert not (run_with_history / "trunk/tasks.jsonl").exists()


def test_what_makes_no_sense_is_told_before_anything_is_evaluated(riverrun, run, notes, monkeypatch):
    def complaint(*arguments):
        return riverrun("evaluate", *arguments).complaint

    assert complaint("run", "--limit", 0) == "--limit: got 0; must be at least 1"
    assert complaint("run", "--few-shot", -1) == "--few-shot: got -1; must be at least 0"
    assert complaint("run", "--batch", 0) == "--batch: got 0; must be at least 1"
    assert (
        complaint("run", "--tasks", ",") == "--tasks: got none; name some, such as --tasks perplexity cloze"
    )
    assert "no readout 'ema-30'" in complaint("run", "--readout", "raw", "--readout", "ema-30")
    assert "no checkpoint at step 7" in complaint("run", "--at", "7", "--readout", "raw")
    assert "two of them are cloze-notes" in complaint("run", "--tasks", f"cloze:{notes}", "cloze:notes.jsonl")
    assert riverrun("export", "run", "--readout", "raw", "--out", "model").code == 0
    assert complaint("model", "--readout", "raw").startswith("model: is one model; leave --readout")
    assert complaint("model") == (
        "--tasks: perplexity has no text to be made of; name one, as in perplexity:FILE or perplexity:bundled"
    )
    monkeypatch.setattr("riverrun.extras.find_spec", lambda name: None)
    assert complaint("none") == "evaluate: needs lm_eval for the tasks. pip install 'riverrun[lm-eval]'"
    assert not (run / "trunk/tasks.jsonl").exists()


def test_the_python_of_the_docs_runs(run_snippets, trained, here):
    shutil.copytree(trained, here / "runs/mine")
    accuracies = run_snippets("evaluate.md")["accuracies"]
    assert accuracies.keys() == {"raw", "ema-25"}
    assert all(0 <= scores["acc"] <= 1 for scores in accuracies.values())


def test_the_task_file_of_the_docs_is_one(scored, run, here, monkeypatch):
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", here / "cache")
    text = (Path(__file__).parents[2] / "docs/evaluate.md").read_text()
    (here / "own").mkdir()
    for language, name in (("yaml", "capitals.yaml"), ("json", "capitals.jsonl")):
        [block] = re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
        (here / "own" / name).write_text(block)
    asked = ("run", "--readout", "raw", "--tasks")
    for options in (("capitals", "--include-path", "own"), ("own/capitals.yaml",)):
        record = scored(*asked, *options)["capitals", "raw"]
        assert record["samples"] == 2
        assert record["eval/capitals/acc/raw"] in (0, 0.5, 1)
        assert record["text"] is None
