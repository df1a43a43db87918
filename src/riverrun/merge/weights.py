"""How much of each input a merge takes: by the inputs' order, by given numbers, or by their positions.

A merge of inputs theta_0 .. theta_(n-1) with weights c_j equals a decay: with w_i = the sum of c_j over j >= i,

    sum_j c_j theta_j = theta_0 + sum_i w_i (theta_i - theta_(i-1))        i = 1 .. n-1

takes the whole change between two inputs w_i times. So a decay with multipliers w_1 >= w_2 >= ... is the merge with
c_0 = 1 - w_1, c_j = w_j - w_(j+1), c_(n-1) = w_(n-1). Here w_i = shape(i / n): linear gives equal weights.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from riverrun.errors import SettingError
from riverrun.schedules.shapes import SHAPES, check_floor, decay_shape

if TYPE_CHECKING:
    from riverrun.averaging import Profile

# Up to here the products of numerators and fp32 numbers are exact in fp64, with room for their sum.
_LARGEST_DENOMINATOR = 2**16
# How far from 1/3 a weight may come out that is 1/3 but for rounding.
ROUNDING = 2.0**-50


@dataclass(frozen=True)
class Weights:
    """Non-negative weights `numerators[j] / denominator` that sum to 1.

    Where the weights are ratios of small whole numbers the numerators are ints, and a merge is exact up to its one
    rounding at the end; otherwise they are floats and the denominator is 1.
    """

    numerators: tuple[int, ...] | tuple[float, ...]
    denominator: int

    @property
    def values(self) -> tuple[float, ...]:
        """As floats."""
        return tuple(numerator / self.denominator for numerator in self.numerators)

    @property
    def are_ratios(self) -> bool:
        """Whether the numerators are ints."""
        return isinstance(self.numerators[0], int)

    def without_zeros(self) -> Weights:
        """The weights of the inputs that count."""
        return Weights(tuple(numerator for numerator in self.numerators if numerator), self.denominator)

    @classmethod
    def of(cls, weights: Iterable[float | Fraction], tolerance: float = 0.0) -> Weights:
        """The weights over their sum; those within `tolerance` of ratios of small whole numbers become those."""
        given = [Fraction(weight) for weight in weights]
        shares = [weight / sum(given) for weight in given]
        ratios = [share.limit_denominator(_LARGEST_DENOMINATOR) for share in shares]
        common = math.lcm(*(ratio.denominator for ratio in ratios))
        close = all(abs(ratio - share) <= tolerance for ratio, share in zip(ratios, shares, strict=True))
        if close and common <= _LARGEST_DENOMINATOR and sum(ratios) == 1:
            return cls(tuple(int(ratio * common) for ratio in ratios), common)
        return cls(tuple(float(share) for share in shares), 1)


def by_order(spec: str, count: int) -> Weights | None:
    """The weights of a spec that needs no positions; None for any other spec.

    Such are "uniform", "weights:0.2,0.3,0.5", and the decays that a merge stands for: a shape such as "linear",
    "sqrt", "power:2" or "inverse:floor=0.1".

    Raises:
        SettingError: a number is missing, extra or out of range.
    """
    kind = spec.partition(":")[0]
    if spec == "uniform":
        return Weights((1,) * count, count)
    if kind == "weights":
        return Weights.of(_given(spec, count))
    if kind in SHAPES or kind == "power":
        return Weights.of(_decay(spec, count), ROUNDING)
    return None


def positional(spec: str) -> Profile:
    """The profile of `riverrun.averaging` that a spec names; `SettingError` if it names none."""
    from riverrun.averaging import parse_profile  # imports torch, which other merges do without

    try:
        return parse_profile(spec)
    except ValueError as error:
        raise SettingError(
            f"--{error}; or a decay ({', '.join(SHAPES)}, power:P), or weights:A,B,..."
        ) from None


def by_position(profile: Profile, positions: Sequence[int]) -> Weights:
    """The weights of a profile over increasing positions, at the last of them.

    Each input stands for the iterates since the input before it, as in `Profile.weights`.

    Raises:
        SettingError: the profile gives none of the positions any weight.
    """
    shares = profile.weights(positions[-1], positions)
    if not shares.sum() > 0:
        listed = ", ".join(f"{position:,}" for position in positions)
        raise SettingError(f"--profile: {profile.spec} gives none of the positions {listed} any weight")
    return Weights.of((float(share) for share in shares), ROUNDING)


def error_bound(profile: Profile, positions: Sequence[int]) -> float:
    """How far weights by position are from the profile: the share of weight on other iterates than asked.

    An input counts as all iterates since the one before it, whose mean it stands for.
    """
    from riverrun.averaging.synthesis import mixture

    return mixture(profile, list(pairwise((0, *positions)))).bound


def normalised(spec: str) -> str | None:
    """What to tell a user whose given weights do not sum to 1; None where there is nothing to tell."""
    if not spec.startswith("weights:"):
        return None
    total = sum(_numbers(spec))
    return None if total == 1 else f"the weights given sum to {float(total):g}; each was divided by that"


def _numbers(spec: str) -> list[Fraction]:
    try:
        return [Fraction(text.strip()) for text in spec.removeprefix("weights:").split(",")]
    except (ValueError, ZeroDivisionError):
        raise SettingError(
            f"--profile: got {spec!r}; must be numbers between commas, as in weights:0.2,0.3,0.5"
        ) from None


def _given(spec: str, count: int) -> list[Fraction]:
    weights = _numbers(spec)
    if len(weights) != count:
        raise SettingError(
            f"--profile: got {spec!r}, {len(weights)} weights for {count} inputs; give one for each"
        )
    if min(weights) < 0 or not sum(weights):
        raise SettingError(f"--profile: got {spec!r}; weights must not be negative, and one must be above 0")
    return weights


def _decay(spec: str, count: int) -> list[float]:
    shape, _, floor_text = spec.partition(":floor=")
    try:
        floor = float(floor_text) if floor_text else 0.0
        if not 0 <= floor <= 1:
            raise ValueError(f"floor: got {floor:g}; must be a fraction")
        check_floor(shape, floor)
        multipliers = decay_shape(shape)(np.arange(count) / count, floor)
    except ValueError as error:
        raise SettingError(
            f"--profile: got {spec!r}: {error}; a floor is written {shape}:floor=0.1"
        ) from None
    # What a decay takes of the change before an input, less what it takes of the one after it.
    return [float(weight) for weight in -np.diff(multipliers, append=0.0)]
