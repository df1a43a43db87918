"""Fewer points that draw the same curve: extremes stay, and no point is made up."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

MOST = 2000
"""Points of a curve."""


def thinned(positions: NDArray[np.int64], values: NDArray[np.float64], most: int = MOST) -> NDArray[np.int64]:
    """The indices of at most so many points [n] that stay, increasing.

    The lowest and the highest of every bin stay, the first point and the last, and the first in every bin whose value
    is no finite number, which is a gap in the curve. Half of the bins are evenly wide in positions and half in their
    logarithm, so that the curve is as fine on either axis.

    Args:
        positions: [n], increasing.
        values: [n].
        most: how many, two at least.
    """
    if positions.size <= most:
        return np.arange(positions.size)
    finite = np.isfinite(values)
    kept = [np.array([0, positions.size - 1])]
    of_a_bin = 2 if finite.all() else 3
    if bins := (most - 2) // (2 * of_a_bin):
        first, last = max(1, int(positions[0])), int(positions[-1])
        for edges in (np.linspace(positions[0], last, bins + 1), np.geomspace(first, last, bins + 1)):
            bin_of = np.searchsorted(edges[1:-1], positions, side="right")
            kept += [*_extremes(bin_of, values, finite), _first_of_each(bin_of, np.flatnonzero(~finite))]
    return np.unique(np.concatenate(kept))


def fair_share(sizes: Sequence[int], total: int, most: int = MOST) -> int:
    """How many points each curve may have so that all of them together have at most `total`, two at least.

    What short curves leave is shared by long ones.
    """
    left, limit = total, most
    for count, size in zip(range(len(sizes), 0, -1), sorted(sizes), strict=True):
        limit = left // count
        if size > limit:
            break
        left -= size
        limit = most
    return max(2, min(limit, most))


def _extremes(
    bin_of: NDArray[np.int64], values: NDArray[np.float64], finite: NDArray[np.bool_]
) -> list[NDArray[np.int64]]:
    """The indices of the first lowest and the first highest finite value of each bin."""
    places = np.flatnonzero(finite)
    if not places.size:
        return []
    bins, seen = bin_of[places], values[places]
    begins = np.flatnonzero(np.append(True, np.diff(bins) > 0))
    lengths = np.diff(np.append(begins, bins.size))
    found = []
    for extreme in (np.minimum, np.maximum):
        reached = seen == np.repeat(extreme.reduceat(seen, begins), lengths)
        found.append(_first_of_each(bin_of, places[reached]))
    return found


def _first_of_each(bin_of: NDArray[np.int64], places: NDArray[np.int64]) -> NDArray[np.int64]:
    """The first of some places, which increase, in each bin that has one."""
    bins = bin_of[places]
    return places[np.append(True, bins[1:] != bins[:-1])[: places.size]]
