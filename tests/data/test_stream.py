import json
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from riverrun.data import BatchSizes, Segment, Stream
from riverrun.errors import CorpusError, SettingError

CONTEXT = 16


def stream_of(
    *segments: tuple, seed: int = 0, context: int = CONTEXT, sizes: BatchSizes | None = None
) -> Stream:
    return Stream(
        [Segment(start, sources) for start, sources in segments], context, seed, sizes or BatchSizes(8)
    )


def samples_in(corpus) -> int:
    return (corpus.tokens["train"] - 1) // CONTEXT


@pytest.fixture(scope="module")
def web(make_corpus):
    return make_corpus([f"web page {n}: " + "water " * (n % 9) for n in range(200)])


@pytest.fixture(scope="module")
def code(make_corpus):
    return make_corpus([f"def function_{n}(): return {n}" for n in range(150)])


def test_an_epoch_holds_every_sample_once_and_every_token_is_a_target_once(web):
    stream, count = stream_of((0, ((web, 1.0),))), samples_in(web)
    tokens = web.split("train").windows([0], web.tokens["train"])[0]
    for epoch in range(2):
        seen = stream.tokens(np.arange(epoch * count, (epoch + 1) * count))
        expected = np.stack([tokens[i * CONTEXT : (i + 1) * CONTEXT + 1] for i in range(count)])
        assert Counter(map(bytes, seen)) == Counter(map(bytes, expected))
        assert Counter(seen[:, 1:].ravel().tolist()) == Counter(tokens[1 : count * CONTEXT + 1].tolist())


def test_epochs_and_seeds_have_orders_of_their_own(web):
    count = samples_in(web)
    first = stream_of((0, ((web, 1.0),)))
    orders = [first.tokens(np.arange(count)), first.tokens(np.arange(count, 2 * count))]
    orders.append(stream_of((0, ((web, 1.0),)), seed=1).tokens(np.arange(count)))
    in_order = web.split("train").windows(np.arange(count) * CONTEXT, CONTEXT + 1)
    orders.append(in_order)
    for one in range(4):
        for other in range(one):
            assert (orders[one] == orders[other]).all(axis=1).mean() < 0.1


def test_batches_are_the_samples_in_turn_through_a_ramp(web):
    sizes = BatchSizes(4, [(3, 8), (6, 16)])
    stream = stream_of((0, ((web, 1.0),)), sizes=sizes)
    batches = [stream.batch(step) for step in range(1, 9)]
    indices = np.concatenate([batch.indices for batch in batches])
    assert np.array_equal(indices, np.arange(sizes.samples(8)))
    assert np.array_equal(np.concatenate([batch.tokens for batch in batches]), stream.tokens(indices))


@pytest.mark.parametrize("world", [1, 2, 4])
def test_the_number_of_ranks_changes_no_data(world, web, code):
    stream = stream_of((0, ((web, 2.0), (code, 1.0))))
    for step in (1, 2, 700):
        whole = stream.batch(step)
        parts = [stream.batch(step, rank, world) for rank in range(world)]
        assert np.array_equal(np.concatenate([part.indices for part in parts]), whole.indices)
        assert np.array_equal(np.concatenate([part.tokens for part in parts]), whole.tokens)
        assert whole.tokens.dtype == np.int64


def test_another_batch_size_moves_no_sample(web):
    small, large = (stream_of((0, ((web, 1.0),)), sizes=BatchSizes(n)) for n in (4, 12))
    assert np.array_equal(
        np.concatenate([small.batch(step).tokens for step in range(1, 7)]),
        np.concatenate([large.batch(step).tokens for step in range(1, 3)]),
    )


@given(numbers=st.lists(st.integers(0, 10**9), max_size=12))
def test_a_sample_is_a_function_of_its_number(web, code, numbers):
    stream = stream_of((0, ((web, 1.0),)), (700, ((web, 1.0), (code, 3.0))))
    together = stream.tokens(numbers)
    assert together.shape == (len(numbers), CONTEXT + 1)
    for number, tokens in zip(numbers, together, strict=True):
        assert np.array_equal(stream.tokens([number])[0], tokens)


@given(start=st.integers(1, 6000), weight=st.floats(0.01, 100))
def test_appending_a_segment_leaves_the_past(web, code, start, weight):
    before = stream_of((0, ((web, 1.0),)))
    after = stream_of((0, ((web, 1.0),)), (start, ((web, 1.0), (code, weight))))
    past = np.unique(np.clip(np.arange(start - 50, start), 0, None))
    assert np.array_equal(before.tokens(past), after.tokens(past))


