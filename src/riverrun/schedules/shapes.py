"""Decay shapes: how a decay goes from 1 to its floor.

Each takes the progress x, a float64 array in [0, 1], and the floor, the last fraction of the LR; it returns
the multipliers. x = 0 gives 1 and x = 1 gives the floor, exactly: the forms are chosen so that rounding keeps
both.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray

from riverrun.schedules.fields import Number, unknown_name

Floats = NDArray[np.float64]
Shape = Callable[[Floats, float], Floats]


def linear(x: Floats, floor: float) -> Floats:
    """1 - (1 - floor) x."""
    return floor + (1 - floor) * (1 - x)


def cosine(x: Floats, floor: float) -> Floats:
    """Half a cosine wave."""
    return floor + (1 - floor) * ((1 + np.cos(np.pi * x)) / 2)


def sqrt(x: Floats, floor: float) -> Floats:
    """The field's "1-sqrt": steep first, then flat."""
    return floor + (1 - floor) * (1 - np.sqrt(x))


def power(x: Floats, floor: float, exponent: float) -> Floats:
    """(1 - x) ** exponent between 1 and the floor; exponent 1 is linear."""
    return floor + (1 - floor) * (1 - x) ** exponent


def exponential(x: Floats, floor: float) -> Floats:
    """floor ** x: the same factor at every step. Needs floor > 0."""
    # pow(floor, 1) may be one rounding off where the processor's vector units compute it.
    return np.where(x < 1, floor**x, floor)


def inverse(x: Floats, floor: float) -> Floats:
    """1 / (x / floor + 1 - x): the inverse LR grows linearly, as in WSD-S. Needs floor > 0."""
    return floor / (x + floor * (1 - x))


SHAPES: dict[str, Shape] = {
    "linear": linear,
    "cosine": cosine,
    "sqrt": sqrt,
    "exponential": exponential,
    "inverse": inverse,
}
NEEDS_POSITIVE_FLOOR = ("exponential", "inverse")


def decay_shape(name: str) -> Shape:
    """The shape called ``name``: a key of `SHAPES`, or "power:P" with P > 0."""
    if isinstance(name, str) and name in SHAPES:
        return SHAPES[name]
    kind, _, exponent = str(name).partition(":")
    if kind != "power":
        raise unknown_name("shape", name, [*SHAPES, "power:P"])
    try:
        value = float(exponent)
    except ValueError:
        raise ValueError(f"shape: got {name!r}; must be power:P with a number P, e.g. 'power:2'") from None
    return partial(power, exponent=Number(above=0).check(f"shape {name!r}", value))


def check_floor(shape: str, floor: float) -> None:
    """Refuse a floor of 0 for the shapes that would never reach it."""
    if shape in NEEDS_POSITIVE_FLOOR and floor <= 0:
        raise ValueError(f"floor: got {floor:g}; must be more than 0 for the shape {shape!r}, e.g. 0.1")


def progress(steps: Floats, length: int) -> Floats:
    """How far a stretch of ``length`` steps has come, in [0, 1]; a stretch of length zero is over at once."""
    return np.clip(steps / length, 0, 1) if length else np.ones_like(steps)


@dataclass(frozen=True)
class IsShape:
    """The rule of a field that names a shape."""

    unit: str = ""

    def check(self, name: str, value: Any) -> str:
        """The name itself; `ValueError` unless it names a shape."""
        decay_shape(value)
        return str(value)


ShapeName = Annotated[str, IsShape()]
