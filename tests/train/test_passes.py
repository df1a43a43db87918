from itertools import chain

import pytest
import torch

from riverrun.ranks import Ranks
from riverrun.train.passes import passes


@pytest.mark.parametrize("count", [8, 9, 11])
@pytest.mark.parametrize("size", [1, 2, 3, 4, 8])
@pytest.mark.parametrize("at_once", [1, 2, 3, 100])
def test_every_rank_makes_as_many_passes_and_each_sequence_counts_once(count, size, at_once):
    tokens = torch.arange(count)[:, None].expand(count, 5)
    ranks = [Ranks(rank=rank, size=size) for rank in range(size)]
    cut = [list(passes(tokens[one.share(count)], at_once, one.largest_share(count))) for one in ranks]
    assert len({len(own) for own in cut}) == 1
    counted = [part[:, 0].tolist() for own in cut for part, counts in own if counts]
    assert list(chain.from_iterable(counted)) == list(range(count))
    assert all(1 <= len(part) <= at_once for own in cut for part, _ in own)


def test_shares_differ_by_one_at_most():
    shares = [Ranks(rank=rank, size=7).share(100) for rank in range(7)]
    lengths = [share.stop - share.start for share in shares]
    assert sum(lengths) == 100
    assert max(lengths) - min(lengths) == 1
    assert max(lengths) == Ranks(rank=0, size=7).largest_share(100)
