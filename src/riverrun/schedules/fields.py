"""What an argument may hold: declared once, beside its type, and checked when the object is built.

A frozen dataclass annotates its fields with the types below (``total: PositiveSteps``) and calls
`check_fields` from ``__post_init__``. A wrong value raises `ValueError` in one line that names the argument,
the value seen and what is allowed: ``offset: got -500; must be a whole number of steps, at least 1``.
"""

import difflib
import math
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise
from typing import Annotated, Any, Protocol, get_type_hints

import numpy as np

LARGEST_STEP = 2**53
"""Beyond it float64 no longer tells one step from the next."""


class Rule(Protocol):
    """Checks one value; returns it in its plain form (int, float, str or tuple)."""

    @property
    def unit(self) -> str:
        """The unit of the value, "steps" for a duration, or empty."""

    def check(self, name: str, value: Any) -> Any:
        """The value in plain form; `ValueError` naming ``name`` if it is not allowed."""


@dataclass(frozen=True, kw_only=True)
class Number:
    """A finite number between bounds; ``above`` and ``below`` exclude the bound itself.

    A whole number may come as a NumPy integer or as a float such as 1e4, and is kept as an int.
    """

    minimum: float | None = None
    maximum: float | None = None
    above: float | None = None
    below: float | None = None
    whole: bool = False
    noun: str = "a number"
    unit: str = ""

    def check(self, name: str, value: Any) -> int | float:
        """The value as int (``whole``) or float."""
        if not self._allows(value):
            raise ValueError(f"{name}: got {value!r}; must be {self.allowed}")
        return int(value) if self.whole else float(value)

    def _allows(self, value: Any) -> bool:
        # A bool is an int: True would pass for one step, or for 100%.
        if isinstance(value, bool) or not isinstance(value, int | float | np.integer | np.floating):
            return False
        number = int(value) if isinstance(value, int | np.integer) else float(value)
        return (
            abs(number) <= (LARGEST_STEP if self.whole else sys.float_info.max)  # False for NaN
            and (not self.whole or number == math.floor(number))
            and (self.minimum is None or number >= self.minimum)
            and (self.maximum is None or number <= self.maximum)
            and (self.above is None or number > self.above)
            and (self.below is None or number < self.below)
        )

    @property
    def allowed(self) -> str:
        """The allowed range in words."""
        bounds = {
            "at least": self.minimum,
            "more than": self.above,
            "at most": self.maximum,
            "less than": self.below,
        }
        words = " and ".join(f"{word} {bound:g}" for word, bound in bounds.items() if bound is not None)
        return f"{self.noun}, {words}" if words else self.noun


@dataclass(frozen=True, kw_only=True)
class Increasing:
    """One or more numbers, each larger than the one before; kept as a tuple."""

    each: Number

    @property
    def unit(self) -> str:
        """The unit of every element."""
        return self.each.unit

    def check(self, name: str, value: Any) -> tuple[int | float, ...]:
        """The values as a tuple."""
        if isinstance(value, str) or not isinstance(value, Iterable):
            raise ValueError(f"{name}: got {value!r}; must be a list of increasing values")
        values = tuple(self.each.check(f"{name}[{i}]", element) for i, element in enumerate(value))
        if not values or any(after <= before for before, after in pairwise(values)):
            raise ValueError(f"{name}: got {list(values)}; must be one value or more, each above the last")
        return values


@dataclass(frozen=True)
class EachFraction:
    """The rule of a list of fractions."""

    unit: str = ""

    def check(self, name: str, value: Any) -> tuple[float, ...]:
        """The fractions as a tuple."""
        if isinstance(value, str) or not isinstance(value, Iterable):
            raise ValueError(f"{name}: got {value!r}; must be a list of fractions")
        rule = Number(minimum=0, maximum=1, noun="a fraction")
        return tuple(float(rule.check(f"{name}[{i}]", element)) for i, element in enumerate(value))


@dataclass(frozen=True)
class OneOf:
    """One of a few names."""

    options: tuple[str, ...]
    unit: str = ""

    def check(self, name: str, value: Any) -> str:
        """The name itself."""
        if value not in self.options:
            raise unknown_name(name, value, self.options)
        return str(value)


Steps = Annotated[int, Number(minimum=0, whole=True, noun="a whole number of steps", unit="steps")]
PositiveSteps = Annotated[int, Number(minimum=1, whole=True, noun="a whole number of steps", unit="steps")]
Fraction = Annotated[float, Number(minimum=0, maximum=1, noun="a fraction")]
Fractions = Annotated[tuple[float, ...], EachFraction()]
Budgets = Annotated[
    tuple[int, ...],
    Increasing(each=Number(minimum=1, whole=True, noun="a whole number of steps", unit="steps")),
]


def check_fields(instance: Any) -> None:
    """Check every annotated field of a dataclass instance and keep its plain form."""
    for name, rule in rules(type(instance)).items():
        object.__setattr__(instance, name, rule.check(name, getattr(instance, name)))


def rules(owner: type) -> dict[str, Rule]:
    """The rule of each annotated field of a dataclass, by field name."""
    return {
        name: hint.__metadata__[0]
        for name, hint in get_type_hints(owner, include_extras=True).items()
        if hasattr(hint, "__metadata__")
    }


def unknown_name(name: str, value: Any, options: Iterable[str]) -> ValueError:
    """The error for a name that is not one of the options, with the nearest one."""
    options = list(options)
    near = difflib.get_close_matches(str(value), options, n=1, cutoff=0.4)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    return ValueError(f"{name}: got {value!r}; must be one of {', '.join(options)}{hint}")
