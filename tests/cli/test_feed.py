"""`riverrun feed`: one line says what is read from where on; see tests/train/test_feed.py for what it does."""

import json

import pytest

from riverrun.runs import Tree


@pytest.fixture
def corpora(texts, riverrun):
    """Two corpora: of bytes, as the bundled one, and of pieces of words."""
    texts("words")
    for name, tokenizer in {"corpus": "bytes", "pieces": "bpe:270"}.items():
        riverrun("data", "ingest", "words", "--out", name, "--tokenizer", tokenizer, "--quiet")


def test_it_says_from_where_on_and_what_is_read_then(riverrun, run, corpora, here):
    ended = riverrun("feed", "run", "corpus", "--weight", 0.3)
    assert (ended.code, ended.err) == (0, "")
    assert ended.out == f"trunk reads from sample 160 on, after step 40: 70% bundled, 30% {here}/corpus\n"
    ended = riverrun("feed", "run", "bundled", "--weight", 0.5, "--from", 60)
    assert ended.out == f"trunk reads from sample 240 on, after step 60: 50% {here}/corpus, 50% bundled\n"
    trained = riverrun("train", "tiny.toml", "--run", "run", "--until", "70 steps")
    assert (trained.code, trained.err) == (0, "")
    (trunk,) = json.loads(riverrun("tree", "run", "--json").out)["nodes"]
    assert trunk["feeds"] == [
        {"step": 40, "sample": 160, "corpus": f"{here}/corpus", "weight": 0.3},
        {"step": 60, "sample": 240, "corpus": "bundled", "weight": 0.5},
    ]
    assert f"feeds: 30% {here}/corpus from step 40, 50% bundled from step 60" in riverrun("tree", "run").out


def test_a_branch_can_be_fed_alone(riverrun, run, corpora):
    riverrun("branch", "run", "--decay", "none", "--until", "50 steps", "--name", "side")
    assert riverrun("feed", "run", "corpus", "--weight", 1, "--node", "side").out.startswith(
        "side reads from sample 200 on, after step 50: 100% "
    )
    tree = Tree.open(run)
    assert tree.branch("side").feeds_path.exists()
    assert not tree.trunk.feeds_path.exists()


WRONG = {
    "no weight": (("corpus",), "--weight: got nothing; name a share above 0 and at most 1"),
    "a share of nothing": (("corpus", "--weight", 0), "--weight: got 0; must be a share above 0 and at most 1"),
    "more than all": (("corpus", "--weight", 2), "--weight: got 2; must be a share"),
    "no share": (("corpus", "--weight", "nan"), "--weight: got nan; must be a share"),
    "the past": (("corpus", "--weight", 0.5, "--from", 39), "--from: got 39; trunk is trained up to step 40 already"),
    "before the start": (("corpus", "--weight", 0.5, "--from", -1), "--from: got -1; trunk is trained up to step 40"),
    "no corpus": (("nowhere", "--weight", 0.5), "nowhere: no such directory"),
    "another tokenizer": (("pieces", "--weight", 0.5), "its tokenizer is not that of"),
    "no such node": (("corpus", "--weight", 0.5, "--node", "side"), "run: has no node 'side'"),
}  # fmt: skip


@pytest.mark.parametrize(("arguments", "complaint"), WRONG.values(), ids=WRONG.keys())
def test_what_cannot_be_fed_is_told_and_nothing_is_written(
    arguments, complaint, riverrun, run, corpora, files_below
):
    before = files_below(run)
    ended = riverrun("feed", "run", *arguments)
    assert complaint in ended.complaint
    assert ended.out == ""
    assert files_below(run) == before


def test_a_run_in_training_is_not_fed(riverrun, run, corpora, files_below):
    with Tree.open(run).trunk.locked():
        before = files_below(run)
        complaint = riverrun("feed", "run", "corpus", "--weight", 0.5).complaint
        assert complaint == "run/trunk: another process is training here; wait for it or stop it"
        assert files_below(run) == before
