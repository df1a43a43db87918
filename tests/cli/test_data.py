"""From text to a trained model by the command line alone."""

import json

from riverrun.runs import Tree


def test_ingest_inspect_train_and_write(riverrun, texts, here, monkeypatch):
    source = texts("text")
    ingest = ("data", "ingest", source, "--out", "corpus", "--held-out", "0.2", "--tokenizer", "bpe:300")
    made = json.loads(riverrun(*ingest, "--workers", 1, "--json", "--quiet").out)
    inspected = json.loads(riverrun("data", "inspect", "corpus", "--json").out)
    assert made == inspected
    assert sum(split["documents"] for split in made["splits"].values()) == 40
    assert made["splits"]["train"]["bytes_per_token"] > 1.2

    (use,) = (
        line for line in riverrun("data", "inspect", "corpus").out.splitlines() if line.startswith("use ")
    )
    table = use.removeprefix("use").strip()
    assert table == '[data] corpus = "corpus"'
    recipe = (
        (here / "tiny.toml").read_text().replace('[data]\ncorpus = "bundled"', table.replace("] ", "]\n"))
    )
    (here / "own.toml").write_text(recipe)
    ended = riverrun("train", "own.toml", "--run", "run", "--until", "20 steps")
    assert (ended.code, ended.err) == (0, "")

    node = Tree.open(here / "run").trunk
    records = node.readouts()
    assert node.facts["data"]["segments"][0]["sources"][0]["corpus"] == made["fingerprint"]
    # A token stands for more than a byte here, so a byte costs less than a token.
    assert records[-1]["loss/raw"] < records[0]["loss/raw"]
    assert records[-1]["bpb/raw"] * 0.693 < records[-1]["loss/raw"]

    # The run knows where its corpus lies, from wherever it is asked.
    elsewhere = here / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    written = riverrun("generate", here / "run", "--tokens", 20, "--prompt", "abc")
    assert written.code == 0
    assert written.out.startswith("abc")


def test_a_mixture_trains_and_goes_on(riverrun, texts, here):
    source = texts("text")
    assert (
        riverrun(
            "data", "ingest", source, "--out", "own", "--held-out", "0.2", "--workers", 1, "--quiet"
        ).code
        == 0
    )
    mixture = 'data.corpus=[{corpus = "bundled", weight = 3}, {corpus = "own", weight = 1}]'
    command = ("train", "tiny.toml", "--run", "run", "--set", mixture, "--until")
    assert riverrun(*command, "10 steps").code == 0
    assert riverrun(*command, "20 steps").code == 0
    other = mixture.replace("weight = 3", "weight = 2")
    complaint = riverrun("train", "tiny.toml", "--run", "run", "--set", other).complaint
    assert complaint.startswith("run: was started with another recipe: data.corpus was ")


def test_nothing_to_ingest_is_named(riverrun, here):
    (here / "empty").mkdir()
    assert "empty" in riverrun("data", "ingest", "empty", "--out", "corpus").complaint
    assert "nowhere" in riverrun("data", "ingest", "nowhere", "--out", "corpus").complaint
    assert riverrun("data", "inspect", "nowhere").complaint.startswith("corpus nowhere: no such directory")
