"""Feeds: another corpus joins in later; nothing before moves, and nothing after depends on how it was asked for."""

import shutil

import numpy as np
import pytest

from riverrun.data import ingest
from riverrun.errors import CheckpointError, CorpusError, SettingError
from riverrun.runs import RunError, Tree
from riverrun.runs.metrics import read_records
from riverrun.train import open_session, parse_recipe, train
from riverrun.train.branch import plan_branch, train_branch
from riverrun.train.decay import Decay
from riverrun.train.feed import feed
from riverrun.train.recipe import Feed
from riverrun.train.session import recorded_feeds, recorded_recipe
from riverrun.units import Duration

STEPS = Duration.parse("10 steps")
SEQUENCES, CONTEXT = 4, 16


@pytest.fixture(scope="module")
def corpora(tmp_path_factory):
    """Two corpora of bytes, told apart by their letters."""
    folder = tmp_path_factory.mktemp("corpora")
    for name, letters in {"digits": "0123456789", "capitals": "ABCDEFGHIJ"}.items():
        draw = np.random.default_rng(ord(letters[0]))
        text = "\n".join("".join(draw.choice(list(letters), 200)) for _ in range(40))
        (folder / f"{name}.txt").write_text(text)
        ingest([str(folder / f"{name}.txt")], folder / name)
    return {name: str(folder / name) for name in ("digits", "capitals")}


def samples(node, steps):
    """The tokens that a run reads in its updates `steps`, as it would read them now."""
    stream = open_session(recorded_recipe(node), node, lambda text: None).stream
    return [stream.batch(step).tokens for step in steps]


def share_of(letters, batches):
    """The share of samples that are made of these characters (and line ends, and ends of text)."""
    rows = np.concatenate(batches)
    wanted = [*letters.encode(), ord("\n"), 256]
    return np.isin(rows, wanted).all(axis=1).mean()


def test_the_past_stays_and_what_follows_is_from_the_new_corpus(tiny_recipe, tmp_path, corpora, run_bits):
    run, recipe = tmp_path / "run", tiny_recipe("checkpoints.keep=99")
    train(recipe, run, "20 steps")
    trunk = Tree.open(run).trunk
    before, read = run_bits(run, 20), samples(trunk, range(1, 21))
    added, _ = feed(trunk, corpora["digits"], 1.0)
    assert added.at.amount == 20 * SEQUENCES * CONTEXT
    assert run_bits(run, 20) == before
    assert all(np.array_equal(*pair) for pair in zip(read, samples(trunk, range(1, 21)), strict=True))
    assert share_of("0123456789", read) == 0
    assert share_of("0123456789", samples(trunk, range(21, 41))) == 1
    train(recipe, run, "30 steps")
    bits, counters, metrics = run_bits(run, 20)
    assert (bits, counters) == before[:2]
    assert metrics.startswith(before[2])


def test_a_share_is_kept_over_any_stretch(tiny_recipe, tmp_path, corpora):
    train(tiny_recipe(), tmp_path / "run", "20 steps")
    trunk = Tree.open(tmp_path / "run").trunk
    feed(trunk, corpora["digits"], 0.25)
    assert share_of("0123456789", samples(trunk, range(21, 821))) == pytest.approx(0.25, abs=0.01)


def test_a_fed_run_is_a_run_whose_recipe_had_the_feed(tiny_recipe, tmp_path, corpora, run_bits):
    digits, capitals = corpora["digits"], corpora["capitals"]
    from_the_start = tiny_recipe(
        f'data.feeds=[{{at = "20 steps", corpus = "{digits}", weight = 0.5}}, '
        f'{{at = "25 steps", corpus = "{capitals}", weight = 0.5}}]'
    )
    train(from_the_start, tmp_path / "recipe", "40 steps")
    run = tmp_path / "fed"
    train(tiny_recipe(), run, "20 steps")
    feed(Tree.open(run).trunk, digits, 0.5)
    train(tiny_recipe(), run, "22 steps")
    feed(Tree.open(run).trunk, capitals, 0.5, at=25)
    for stop in (31, 40):
        train(tiny_recipe(), run, f"{stop} steps")
    assert run_bits(run, 40) == run_bits(tmp_path / "recipe", 40)


def test_a_fed_run_is_resumed_exactly(tiny_recipe, tmp_path, corpora, run_bits):
    for name, stops in {"once": [40], "often": [20, 21, 27, 40]}.items():
        train(tiny_recipe(), tmp_path / name, "20 steps")
        feed(Tree.open(tmp_path / name).trunk, corpora["digits"], 0.5, at=20)
        for stop in stops:
            train(tiny_recipe(), tmp_path / name, f"{stop} steps")
    assert run_bits(tmp_path / "once", 40) == run_bits(tmp_path / "often", 40)


