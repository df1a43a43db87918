"""Positions in whole numbers, and what lies between them as floats.

float32 no longer tells one step from the next above 2**24. So positions stay integers, and their differences, which
integers hold exactly, are taken before anything is rounded. Knots may lie beyond what the integers hold (int32 where
x64 is off); no position comes after those.
"""

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import Array
from numpy.typing import ArrayLike


def positions(count: Any) -> Array:
    """The update that comes after ``count`` updates: ``count + 1``, as int32, or int64 where x64 is on.

    Raises:
        ValueError: the count does not hold integers.
    """
    count = jnp.asarray(count)
    if not jnp.issubdtype(count.dtype, jnp.integer):
        raise ValueError(f"count: got {count.dtype}; must hold integers, the number of updates done")
    count = count.astype(int)
    return jnp.minimum(count, jnp.iinfo(count.dtype).max - 1) + 1


def constants(values: ArrayLike, dtype: Any = float) -> Array:
    """Numbers of the host in a dtype of the device; ``float`` is float32 where x64 is off."""
    return jnp.asarray(np.asarray(values), dtype)


def knots(places: ArrayLike, s: Array) -> Array:
    """Increasing positions in the integers of ``s``: those beyond them as the largest, which none comes after."""
    return constants(np.minimum(places, np.iinfo(s.dtype).max), s.dtype)


def since(s: Array, start: int) -> Array:
    """How many steps ``s`` lies after ``start``, as integers; 0 up to there."""
    return jnp.maximum(s - knots(start, s), 0)


def until(s: Array, ends: ArrayLike, which: Any = ()) -> Array:
    """How many steps are left from ``s`` to ``ends[which]``, as floats; 0 from there on."""
    beyond = np.maximum(np.asarray(ends) - np.iinfo(s.dtype).max, 0)
    left = jnp.maximum(knots(ends, s)[which] - s, 0)
    return left.astype(float) + constants(beyond)[which]


def interval(s: Array, ends: ArrayLike) -> Array:
    """Which of the intervals between increasing ``ends`` each position lies in; an end belongs to the one before it."""
    return jnp.searchsorted(knots(ends, s), s, method="compare_all")


def from_anchor(s: Array, anchors: ArrayLike) -> tuple[Array, Callable[[ArrayLike], Array]]:
    """The last of the increasing anchors up to each position, none of which lies before the first.

    Returns:
        How many steps each position lies after its anchor, as floats; and a function that picks, of numbers given
        for all anchors, those of the positions' own.
    """
    places = np.asarray(anchors)
    places = knots(places[places <= np.iinfo(s.dtype).max], s)
    own = jnp.searchsorted(places, s, side="right", method="compare_all") - 1
    return (s - places[own]).astype(float), lambda numbers: constants(numbers)[own]
