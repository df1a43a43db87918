"""Thinned curves: extremes and ends stay, nothing is made up, and all together stay small."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from riverrun.report.thinning import fair_share, thinned

some_values = st.lists(st.floats(-1e6, 1e6) | st.sampled_from([np.nan, np.inf, -np.inf]), min_size=1)


def curve(values):
    rng = np.random.default_rng(len(values))
    return np.cumsum(rng.integers(1, 1000, len(values))), np.array(values, float)


@given(some_values, st.integers(2, 60))
def test_points_are_some_of_the_recorded_ones_in_order_and_no_more_than_asked_for(values, most):
    positions, values = curve(values)
    kept = thinned(positions, values, most)
    assert kept.size <= max(most, 1)
    assert (np.diff(kept) > 0).all()
    assert {0, len(values) - 1} <= set(kept.tolist()) <= set(range(len(values)))


@given(some_values, st.integers(10, 60))
def test_the_highest_and_the_lowest_of_all_stay(values, most):
    positions, values = curve(values)
    kept = thinned(positions, values, most)
    if np.isfinite(values).any():
        finite = values[np.isfinite(values)]
        assert finite.min() in values[kept]
        assert finite.max() in values[kept]
    assert np.isfinite(values).all() == np.isfinite(values[kept]).all()


@given(st.integers(2, 3000), st.integers(2, 3000))
def test_a_curve_that_is_short_enough_stays_whole(points, most):
    kept = thinned(*curve([1.0] * points), most)
    assert (kept.size == points) or points > most


@pytest.mark.parametrize("place", [3, 777, 50_001, 99_998])
@pytest.mark.parametrize("value", [1e3, -1e3, np.nan])
def test_a_single_spike_or_gap_stays_wherever_it_is(place, value):
    values = np.random.default_rng(0).normal(size=100_000)
    values[place] = value
    kept = thinned(np.arange(1, 100_001) * 1024, values)
    assert place in kept
    assert kept.size <= 2000


@pytest.mark.parametrize("scale", [np.asarray, np.log])
def test_the_curve_is_about_as_fine_early_as_late_on_both_axes(scale):
    positions = np.arange(1, 100_001) * 1024
    kept = thinned(positions, np.random.default_rng(0).normal(size=100_000))
    first = scale(positions[200])  # below, every point is a bin of its own on a logarithmic axis
    edges = np.linspace(first, scale(positions[-1]), 41)
    in_each, _ = np.histogram(scale(positions[kept]), edges)
    assert in_each.min() >= 10


def test_the_envelope_of_a_noisy_curve_is_that_of_the_thinned_one():
    """In every bin of an evenly divided axis the thinned curve reaches as far up and down as the whole one."""
    values = np.random.default_rng(1).normal(size=60_000)
    positions = np.arange(60_000)
    kept = thinned(positions, values)
    bins = (2000 - 2) // 4
    cut = np.searchsorted(np.linspace(0, 59_999, bins + 1)[1:-1], positions, side="right")
    for one in (0, 17, bins - 1):
        inside, seen = values[cut == one], values[kept][cut[kept] == one]
        assert (inside.min(), inside.max()) == (seen.min(), seen.max())


@given(st.lists(st.integers(0, 5000), min_size=1, max_size=60), st.integers(200, 50_000))
def test_all_curves_share_a_total_and_short_ones_leave_room_for_long_ones(sizes, total):
    most = fair_share(sizes, total)
    assert 2 <= most <= 2000
    spent = sum(min(size, most) for size in sizes)
    assert spent <= total or most == 2
    if most < 2000 and any(size > most for size in sizes):
        assert sum(min(size, most + 1) for size in sizes) > total  # no point is given away