def test_a_branch_takes_the_feeds_of_its_parent_and_no_later_ones(tiny_recipe, tmp_path, corpora):
    run = tmp_path / "run"
    train(tiny_recipe(), run, "20 steps")
    tree = Tree.open(run)
    feed(tree.trunk, corpora["digits"], 0.5, at=22)
    planned = plan_branch(tree, decay=Decay(length=STEPS), name="one")
    node = train_branch(planned).node
    read, data = samples(node, range(21, 41)), node.data
    assert share_of("0123456789", read[:2]) == 0
    assert share_of("0123456789", read[2:]) == pytest.approx(0.5, abs=0.15)
    feed(tree.trunk, corpora["capitals"], 1.0, at=22)
    assert node.data == data
    assert all(np.array_equal(*pair) for pair in zip(read, samples(node, range(21, 41)), strict=True))
    assert share_of("ABCDEFGHIJ", samples(tree.trunk, range(23, 41))) == 1
    again = plan_branch(tree, decay=Decay(length=STEPS), name="one")
    assert train_branch(again).node.data == data  # by its name it goes on as it was
    assert plan_branch(tree, decay=Decay(length=STEPS)).node != node  # the same words now mean other data


def test_a_feed_of_a_branch_s_own_leaves_the_trunk_alone(tiny_recipe, tmp_path, corpora, run_bits):
    for name in ("alone", "branched"):
        train(tiny_recipe(), tmp_path / name, "20 steps")
    tree = Tree.open(tmp_path / "branched")
    own = Feed(at=STEPS, corpus=corpora["digits"], weight=1.0)
    node = train_branch(plan_branch(tree, decay=Decay(length=STEPS), data=own)).node
    assert share_of("0123456789", samples(node, range(21, 31))) == 1
    assert share_of("0123456789", samples(tree.trunk, range(21, 31))) == 0
    feed(node, corpora["capitals"], 1.0)
    assert share_of("ABCDEFGHIJ", samples(node, range(31, 41))) == 1
    for name in ("alone", "branched"):
        train(tiny_recipe(), tmp_path / name, "40 steps")
    assert run_bits(tmp_path / "alone", 40) == run_bits(tmp_path / "branched", 40)


def test_the_same_branch_goes_on_however_its_corpus_is_named(tiny_recipe, tmp_path, corpora, monkeypatch):
    train(tiny_recipe(), tmp_path / "run", "20 steps")
    tree = Tree.open(tmp_path / "run")
    own = Feed(at=STEPS, corpus=corpora["digits"], weight=0.5)
    node = train_branch(plan_branch(tree, data=own)).node
    monkeypatch.chdir(corpora["digits"])
    relative = Feed(at=STEPS, corpus="../digits", weight=0.5)
    assert plan_branch(tree, data=relative).node == node


def test_a_branch_made_before_a_feed_of_its_own_can_be_forked_again(tiny_recipe, tmp_path, corpora):
    train(tiny_recipe(), tmp_path / "run", "20 steps")
    tree = Tree.open(tmp_path / "run")
    decay = Decay(length=STEPS)
    node = train_branch(plan_branch(tree, decay=decay)).node
    feed(node, corpora["digits"], 1.0)
    onward = train_branch(plan_branch(tree, source=node.id, decay=None), "40 steps").node
    assert share_of("0123456789", samples(onward, range(31, 41))) == 1
    assert [one.corpus for one in recorded_recipe(onward).data.feeds] == [corpora["digits"]]
    assert recorded_feeds(onward) == ()


def test_what_cannot_be_fed_is_told_and_nothing_is_written(tiny_recipe, tmp_path, corpora):
    train(tiny_recipe(), tmp_path / "run", "20 steps")
    trunk = Tree.open(tmp_path / "run").trunk
    ingest([f"{corpora['digits']}.txt"], tmp_path / "pieces", tokenizer="bpe:270")
    digits = corpora["digits"]
    for weight in (0, -1, 2, float("nan")):
        with pytest.raises(SettingError, match="--weight: got"):
            feed(trunk, digits, weight)
    with pytest.raises(SettingError, match="--from: got 19; trunk is trained up to step 20 already"):
        feed(trunk, digits, 0.5, at=19)
    with pytest.raises(CorpusError, match="its tokenizer is not that of"):
        feed(trunk, str(tmp_path / "pieces"), 0.5)
    with pytest.raises(CorpusError, match="no such directory"):
        feed(trunk, str(tmp_path / "nowhere"), 0.5)
    with trunk.locked(), pytest.raises(RunError, match="another process"):
        feed(trunk, digits, 0.5)
    assert not trunk.feeds_path.exists()
    feed(trunk, digits, 0.5, at=30)
    with pytest.raises(SettingError, match="--from: got 25; the feed before it begins at step 30"):
        feed(trunk, digits, 0.5, at=25)
    assert len(read_records(trunk.feeds_path)) == 1


