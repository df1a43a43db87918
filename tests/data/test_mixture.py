import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from riverrun.data import Segment
from riverrun.data.mixture import BLOCK, Mixture, block_quotas, check_segments
from riverrun.errors import SettingError

WEIGHTS = st.lists(st.floats(0, 1e6), min_size=1, max_size=6).filter(any)


@given(WEIGHTS)
def test_quotas_fill_a_block_and_follow_the_weights(weights):
    quotas = block_quotas(weights)
    assert sum(quotas) == BLOCK
    for quota, weight in zip(quotas, weights, strict=True):
        assert (quota == 0) == (weight == 0)
        # Each source of tiny weight may take one sample from the others.
        assert abs(quota - BLOCK * weight / sum(weights)) <= 1 + len(weights)


def test_quotas_of_plain_shares():
    assert block_quotas([3, 1]) == [3072, 1024]
    assert block_quotas([1, 1, 1]) == [1366, 1365, 1365]
    assert block_quotas([1, 1e-9]) == [4095, 1]
    assert block_quotas([1] * BLOCK) == [1] * BLOCK


@given(WEIGHTS, st.integers(0, 5))
def test_each_source_gives_its_samples_in_turn(weights, seed):
    """Ranks within a source count up without a gap, and every block holds the exact quotas."""
    mixture = Mixture(0, seed, tuple(block_quotas(weights)))
    length = 2 * BLOCK + 1000
    sources, ranks = mixture.locate(np.arange(length))
    for source, quota in enumerate(mixture.quotas):
        of_source = ranks[sources == source]
        assert np.array_equal(of_source, np.arange(of_source.size))
        if len(weights) > 1:
            assert (sources[:BLOCK] == source).sum() == quota
            assert (sources[BLOCK : 2 * BLOCK] == source).sum() == quota
    for stop in (0, 1, 777, BLOCK, length):
        expected = np.bincount(sources[:stop], minlength=len(weights))
        assert mixture.consumed(stop) == expected.tolist()


@given(st.lists(st.integers(0, 10**12), min_size=1, max_size=20))
def test_a_sample_does_not_depend_on_its_company(index):
    mixture = Mixture(1, 0, (1000, 3096))
    together = np.stack(mixture.locate(np.array(index)))
    alone = np.concatenate([np.stack(mixture.locate(np.array([n]))) for n in index], axis=1)
    assert np.array_equal(together, alone)


def test_sources_are_interleaved_evenly():
    """Within a block, each eighth holds about its share of a source: no long run of one source."""
    sources, _ = Mixture(0, 0, (3072, 1024)).locate(np.arange(BLOCK))
    counts = sources.reshape(8, -1).sum(axis=1)
    assert np.abs(counts - 128).max() < 5 * np.sqrt(128)


@pytest.mark.parametrize(
    ("starts", "weights", "reason"),
    [
        ([], [1.0], "first segment must begin at sample 0"),
        ([5], [1.0], "first segment must begin at sample 0"),
        ([0, 9, 9], [1.0], "increasing starts"),
        ([0], [0.0], "one of them above 0"),
        ([0], [-1.0], "at least 0"),
        ([0], [float("nan")], "finite"),
        ([0], [float("inf")], "finite"),
        ([0], [1.0, 1.0], "names one corpus twice"),
    ],
)
def test_wrong_segments_are_refused(corpus, starts, weights, reason):
    segments = [Segment(start, tuple((corpus, weight) for weight in weights)) for start in starts]
    with pytest.raises(SettingError, match=reason):
        check_segments(segments)
