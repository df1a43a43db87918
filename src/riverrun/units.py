"""Durations and budgets: "12500 steps", "3.3B tokens", "2x"; parsing, conversion, printing.

1x is 20 tokens per non-embedding parameter (Hoffmann et al., 2022), unless a recipe names its own 1x. A bare
number is refused on purpose: what it counts would have to be guessed.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

from riverrun.errors import SettingError

Unit = Literal["steps", "tokens", "x"]

TOKENS_PER_PARAMETER = 20

_MULTIPLES = {"": 1, "k": 10**3, "M": 10**6, "B": 10**9, "G": 10**9, "T": 10**12}
_PATTERN = re.compile(
    r"(?P<number>\d[\d_]*(?:\.\d+)?|\.\d+)(?P<multiple>[kMBGT]?)[ -]?(?P<unit>steps?|tokens?|x)"
)
_FORMS = '"500 steps", "65M tokens" or "2x"'
# Past this no position fits the signed 64-bit integers that positions are stored in.
LARGEST = 2**62


@dataclass(frozen=True)
class Duration:
    """An exact, non-negative amount of training in steps, tokens, or multiples of 1x."""

    amount: Fraction
    unit: Unit

    @classmethod
    def parse(cls, text: object) -> Duration:
        """Read `"12_500 steps"`, `"3.3B tokens"`, `"65M-tokens"` or `"0.25x"`; raise `SettingError` otherwise."""
        if isinstance(text, Duration):
            return text
        match = _PATTERN.fullmatch(text.strip()) if isinstance(text, str) else None
        if match is None:
            raise SettingError(f"got {text!r}; a duration is written {_FORMS}")
        amount = Fraction(match["number"].replace("_", "")) * _MULTIPLES[match["multiple"]]
        unit: Unit = (
            "x" if match["unit"] == "x" else "steps" if match["unit"].startswith("step") else "tokens"
        )
        if unit != "x" and amount.denominator != 1:
            raise SettingError(f"got {text!r}; {unit} come in whole numbers")
        if amount > LARGEST:
            raise SettingError(f"got {text!r}; more than 2^62 of anything cannot be counted here")
        return cls(amount, unit)

    def tokens(self, tokens_per_x: int) -> int:
        """Tokens of a duration in tokens or x, rounded up. A duration in steps has none without a batch size."""
        if self.unit == "steps":
            raise ValueError("a duration in steps has no tokens without a batch size")
        return math.ceil(self.amount * (tokens_per_x if self.unit == "x" else 1))

    def __str__(self) -> str:
        """The shortest form that `parse` reads back to the same duration."""
        if self.unit == "x":
            return f"{_decimal(self.amount)}x"
        if self.unit == "steps":
            return f"{int(self.amount)} steps"
        for multiple in ("T", "B", "M", "k"):
            scaled = self.amount / _MULTIPLES[multiple]
            if scaled >= 1 and len(_decimal(scaled)) <= 5:
                return f"{_decimal(scaled)}{multiple} tokens"
        return f"{int(self.amount)} tokens"


def short_count(count: float) -> str:
    """A count for people, to three digits: 151_000_000 -> "151M", 3_276_800_000 -> "3.28B", 950 -> "950"."""
    for name, multiple in (("T", 1e12), ("B", 1e9), ("M", 1e6), ("k", 1e3)):
        if count >= 0.9995 * multiple:
            return f"{count / multiple:.3g}{name}"
    return f"{count:.0f}"


def short_bytes(count: float) -> str:
    """A size in binary multiples: 1536 -> "1.5 KiB"."""
    for name, multiple in (("TiB", 2**40), ("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10)):
        if count >= multiple:
            return f"{count / multiple:.1f} {name}"
    return f"{count:.0f} B"


def short_time(seconds: float) -> str:
    """A span for people: 4000 -> "1 h 7 min", 75 -> "1 min 15 s"."""
    if seconds >= 2 * 86400:
        return f"{seconds / 86400:.1f} days"
    minutes, rest = divmod(round(seconds), 60)
    if minutes >= 60:
        return f"{minutes // 60} h {minutes % 60} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


def _decimal(amount: Fraction) -> str:
    """An exact decimal, without exponent; every amount that `Duration.parse` makes has one."""
    digits = 0
    while (amount * 10**digits).denominator != 1 and digits < 30:
        digits += 1
    return f"{int(amount * 10**digits) / 10**digits:.{digits}f}" if digits else str(int(amount))