@given(cut=st.integers(1, 5000), weight=st.floats(0.1, 10))
def test_a_corpus_goes_on_where_the_segment_before_stopped(web, code, cut, weight):
    """Over two segments each corpus gives exactly the samples that it gives when read alone."""
    length = cut + 3000
    mixed = stream_of((0, ((code, 1.0), (web, weight))), (cut, ((web, 1.0), (code, weight))))
    seen = mixed.tokens(np.arange(length))
    read = mixed.epochs(length)
    alone = []
    for corpus in (web, code):
        count = round(read[corpus] * samples_in(corpus))
        alone.append(stream_of((0, ((corpus, 1.0),))).tokens(np.arange(count)))
    assert Counter(map(bytes, seen)) == Counter(map(bytes, np.concatenate(alone)))


def test_mixtures_are_exact_in_every_block(web, code):
    stream = stream_of((0, ((web, 3.0), (code, 1.0))))
    for block in (1, 2, 5):
        read = stream.epochs(block * 4096)
        assert read[web] * samples_in(web) == pytest.approx(block * 3072)
        assert read[code] * samples_in(code) == pytest.approx(block * 1024)


def test_documents_are_those_of_the_tokens(make_corpus):
    texts = [f"<{n}>" + "." * (n % 40) for n in range(100)]
    stream = stream_of((0, ((make_corpus(texts), 1.0),)))
    for number in range(60):
        named = stream.documents(number)
        tokens = stream.tokens([number])[0]
        assert len(named) == np.count_nonzero(tokens[:-1] == 256) + 1
        for name in named:
            assert name.startswith("texts.jsonl:")
        text = "".join(chr(token) if token < 256 else "\n" for token in tokens)
        inner = [line for line in text.split("\n")[1:] if line.startswith("<") and ">" in line]
        lines = [int(line[1 : line.index(">")]) + 1 for line in inner]
        assert [f"texts.jsonl:{line}" in named for line in lines] == [True] * len(lines)


def test_the_fingerprint_is_json_and_tells_streams_apart(web, code):
    plain = stream_of((0, ((web, 1.0),)))
    assert json.loads(json.dumps(plain.fingerprint)) == plain.fingerprint
    others = [
        stream_of((0, ((code, 1.0),))),
        stream_of((0, ((web, 1.0),)), seed=1),
        stream_of((0, ((web, 1.0),)), context=17),
        stream_of((0, ((web, 1.0), (code, 1.0)))),
        stream_of((0, ((web, 1.0),)), (10, ((code, 1.0),))),
    ]
    assert len({stream.fingerprint["hash"] for stream in [plain, *others]}) == 6
    same = stream_of((0, ((web, 1.0),)), sizes=BatchSizes(2, [(3, 64)]))
    assert same.fingerprint == plain.fingerprint


def test_what_cannot_be_a_batch_is_refused(web):
    stream = stream_of((0, ((web, 1.0),)))
    with pytest.raises(SettingError, match="at least"):
        stream.batch(1, 0, 1_000)
    with pytest.raises(ValueError, match="rank"):
        stream.batch(1, 2, 2)
    with pytest.raises(ValueError, match="counted from 1"):
        stream.batch(0)
    with pytest.raises(ValueError, match="counted from 0"):
        stream.tokens([-1])


def test_corpora_that_make_no_stream_are_refused(web, make_corpus):
    with pytest.raises(CorpusError, match="less than one sample of 17"):
        stream_of((0, ((make_corpus(["short"]), 1.0),)))
    other = make_corpus(["a text " * 50], tokenizer="bpe:260")
    with pytest.raises(CorpusError, match=r"--tokenizer .*tokenizer\.json"):
        stream_of((0, ((web, 1.0), (other, 1.0))))
    with pytest.raises(SettingError, match=r"model\.context"):
        stream_of((0, ((web, 1.0),)), context=0)


def test_the_smallest_corpus_gives_its_one_sample_for_ever(make_corpus):
    stream = stream_of((0, ((make_corpus(["sixteen bytes ok"]), 1.0),)))
    assert (stream.tokens(range(20)) == stream.tokens([0])).all()


def test_the_order_never_changes(web):
    """Saved runs depend on these very numbers."""
    stream = stream_of((0, ((web, 1.0),)), seed=3)
    lines = ["texts.jsonl:108", "texts.jsonl:178", "texts.jsonl:98", "texts.jsonl:25"]
    assert [stream.documents(number)[0] for number in (0, 1, 2, 1000)] == lines
