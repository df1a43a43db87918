"""Weighted averages of floats, rounded once.

For weights that are ratios of small whole numbers, sum_i k_i x_i is computed first and divided last. Where all bits of
the x_i of an element fit into the accumulator (fp32 for 16-bit inputs, fp64 for fp32 ones), the sum is exact, and one
division and one rounding to nearest give the correctly rounded average. Rounding the quotient a second time, to the
16 bits of the output, does no harm then: let m lie midway between two outputs. k m has few bits, so a sum s other
than k m differs from it by a unit in the last place of s, and s / k does not round to m.

For other weights the sum is an fp64 one with rounding errors; only an element that comes out close to some m, or much
smaller than the largest x_i, could be rounded to the wrong side.

Elements outside of this (a wide range of exponents, closeness to an m) are marked in the first pass; `settle` sums
those again without error: sums and their rounding errors (Knuth's two-sum) end in the sum rounded to odd, which
compares with every m as the exact sum does (Boldo and Melquiond, 2008, "Emulation of FMA and correctly rounded sums").

Rows are arrays as `riverrun.merge.floats` describes them, with their dtype as safetensors names it.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from riverrun.merge.floats import FORMATS, PAIRS, Array, narrow, widen, widened
from riverrun.merge.weights import Weights

Bools = NDArray[np.bool_]
Doubles = NDArray[np.float64]


def average(rows: Array, dtype: str, weights: Weights, out: Array, out_dtype: str, doubtful: Bools) -> None:
    """The weighted averages of the columns of `rows`, and which of them `settle` must compute again.

    Args:
        rows: (inputs, elements), all BF16, F16, F32 or F64.
        dtype: which of them.
        weights: one for each input, none of them 0.
        out: (elements,); takes the averages.
        out_dtype: its dtype.
        doubtful: (elements,); set where `out` may not be the correctly rounded average. Of F64 rows nothing is
            doubtful; their sums are rounded at each step.
    """
    with np.errstate(all="ignore"):
        if dtype == "F64":
            narrow(_averages(rows, dtype, weights, np.float64), out_dtype, out)
            doubtful[:] = False
        elif weights.are_ratios:
            _by_ratios(rows, dtype, weights, out, out_dtype, doubtful)
        else:
            _by_floats(rows, dtype, weights, out, out_dtype, doubtful)


def settle(rows: Array, dtype: str, weights: Weights, out_dtype: str) -> Array:
    """The correctly rounded weighted averages of the columns of `rows`, without regard to speed.

    Infinities and NaN go through as in IEEE arithmetic.
    """
    columns = widened(rows, dtype).astype(np.float64)
    out = np.empty(columns.shape[1], FORMATS[out_dtype].storage)
    with np.errstate(all="ignore"):
        odd = _sum_to_odd(_terms(columns, weights))
        finite = np.isfinite(columns).all(axis=0)
        plain = np.einsum("i,ij->j", np.array(weights.numerators, np.float64), columns)
        quotient = np.where(finite, odd, plain) / weights.denominator
        single = quotient.astype(np.float32)
        if out_dtype != "F32":  # rounded once more, which must not change the side
            single = _to_odd(single, quotient - single)
        narrow(single, out_dtype, out)
    return out


def _by_ratios(
    rows: Array, dtype: str, weights: Weights, out: Array, out_dtype: str, doubtful: Bools
) -> None:
    """Exact sums wherever the bits fit; the others are doubtful."""
    whole = (weights.denominator - 1).bit_length()
    small = dtype != "F32" and whole <= 6
    accumulator, room = (np.float32, 24) if small else (np.float64, 53)
    if small and dtype == out_dtype == "BF16" and rows.shape[1] % 2 == 0:
        quotient = _averages(rows.view(np.uint32), PAIRS, weights, accumulator)
        narrow(quotient, PAIRS, out.view(np.uint32))
    else:
        quotient = _averages(rows, dtype, weights, accumulator)
        narrow(quotient, out_dtype, out)
    largest, smallest = _magnitudes(rows)
    exponent = FORMATS[dtype].fraction + 1  # where it begins in a magnitude
    np.greater(largest - smallest, (room - exponent - whole) << exponent, out=doubtful)
    # Numbers whose sum could overflow the accumulator, and those that are not finite.
    margin = whole + 1 if dtype == "BF16" and small else 0
    limit = (2 ** (8 * rows.itemsize - exponent) - 1 - margin) << exponent
    if largest.max() >= limit:
        doubtful |= largest >= limit
    if not small and out_dtype != "F32":
        # The quotient became fp32 on its way to 16 bits, and may have come to lie in the middle there.
        doubtful |= _near_middle(quotient, out_dtype, 2.0**-25, itself=False)


def _by_floats(
    rows: Array, dtype: str, weights: Weights, out: Array, out_dtype: str, doubtful: Bools
) -> None:
    """fp64 sums; doubtful where their error could matter."""
    total = _averages(rows, dtype, weights, np.float64)
    narrow(total, out_dtype, out)
    largest, _ = _magnitudes(rows)
    largest >>= 1
    np.less(np.abs(total) * 2**8, widened(largest.view(rows.dtype), dtype), out=doubtful)
    # Two roundings for each row, relative to the largest term, of which the sum has 2**-8 at least; and where the
    # output has 16 bits, fp32 on the way there.
    error = max(2 * len(rows) * 2.0**-45, 0.0 if out_dtype == "F32" else 2.0**-25)
    doubtful |= _near_middle(total, out_dtype, error, itself=True)
    doubtful |= ~np.isfinite(total)


def _magnitudes(rows: Array) -> tuple[Array, Array]:
    """Of each column the largest and the smallest but zero, as bit patterns without the sign, times 2.

    These are ordered as the numbers are. The smallest of a column of zeros is beyond all.
    """
    magnitudes = rows.view(f"u{rows.itemsize}") << 1
    largest, smallest = magnitudes.max(axis=0), magnitudes.min(axis=0)
    if not smallest.all():
        np.subtract(magnitudes, 1, out=magnitudes)  # so that zero wraps around
        smallest = magnitudes.min(axis=0)
    return largest, smallest


def _near_middle(values: Doubles, dtype: str, error: float, itself: bool) -> Bools:
    """Where a value is within `error`, relative, of the middle between two numbers of `dtype`, or is that `itself`.

    Values below the normal range count as near, except 0.
    """
    dropped = 52 - FORMATS[dtype].fraction
    # The bits that rounding drops, moved to the top; the middle is the top bit alone. Differences wrap around.
    rest = values.view(np.uint64) << (64 - dropped)
    margin = int(min(error * 2.0**53 + 1, 2.0 ** (dropped - 1) - 1)) << (64 - dropped)
    near: Bools = rest - np.uint64(2**63 - margin) <= np.uint64(2 * margin)
    if not itself:
        near &= rest != np.uint64(2**63)
    sizes = np.abs(values)
    near |= (sizes < FORMATS[dtype].smallest_normal) & (sizes != 0)
    return near


def _averages(
    rows: Array, dtype: str, weights: Weights, accumulator: type[np.float32] | type[np.float64]
) -> Array:
    """The weighted averages, summed in order and divided; the first term begins the sum, so that -0 stays -0."""
    elements = rows.shape[1] * (2 if dtype == PAIRS else 1)
    total = np.empty(elements, accumulator)
    row = np.empty(elements, np.float64 if dtype == "F64" else np.float32)
    for number, (stored, numerator) in enumerate(zip(rows, weights.numerators, strict=True)):
        widen(stored, dtype, row)
        term = row if numerator == 1 else np.multiply(row, numerator, dtype=accumulator)
        if number:
            np.add(total, term, out=total)
        else:
            np.copyto(total, term)
    return total if weights.denominator == 1 else np.divide(total, weights.denominator, out=total)


def _terms(columns: Doubles, weights: Weights) -> Doubles:
    """Products that are exact in fp64 and whose columns sum to the weighted sum of `columns`."""
    factors = np.array(weights.numerators, np.float64)[:, None]
    if weights.are_ratios:
        return factors * columns
    # 53 bits times the 24 of an fp32 number are too many; of 26 and 27 bits (Dekker's split), they are not.
    shifted = factors * (2**27 + 1)
    upper = shifted - (shifted - factors)
    return np.concatenate([upper * columns, (factors - upper) * columns])


def _two_averages(a: Doubles, b: Doubles) -> tuple[Doubles, Doubles]:
    """a + b rounded, and the error of that, exactly."""
    total = a + b
    other = total - a
    return total, (a - (total - other)) + (b - other)


def _sum_to_odd(terms: Doubles) -> Doubles:
    """The sums of the columns: where not exact, the neighbour in fp64 whose last bit is odd."""
    total, error = terms[0], np.zeros_like(terms[0])
    lost = np.zeros(total.shape, np.bool_)
    for term in terms[1:]:
        total, more = _two_averages(total, term)
        error, rest = _two_averages(error, more)
        lost |= rest != 0
    total, error = _two_averages(total, error)
    for column in np.flatnonzero(lost & np.isfinite(terms).all(axis=0)):
        # Three magnitudes far apart; math.fsum is exact whatever they are.
        total[column] = math.fsum(terms[:, column])
        error[column] = math.fsum([*terms[:, column], -total[column]])
    return _to_odd(total, error)


def _to_odd(values: Array, remainder: Doubles) -> Array:
    """Values rounded to nearest, and what they lack -> the same rounded to odd. NaN lacks nothing."""
    even = values.view(f"u{values.itemsize}") & 1 == 0
    up = np.nextafter(values, np.inf, dtype=values.dtype)
    down = np.nextafter(values, -np.inf, dtype=values.dtype)
    return np.where(even & (remainder > 0), up, np.where(even & (remainder < 0), down, values))
