import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from riverrun.data import held_out
from riverrun.errors import CorpusError, SettingError


@given(
    context=st.integers(1, 300),
    sequences=st.integers(1, 500),
    parts=st.integers(1, 3),
    part=st.integers(0, 2),
)
def test_bytes_are_those_of_the_targets(corpus, context, sequences, parts, part):
    available = len(range(part % parts, (corpus.tokens["validation"] - 1) // context, parts))
    windows = held_out(corpus, "validation", context, sequences, part=part % parts, parts=parts)
    assert windows.tokens.shape == (min(sequences, available), context + 1)
    assert windows.byte_count == np.count_nonzero(windows.tokens[:, 1:] != corpus.tokenizer.end_of_text)


def test_all_windows_hold_each_target_once(corpus):
    tokens = corpus.split("validation").windows([0], corpus.tokens["validation"])[0]
    windows = held_out(corpus, "validation", 50, 10**9).tokens
    targets = windows[:, 1:].ravel()
    assert np.array_equal(targets, tokens[1 : targets.size + 1])
    assert tokens.size - 1 - targets.size < 50


def test_windows_are_spread_and_the_same_on_every_call(corpus):
    first, again = (held_out(corpus, "validation", 64, 10) for _ in range(2))
    assert np.array_equal(first.tokens, again.tokens)
    every = held_out(corpus, "validation", 64, 10**9).tokens
    places = [int(np.flatnonzero((every == window).all(axis=1))[0]) for window in first.tokens]
    steps = np.diff([*places, len(every)])
    assert steps.max() - steps.min() <= 1


def test_parts_share_no_window(corpus):
    one, other = (held_out(corpus, "validation", 32, 10**9, part=part, parts=2).tokens for part in (0, 1))
    every = held_out(corpus, "validation", 32, 10**9).tokens
    assert np.array_equal(every[0::2], one)
    assert np.array_equal(every[1::2], other)


def test_bytes_of_a_bpe_are_those_of_its_text(make_corpus, documents):
    corpus = make_corpus(documents, tokenizer="bpe:300", held_out=0.1)
    windows = held_out(corpus, "validation", 1, 10**9)
    first = corpus.tokenizer.byte_lengths()[windows.tokens[0, 0]]
    assert windows.byte_count + first == corpus.manifest.splits["validation"].bytes


def test_too_little_text_is_refused(corpus, make_corpus):
    with pytest.raises(CorpusError, match="--held-out"):
        held_out(corpus, "validation", 10**6, 1)
    with pytest.raises(CorpusError, match="no tokens in split"):
        held_out(make_corpus(["text"]), "validation", 4, 1)
    with pytest.raises(SettingError, match="part"):
        held_out(corpus, "validation", 4, 1, part=2, parts=2)
