import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from riverrun.data.order import permute, round_keys


@given(size=st.integers(1, 5000), seed=st.integers(0, 2**63))
def test_every_index_comes_once(size, seed):
    images = permute(np.arange(size), size, round_keys(seed))
    assert np.array_equal(np.sort(images), np.arange(size))


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5, 2**16 - 1, 2**16, 2**16 + 1])
def test_every_index_comes_once_at_the_edges(size):
    images = permute(np.arange(size), size, round_keys("edge", size))
    assert np.array_equal(np.sort(images), np.arange(size))


@given(size=st.integers(2, 2**62), data=st.data())
def test_an_image_does_not_depend_on_its_company(size, data):
    index = np.array(data.draw(st.lists(st.integers(0, size - 1), min_size=1, max_size=20)))
    keys = round_keys(1)
    together = permute(index, size, keys)
    alone = [int(permute(index[i : i + 1], size, keys)[0]) for i in range(index.size)]
    assert together.tolist() == alone
    assert (together >= 0).all()
    assert (together < size).all()


def test_images_are_spread_like_a_random_permutation():
    """Displacement, order of neighbours and fixed points, each within five standard deviations of chance."""
    size = 100_003
    images = permute(np.arange(size), size, round_keys("mixing", 0))
    scaled = images / size
    position = np.arange(size) / size
    assert abs(np.corrcoef(position, scaled)[0, 1]) < 5 / np.sqrt(size)
    assert abs(np.corrcoef(scaled[:-1], scaled[1:])[0, 1]) < 5 / np.sqrt(size)
    rising = (images[1:] > images[:-1]).mean()
    assert abs(rising - 0.5) < 5 * np.sqrt(1 / 12 / size)
    assert (images == np.arange(size)).sum() < 10
    # Every tenth of the indices lands evenly on every tenth of the images.
    counts = np.histogram2d(position, scaled, bins=10)[0]
    assert np.abs(counts - size / 100).max() < 5 * np.sqrt(size / 100)


def test_small_permutations_are_all_reached_about_equally():
    """All 24 orders of four items, over many keys; chi-square with 23 degrees of freedom."""
    orders = [tuple(permute(np.arange(4), 4, round_keys("small", key)).tolist()) for key in range(2400)]
    counts = np.array([orders.count(order) for order in set(orders)])
    assert counts.size == 24
    assert ((counts - 100) ** 2 / 100).sum() < 60


def test_another_key_is_another_order():
    size = 10_000
    first = permute(np.arange(size), size, round_keys(0, "epoch", "corpus", 0))
    for parts in [(1, "epoch", "corpus", 0), (0, "epoch", "corpus", 1), (0, "epoch", "other", 0)]:
        other = permute(np.arange(size), size, round_keys(*parts))
        assert (first == other).sum() < 10
        assert abs(np.corrcoef(first, other)[0, 1]) < 5 / np.sqrt(size)


def test_the_order_never_changes():
    """Saved runs depend on these very numbers."""
    images = permute(np.arange(10), 10, round_keys(0, "epoch", "abc", 0))
    assert images.tolist() == [7, 2, 0, 1, 9, 5, 3, 6, 8, 4]
