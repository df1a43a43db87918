import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from riverrun.data import Corpus
from riverrun.errors import CorpusError


@pytest.fixture
def copy(corpus: Corpus, tmp_path: Path) -> Path:
    return shutil.copytree(corpus.directory, tmp_path / "copy")


@given(data=st.data())
def test_windows_are_slices_of_all_shards_as_one(corpus, data):
    shards = corpus.split("train")
    files = [corpus.directory / shard.file for shard in corpus.manifest.splits["train"].shards]
    assert len(files) > 1
    whole = np.concatenate([np.fromfile(path, "<u2") for path in files])
    assert len(shards) == whole.size
    length = data.draw(st.integers(1, whole.size))
    starts = data.draw(st.lists(st.integers(0, whole.size - length), max_size=5))
    windows = shards.windows(starts, length)
    assert windows.dtype == np.int64
    assert windows.shape == (len(starts), length)
    for window, start in zip(windows, starts, strict=True):
        assert np.array_equal(window, whole[start : start + length])


@given(data=st.data())
def test_documents_of_a_span_are_those_whose_tokens_it_holds(corpus, data):
    shards = corpus.split("train")
    tokens = shards.windows([0], len(shards))[0]
    number = np.cumsum(tokens == corpus.tokenizer.end_of_text) - (tokens == corpus.tokenizer.end_of_text)
    names = shards.documents(0, len(shards))
    start = data.draw(st.integers(0, len(shards) - 1))
    stop = data.draw(st.integers(start + 1, min(len(shards), start + 5000)))
    assert shards.documents(start, stop) == [names[n] for n in np.unique(number[start:stop])]


def test_a_copy_is_the_same_corpus(corpus, copy):
    again = Corpus.open(copy)
    again.verify()
    assert again.fingerprint == corpus.fingerprint
    assert Corpus.open(str(copy)).tokens == corpus.tokens


def test_the_fingerprint_tells_tokens_and_tokenizers_apart(make_corpus):
    prints = {
        make_corpus(texts, **settings).fingerprint
        for texts, settings in [
            (["one", "two"], {}),
            (["two", "one"], {}),
            (["one", "two."], {}),
            (["one", "two"], {"tokenizer": "bpe:257"}),
            (["one", "two"], {"held_out": 0.4}),
        ]
    }
    assert len(prints) == 5


def _rewrite(copy: Path, **changes: object) -> None:
    manifest = json.loads((copy / "manifest.json").read_text())
    (copy / "manifest.json").write_text(json.dumps(manifest | changes))


DAMAGE = {
    "no directory": (
        lambda copy: shutil.rmtree(copy),
        "no such directory; make it with riverrun data ingest",
    ),
    "no manifest": (lambda copy: (copy / "manifest.json").unlink(), "not a corpus"),
    "empty manifest": (lambda copy: (copy / "manifest.json").write_text(""), "cannot be read"),
    "another manifest": (lambda copy: (copy / "manifest.json").write_text("{}"), "is not a corpus's"),
    "a list": (lambda copy: (copy / "manifest.json").write_text("[]"), "is not a corpus's"),
    "later version": (
        lambda copy: _rewrite(copy, version=2),
        "format version 2; this riverrun reads version 1",
    ),
    "unknown entry": (lambda copy: _rewrite(copy, colour="red"), "colour"),
    "missing shard": (lambda copy: (copy / "train-00001.tokens").unlink(), "train-00001.tokens is missing"),
    "missing ids": (lambda copy: (copy / "train-00001.ids").unlink(), "train-00001.ids is missing"),
    "short shard": (lambda copy: _cut(copy / "train-00001.tokens"), "train-00001.tokens holds"),
    "short starts": (lambda copy: _cut(copy / "validation-00000.starts"), "validation-00000.starts holds"),
    "no tokenizer": (lambda copy: (copy / "tokenizer.json").unlink(), "No such file"),
    "another tokenizer": (lambda copy: _touch_tokenizer(copy), "not the one that made the tokens"),
}


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def _touch_tokenizer(copy: Path) -> None:
    with (copy / "tokenizer.json").open("a") as file:
        file.write("\n")


@pytest.mark.parametrize("damage", DAMAGE)
def test_damage_is_named_when_opening(damage, copy):
    do, reason = DAMAGE[damage]
    do(copy)
    with pytest.raises(CorpusError, match=reason) as caught:
        Corpus.open(copy)
    assert str(copy) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_changed_byte_is_found_by_verifying(copy):
    content = bytearray((copy / "train-00001.tokens").read_bytes())
    content[100] ^= 1
    (copy / "train-00001.tokens").write_bytes(content)
    corpus = Corpus.open(copy)
    with pytest.raises(CorpusError, match=r"train-00001\.tokens is damaged"):
        corpus.verify()


def test_an_absent_split_is_named_with_what_there_is(make_corpus):
    corpus = make_corpus(["text"])
    for name in ("validation", "test"):
        with pytest.raises(CorpusError, match=f"no tokens in split '{name}' .it has train.*--held-out"):
            corpus.split(name)
