"""Spectra of linear regression: eigenvalues of the features' covariance, and how the target lies in them.

A mode i has an eigenvalue lambda_i and a part lambda_i w*_i^2 of the risk at w = 0, its *source*. Everything the
recursions need of modes with nearly the same eigenvalue are sums over them, so bins stand for any number of modes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]

SINGLE = 64
"""Modes of a power law before its bins begin."""
BINS_PER_DECADE = 25
"""Bins of modes per factor of ten in their number; risks then agree with single modes to 3e-4."""
LARGEST_DIMENSION = 10**13
_FEW = 256
MOST_SINGLE_MODES = 10**7


@dataclass(frozen=True)
class Modes:
    """Modes, or bins of modes, as the recursions take them; float64 arrays [G].

    Attributes:
        rate: the eigenvalue that stands for a bin, sum lambda^2 / sum lambda.
        square: sum of lambda^2 over the bin.
        source: sum of lambda w*^2 over the bin: its risk at w = 0.
        count: how many modes it stands for.
    """

    rate: Floats
    square: Floats
    source: Floats
    count: Floats

    @property
    def trace(self) -> float:
        """Sum of all eigenvalues."""
        return float((self.square / self.rate).sum())


class Spectrum(Protocol):
    """What a problem asks of its spectrum."""

    @property
    def dimension(self) -> int:
        """The number of modes."""

    @property
    def capacity_exponent(self) -> float | None:
        """The exponent of the eigenvalues, where they follow a power law."""

    def single(self) -> Modes:
        """Every mode by itself."""

    def binned(self) -> Modes:
        """Bins of modes with nearly the same eigenvalue."""


@dataclass(frozen=True, kw_only=True)
class PowerLaw:
    """lambda_i = i^-capacity and lambda_i w*_i^2 = i^-source, i = 1 .. dimension.

    Args:
        capacity: a > 1, the decay of the eigenvalues.
        source: b > 1, the decay of the target's parts; large for easy targets.
        dimension: at most 1e13. Modes that a run never learns must be among them: see `Regression.least_dimension`.

    Raises:
        ValueError: an exponent is not above 1 (its sum would grow without end with the dimension), or the dimension
            is out of range.
    """

    capacity: float
    source: float
    dimension: int = 10**6

    def __post_init__(self) -> None:
        for name, effect in (("capacity", "the trace"), ("source", "the risk at w = 0")):
            value = getattr(self, name)
            if not (isinstance(value, int | float) and 1 < value < math.inf):
                raise ValueError(f"{name}: got {value!r}; must be more than 1, or {effect} is infinite")
        if not (isinstance(self.dimension, int) and 1 <= self.dimension <= LARGEST_DIMENSION):
            raise ValueError(f"dimension: got {self.dimension!r}; must be a whole number from 1 to 1e13")

    @property
    def capacity_exponent(self) -> float:
        """a."""
        return self.capacity

    def single(self) -> Modes:
        """Every mode by itself; `ValueError` for more than 1e7."""
        if self.dimension > MOST_SINGLE_MODES:
            raise ValueError(
                f"dimension: got {self.dimension:.3g}; single modes are kept up to {MOST_SINGLE_MODES:.0e}, "
                "use the binned or the macro engine"
            )
        return self._modes(np.arange(1, self.dimension + 2))

    def binned(self) -> Modes:
        """The first `SINGLE` modes by themselves, then `BINS_PER_DECADE` bins."""
        return self._modes(self._edges)

    @cached_property
    def _edges(self) -> NDArray[np.int64]:
        """The first mode of each bin, and one more than the last mode of all."""
        first = min(SINGLE, self.dimension) + 1
        decades = math.log10((self.dimension + 1) / first)
        grid = np.rint(np.geomspace(first, self.dimension + 1, math.ceil(decades * BINS_PER_DECADE) + 1))
        return np.unique(np.concatenate([np.arange(1, first + 1), grid.astype(np.int64)]))

    def _modes(self, edges: NDArray[np.int64]) -> Modes:
        trace, square, source = (
            power_sums(edges, exponent) for exponent in (self.capacity, 2 * self.capacity, self.source)
        )
        return Modes(square / trace, square, source, np.diff(edges).astype(np.float64))


@dataclass(frozen=True, eq=False)  # arrays compare element by element
class Eigenvalues:
    """A spectrum of one's own.

    Args:
        eigenvalues: [d], all positive, none below 1e-100 of the largest.
        target: [d], w* in the eigenbasis; its signs play no part.

    Raises:
        ValueError: wrong shapes, or an eigenvalue that is not positive.
    """

    eigenvalues: Floats
    target: Floats

    def __init__(self, eigenvalues: ArrayLike, target: ArrayLike) -> None:
        values, aims = np.asarray(eigenvalues, np.float64), np.asarray(target, np.float64)
        if values.ndim != 1 or not values.size or aims.shape != values.shape:
            shapes = f"{values.shape} and {aims.shape}"
            raise ValueError(f"eigenvalues: got shapes {shapes}; must be two lists of equal length")
        if not (np.all(values > 0) and np.all(np.isfinite(values)) and np.all(np.isfinite(aims))):
            raise ValueError(
                "eigenvalues: all must be positive and finite, and so must be the target's parts"
            )
        if values.min() < 1e-100 * values.max():
            raise ValueError(f"eigenvalues: got {values.min():.3g}; must be at least 1e-100 of the largest")
        order = np.argsort(-values, kind="stable")
        object.__setattr__(self, "eigenvalues", values[order])
        object.__setattr__(self, "target", aims[order])

    @property
    def dimension(self) -> int:
        """The number of modes."""
        return self.eigenvalues.size

    @property
    def capacity_exponent(self) -> None:
        """Unknown."""

    def single(self) -> Modes:
        """Every mode by itself."""
        return self._modes(np.arange(self.dimension))

    def binned(self) -> Modes:
        """Eigenvalues within 5% of the first of their bin are one bin; a few are left single."""
        if self.dimension <= _FEW:
            return self.single()
        bins = np.floor(np.log(self.eigenvalues[0] / self.eigenvalues) / 0.05)
        return self._modes(np.unique(bins, return_index=True)[1])

    def _modes(self, starts: NDArray[np.int64]) -> Modes:
        values = self.eigenvalues
        square = np.add.reduceat(values**2, starts)
        return Modes(
            square / np.add.reduceat(values, starts),
            square,
            np.add.reduceat(values * self.target**2, starts),
            np.diff(starts, append=self.dimension).astype(np.float64),
        )


def power_sums(edges: NDArray[np.int64], exponent: float) -> Floats:
    """Sums of i^-exponent over edges[k] <= i < edges[k + 1].

    Bins up to 2**12 modes wide are summed one by one; wider ones by Euler and Maclaurin's formula, whose next term
    is below 1e-16 of the sum where a bin begins at 64 or later.

    Args:
        edges: [K + 1], increasing, the first at least 1.
        exponent: more than 1.

    Returns:
        float64 [K].
    """
    first, last = edges[:-1].astype(np.float64), edges[1:].astype(np.float64) - 1
    width = np.diff(edges)
    sums = np.where(width == 1, first**-exponent, 0.0)
    for k in np.flatnonzero((width > 1) & (width <= 4096)):
        sums[k] = (np.arange(edges[k], edges[k + 1], dtype=np.float64) ** -exponent).sum()
    wide = width > 4096
    low, high = first[wide], last[wide]

    def odd_derivative(x: Floats, order: int) -> Floats:
        factor = -math.prod(exponent + n for n in range(order))
        return np.asarray(factor * x ** (-exponent - order), np.float64)

    # The integral, written so that neighbouring edges lose no digits.
    integral = low ** (1 - exponent) * -np.expm1((1 - exponent) * np.log(high / low)) / (exponent - 1)
    sums[wide] = (
        integral
        + (low**-exponent + high**-exponent) / 2
        + (odd_derivative(high, 1) - odd_derivative(low, 1)) / 12
        - (odd_derivative(high, 3) - odd_derivative(low, 3)) / 720
    )
    return sums
