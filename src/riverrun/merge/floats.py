"""Floats as safetensors stores them, in NumPy: BF16 as its bits in uint16, the others as NumPy's own; little-endian.

torch would do all of this, but takes longer to import than many a merge; here only fp16 needs it, whose conversions are
ten times slower in NumPy.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


@dataclass(frozen=True)
class Format:
    """A dtype of floats: how it lies in memory, the bits of its fraction, and the smallest normal number."""

    storage: type[np.generic]
    fraction: int
    smallest_normal: float


FORMATS = {
    "BF16": Format(np.uint16, 7, 2.0**-126),
    "F16": Format(np.float16, 10, 2.0**-14),
    "F32": Format(np.float32, 23, 2.0**-126),
    "F64": Format(np.float64, 52, 2.0**-1022),
}

PAIRS = "pairs of BF16"
"""BF16 read two at a time, as uint32: in fp32 all firsts of a pair, then all seconds. Twice as fast as one by one."""

_UPPER = np.uint32(0xFFFF0000)
_NAN = 0x7FC00000


def widen(stored: Array, dtype: str, into: Array) -> None:
    """BF16, F16 or F32 into fp32, exactly; or F64 into fp64."""
    if dtype == PAIRS:
        bits, half = into.view(np.uint32), len(stored)
        np.left_shift(stored, 16, out=bits[:half])
        np.bitwise_and(stored, _UPPER, out=bits[half:])
    elif dtype == "BF16":
        np.left_shift(stored, 16, out=into.view(np.uint32), dtype=np.uint32)
    elif dtype == "F16":
        import torch

        torch.from_numpy(into).copy_(torch.from_numpy(stored))
    else:
        np.copyto(into, stored)


def widened(stored: Array, dtype: str) -> Array:
    """The same as a new array, of whatever shape."""
    into = np.empty(stored.shape, np.float64 if dtype == "F64" else np.float32)
    widen(np.ascontiguousarray(stored), dtype, into)
    return into


def narrow(values: Array, dtype: str, out: Array) -> None:
    """fp32 or fp64 into what is stored, to nearest, ties to even; fp64 becomes fp32 on its way to 16 bits."""
    if dtype in ("F32", "F64"):
        np.copyto(out, values, casting="same_kind")
        return
    single = values.astype(np.float32, copy=False)
    if dtype == "F16":
        import torch

        torch.from_numpy(out).copy_(torch.from_numpy(single))
        return
    bits = _rounded(single)
    if dtype == PAIRS:
        half = len(out)
        np.right_shift(bits[:half], 16, out=out)
        out |= np.bitwise_and(bits[half:], _UPPER, out=bits[half:])
    else:
        np.copyto(out, np.right_shift(bits, 16, out=bits), casting="same_kind")


def _rounded(single: Array) -> Array:
    """The bits of fp32 numbers, of which the upper half is the nearest BF16 number."""
    bits = single.view(np.uint32)
    # Half of what is cut off, less the smallest bit where that leaves an even number; the carry does the rest.
    rounded: Array = bits >> 16
    rounded &= 1
    rounded += 0x7FFF
    rounded += bits
    not_numbers = np.isnan(single)
    if not_numbers.any():
        rounded[not_numbers] = _NAN
    return rounded