def test_a_run_may_be_fed_before_its_first_step(tiny_recipe, tmp_path, corpora, run_bits):
    recipe = tiny_recipe()
    train(recipe, tmp_path / "fed", "0 steps")
    feed(Tree.open(tmp_path / "fed").trunk, corpora["digits"], 1.0)
    assert share_of("0123456789", samples(Tree.open(tmp_path / "fed").trunk, range(1, 11))) == 1
    train(recipe, tmp_path / "fed", "10 steps")
    same = parse_recipe(
        {
            **recipe.to_dict(),
            "data": {"feeds": [{"at": "0 steps", "corpus": corpora["digits"], "weight": 1.0}]},
        }
    )
    train(same, tmp_path / "recipe", "10 steps")
    assert run_bits(tmp_path / "fed", 10) == run_bits(tmp_path / "recipe", 10)


def test_what_a_feed_will_bring_is_settled_when_it_is_asked_for(tiny_recipe, tmp_path, corpora):
    """A corpus that changes before its turn is refused at once, while putting it back still helps."""
    shutil.copytree(corpora["digits"], tmp_path / "later")
    train(tiny_recipe(), tmp_path / "run", "20 steps")
    feed(Tree.open(tmp_path / "run").trunk, str(tmp_path / "later"), 0.5, at=30)
    shutil.rmtree(tmp_path / "later")
    shutil.copytree(corpora["capitals"], tmp_path / "later")
    with pytest.raises(CorpusError, match=r"corpus 1 changed .* \(segment 1, from sample 120\)"):
        train(tiny_recipe(), tmp_path / "run", "25 steps")
    shutil.rmtree(tmp_path / "later")
    shutil.copytree(corpora["digits"], tmp_path / "later")
    assert train(tiny_recipe(), tmp_path / "run", "35 steps").step == 35


def test_a_checkpoint_of_other_data_is_no_fork(tiny_recipe, tmp_path, corpora):
    train(tiny_recipe(), tmp_path / "run", "20 steps")
    train(tiny_recipe(f"data.corpus={corpora['digits']}"), tmp_path / "other", "20 steps")
    saved = "trunk/checkpoints/00000020"
    shutil.rmtree(tmp_path / "run" / saved)
    shutil.copytree(tmp_path / "other" / saved, tmp_path / "run" / saved)
    planned = plan_branch(Tree.open(tmp_path / "run"), at=20, decay=Decay(length=STEPS))
    with pytest.raises(CheckpointError, match="was trained on other data than this run"):
        train_branch(planned)
    assert not planned.node.path.exists()


def test_a_feed_of_its_own_joins_what_the_parent_was_fed_at_the_fork(tiny_recipe, tmp_path, corpora):
    train(tiny_recipe(), tmp_path / "run", "20 steps")
    feed(Tree.open(tmp_path / "run").trunk, corpora["digits"], 1.0)
    own = Feed(at=Duration.parse("0 steps"), corpus=corpora["capitals"], weight=0.5)
    planned = plan_branch(Tree.open(tmp_path / "run"), at=20, decay=Decay(length=STEPS), data=own)
    node = train_branch(planned).node
    read = samples(node, range(21, 31))
    assert share_of("0123456789", read) + share_of("ABCDEFGHIJ", read) == pytest.approx(1)
    assert share_of("ABCDEFGHIJ", read) == pytest.approx(0.5, abs=0.2)


def test_a_feed_beyond_the_end_of_a_decay_makes_it_no_other_branch(tiny_recipe, tmp_path, corpora):
    train(tiny_recipe(), tmp_path / "run", "20 steps")
    tree = Tree.open(tmp_path / "run")
    before = train_branch(plan_branch(tree, at=20, decay=Decay(length=STEPS))).node
    feed(tree.trunk, corpora["digits"], 0.5, at=30)
    assert plan_branch(tree, at=20, decay=Decay(length=STEPS)).node == before
    assert train_branch(plan_branch(tree, at=20, decay=Decay(length=STEPS))).step == 30
