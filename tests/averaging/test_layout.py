import random
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from riverrun.averaging import BlockLayout

ANY_POSITION = st.one_of(st.integers(1, 300), st.integers(1, 10**7), st.integers(1, 10**12))


@given(st.data())
def test_an_edge_that_is_gone_never_comes_back(layouts, data):
    layout = data.draw(layouts)
    edges: set[int] = set()
    for t in range(1, 200):
        now = set(layout.edges(t))
        assert now - edges <= {t - 1}, "only the position before can become an edge"
        edges = now


@given(st.data())
def test_edges_of_a_later_position_are_old_ones_or_new(layouts, data):
    """However far it goes at once: a position skips no merge and invents no split."""
    layout = data.draw(layouts)
    before = data.draw(ANY_POSITION)
    after = before + data.draw(st.one_of(st.integers(0, 50), st.integers(0, 10**7)))
    assert {edge for edge in layout.edges(after) if edge < before} <= set(layout.edges(before))


@given(st.data())
def test_blocks_part_the_run(layouts, data):
    layout, t = data.draw(layouts), data.draw(ANY_POSITION)
    spans = layout.spans(t)
    assert spans[0][0] == 0
    assert spans[-1][1] == t
    assert all(begin < end for begin, end in spans)
    assert all(end == begin for (_, end), (begin, _) in pairwise(spans))
    assert layout.edges(t) == [end for _, end in spans[:-1]]
    assert all(edge % layout.block == 0 for edge in layout.edges(t))


@given(st.data())
def test_a_suffix_has_its_edge_in_a_narrow_block(layouts, data):
    layout, t = data.draw(layouts), data.draw(ANY_POSITION)
    least = max(layout.shortest * t, (layout.resolution - 1) * layout.block)
    shortest, longest = int(np.ceil(least)), int(layout.longest * t)
    assume(shortest <= longest)
    length = data.draw(st.integers(shortest, longest))
    edge = t - length
    widths = [end - begin for begin, end in layout.spans(t) if begin < edge < end]
    assert all(width <= length / (layout.resolution - 1) for width in widths)


@given(st.data())
def test_the_number_of_blocks_is_bounded(layouts, data):
    layout = data.draw(layouts)
    most = layout.most_blocks
    for t in data.draw(st.lists(ANY_POSITION, min_size=1, max_size=10)):
        for near in range(t, t + layout.block + 2):
            assert len(layout.spans(near)) <= most


@pytest.mark.parametrize(
    "layout",
    [
        BlockLayout(),
        BlockLayout(resolution=2, shortest=0.78, longest=0.78),
        BlockLayout(resolution=8, shortest=0.54, longest=0.55, block=2),
        BlockLayout(resolution=3, shortest=0.02, longest=0.5, block=3),
        BlockLayout(resolution=6, shortest=0.05, longest=0.3, block=10),
    ],
)
def test_the_bound_on_the_number_of_blocks_is_reached(layout):
    """Not a generous one: memory is planned by it. Edges are born on even positions, so look right after them."""
    octave = int(2 * layout.resolution / layout.shortest) * layout.block << 12
    births = range(octave, 2 * octave, layout.block << 12)
    counts = [len(layout.spans(birth + 1)) for birth in births]
    assert max(counts) == layout.most_blocks
    picked = random.Random(0).sample(range(octave, 2 * octave), 500)
    assert max(len(layout.spans(t)) for t in picked) <= layout.most_blocks


def test_the_default_costs_about_thirty_copies_of_the_weights():
    assert 26 <= BlockLayout().most_blocks <= 30
    assert BlockLayout(resolution=3).most_blocks < 26
    assert BlockLayout(resolution=2).most_blocks <= 16


@given(before=st.integers(0, 400), gap=st.integers(1, 60), data=st.data())
def test_where_it_is_quiet_the_edges_stay(layouts, before, gap, data):
    layout = data.draw(layouts)
    edges = layout.edges(before) if before else []
    if layout.is_quiet(before, before + gap, edges[0] if edges else None):
        assert layout.edges(before + gap) == edges


@pytest.mark.parametrize("longest", [0.1, 0.3, 1.0])
@pytest.mark.parametrize("gap", [1, 5])
def test_also_where_only_the_oldest_edge_goes(longest, gap):
    """Between two births the run grows beyond its oldest edges."""
    layout = BlockLayout(resolution=3, shortest=0.08, longest=longest)
    for before in range(3000, 5000, gap):
        edges = layout.edges(before)
        if layout.is_quiet(before, before + gap, edges[0]):
            assert layout.edges(before + gap) == edges


def test_most_steps_of_a_long_run_are_quiet():
    """So that their cost is that of the average alone."""
    layout, quiet = BlockLayout(), 0
    first = layout.edges(10**6)[0]
    for t in range(10**6, 10**6 + 1000):
        quiet += layout.is_quiet(t, t + 1, first)
    assert quiet > 990


def test_a_small_run_by_hand():
    """Three points of each grid: 1, 2, 4, ... apart."""
    layout = BlockLayout(resolution=2, shortest=0.02)
    assert layout.spans(1) == [(0, 1)]
    assert layout.spans(3) == [(0, 1), (1, 2), (2, 3)]
    assert layout.edges(9) == [4, 6, 7, 8]
    assert layout.edges(16) == [8, 12, 14, 15]
    assert BlockLayout(resolution=2, shortest=0.02, longest=0.25).edges(16) == [8, 12, 14, 15]
    assert BlockLayout(resolution=2, shortest=0.02, longest=0.1).edges(16) == [14, 15]
    assert BlockLayout(resolution=2, shortest=1.0).edges(16) == [8, 12]
    assert BlockLayout(block=10).edges(35) == [10, 20, 30]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"resolution": 1}, "resolution: got 1; must be a whole number, at least 2"),
        ({"resolution": 2.5}, "resolution: got 2.5"),
        ({"shortest": 0}, "shortest: got 0; "),
        ({"longest": 1.5}, "longest: got 1.5; .*at most 1"),
        ({"shortest": 0.5, "longest": 0.2}, "shortest: got 0.5; must be at most longest, 0.2"),
        ({"block": 0}, "block: got 0; must be a whole number of steps, at least 1"),
    ],
)
def test_settings_out_of_range(settings, message):
    with pytest.raises(ValueError, match=message):
        BlockLayout(**settings)
