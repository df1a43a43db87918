"""Decay shapes from whole numbers of steps, in forms that float32 rounds by no more than a few units.

`riverrun.schedules.shapes` has them as functions of the progress x. Near the end of a decay float32 has lost the
digits of 1 - x; here the steps that are left are counted instead. A power multiplies the rounding of its argument, an
exponential that of its exponent: both start from anchors of known value, no more than about a halving before.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import jax.numpy as jnp
import numpy as np
from jax import Array

from riverrun.integrations.optax.positions import from_anchor, knots, since, until
from riverrun.schedules.fields import LARGEST_STEP, unknown_name

HALVINGS = np.arange(1100.0)
"""As many as float64 holds, from 1 down to its smallest number."""


@dataclass(frozen=True)
class Stretch:
    """Where positions lie in a decay of ``length`` steps, one or more.

    Attributes:
        done: steps done, as integers from 0 to ``length``.
        x: the fraction of the length that is done.
        rest: the fraction that is left.
    """

    length: int
    done: Array
    x: Array
    rest: Array

    @classmethod
    def over(cls, s: Array, start: int, length: int) -> "Stretch":
        """The positions ``s`` in the ``length`` steps after ``start``."""
        done = jnp.minimum(since(s, start), knots(length, s))
        return cls(length, done, done.astype(float) / float(length), until(s, start + length) / float(length))


def decaying(shape: str, floor: float, s: Array, start: int, length: int) -> Array:
    """The multipliers of a decay from 1 to its floor over the ``length`` steps after ``start``."""
    if not length:
        return jnp.full(s.shape, floor, float)
    stretch = Stretch.over(s, start, length)
    kind, _, exponent = shape.partition(":")
    if kind in _TO_ZERO:
        return floor + (1 - floor) * _TO_ZERO[kind](stretch)
    if kind == "power":
        return floor + (1 - floor) * _power(stretch, float(exponent))
    if kind in _TO_FLOOR:
        return _TO_FLOOR[kind](stretch, floor)
    raise unknown_name("shape", shape, [*_TO_ZERO, *_TO_FLOOR, "power:P"])


def _linear(stretch: Stretch) -> Array:
    return stretch.rest


def _cosine(stretch: Stretch) -> Array:
    """(1 + cos(pi x)) / 2."""
    return jnp.sin(math.pi / 2 * stretch.rest) ** 2


def _sqrt(stretch: Stretch) -> Array:
    """1 - sqrt(x)."""
    return stretch.rest / (1 + jnp.sqrt(stretch.x))


def _power(stretch: Stretch, exponent: float) -> Array:
    """rest ** exponent."""
    rest = np.ceil(stretch.length * np.exp2(-HALVINGS / max(exponent, 1)))
    rest = rest[rest > 0]
    gap, own = from_anchor(stretch.done, (stretch.length - rest).astype(np.int64))
    return own((rest / stretch.length) ** exponent) * jnp.exp(exponent * jnp.log1p(-gap / own(rest)))


def _exponential(stretch: Stretch, floor: float) -> Array:
    """floor ** x."""
    if floor == 1:
        return jnp.ones_like(stretch.x)
    rate = -math.log(floor) / stretch.length
    anchors = np.floor(HALVINGS * (math.log(2) / rate))
    anchors = anchors[anchors <= stretch.length].astype(np.int64)
    gap, own = from_anchor(stretch.done, anchors)
    return own(np.exp(-rate * anchors)) * jnp.exp(-rate * gap)


def _inverse(stretch: Stretch, floor: float) -> Array:
    """1 / (x / floor + 1 - x)."""
    return floor / (stretch.x + floor * stretch.rest)


_TO_ZERO: dict[str, Callable[[Stretch], Array]] = {"linear": _linear, "cosine": _cosine, "sqrt": _sqrt}
_TO_FLOOR: dict[str, Callable[[Stretch, float], Array]] = {"exponential": _exponential, "inverse": _inverse}


def power_decay(u: Array, exponent: float, offset: int) -> Array:
    """(offset / (u + offset)) ** exponent for integers u >= 0."""
    if not exponent:
        return jnp.ones(u.shape, float)
    with np.errstate(over="ignore"):  # the anchors after the last position are dropped
        anchors = np.floor(offset * (np.exp2(HALVINGS / exponent) - 1))
    anchors = anchors[anchors <= LARGEST_STEP].astype(np.int64)
    gap, own = from_anchor(u, anchors)
    base = anchors + float(offset)
    return own((offset / base) ** exponent) * jnp.exp(-exponent * jnp.log1p(gap / own(base)))
