"""The header of a safetensors file: which tensor lies where. Read without the tensors, trusted in nothing.

A file is 8 bytes with the length of the header (little-endian), the header as JSON, and the data. Offsets in the
header count from the data's beginning; the data has neither holes nor overlaps, and ends with the file.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from riverrun.merge.errors import MergeError

FLOATS = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2}
"""Bytes per element of the dtypes that are averaged; all others are copied."""

SIZES = FLOATS | {
    "I64": 8,
    "U64": 8,
    "I32": 4,
    "U32": 4,
    "I16": 2,
    "U16": 2,
    "I8": 1,
    "U8": 1,
    "BOOL": 1,
}
"""Bytes per element of all dtypes that are read."""

# What the safetensors library itself refuses to read.
_LONGEST_HEADER = 100_000_000


@dataclass(frozen=True)
class Stored:
    """A tensor as it lies in a file.

    Attributes:
        dtype: as safetensors names it, such as "BF16".
        shape: of the tensor.
        file: the file.
        offset: of its first byte, from the beginning of the file.
    """

    dtype: str
    shape: tuple[int, ...]
    file: Path
    offset: int

    @property
    def elements(self) -> int:
        """How many there are; 1 for a scalar."""
        return math.prod(self.shape)

    @property
    def itemsize(self) -> int:
        """Bytes per element."""
        return SIZES[self.dtype]

    @property
    def bytes(self) -> int:
        """The size of the data."""
        return self.elements * self.itemsize

    @property
    def averaged(self) -> bool:
        """Whether it holds floats; anything else is copied."""
        return self.dtype in FLOATS

    def rows(self, first: int, count: int) -> Stored:
        """Rows `first` .. `first + count - 1`, which lie in one piece."""
        row = math.prod(self.shape[1:]) * self.itemsize
        return replace(self, shape=(count, *self.shape[1:]), offset=self.offset + first * row)


def read_header(path: Path) -> dict[str, Stored]:
    """Name -> tensor, in the order of the data.

    Raises:
        MergeError: the file is missing, cut short, or its header is damaged.
    """
    try:
        with open(path, "rb") as file:
            size = file.seek(0, 2)
            file.seek(0)
            length = int.from_bytes(file.read(8), "little")
            if size < 8 or length > min(size - 8, _LONGEST_HEADER):
                raise MergeError(
                    f"{path}: is no safetensors file, or was cut short: its header should have {length:,} bytes, and "
                    f"the file has {size:,} in all; fetch it again"
                )
            header = json.loads(file.read(length))
    except OSError as error:
        raise MergeError(f"{path}: cannot be read ({error.strerror})") from None
    except ValueError:
        raise MergeError(f"{path}: the header is no JSON; the file is damaged, fetch it again") from None
    if not isinstance(header, dict):
        raise MergeError(f"{path}: the header is no JSON object; the file is damaged, fetch it again")
    header.pop("__metadata__", None)
    begin = 8 + length
    found = {name: _entry(path, name, entry, begin) for name, entry in header.items()}
    ordered = dict(sorted(found.items(), key=lambda item: (item[1].offset, item[1].bytes)))
    _check_layout(path, ordered, begin, size)
    return ordered


def _entry(path: Path, name: str, entry: Any, begin: int) -> Stored:
    try:
        dtype, shape = entry["dtype"], tuple(entry["shape"])
        first, last = entry["data_offsets"]
        sound = isinstance(dtype, str) and all(
            type(number) is int and number >= 0 for number in (*shape, first, last)
        )
    except (TypeError, KeyError, ValueError):
        sound = False
    if not sound:
        raise MergeError(f"{path}: the header's entry for {name} is damaged; fetch the file again")
    if dtype not in SIZES:
        hint = "; turn quantised weights back into bfloat16 first" if str(dtype).startswith("F") else ""
        raise MergeError(f"{path}: {name} has dtype {dtype}, which cannot be merged{hint}")
    stored = Stored(dtype, shape, path, begin + first)
    if last - first != stored.bytes:
        raise MergeError(
            f"{path}: {name} should have {stored.bytes:,} bytes by its shape and dtype, and {last - first:,} by its "
            "offsets; the header is damaged, fetch the file again"
        )
    return stored


def _check_layout(path: Path, ordered: Mapping[str, Stored], begin: int, size: int) -> None:
    """Each tensor begins where the one before ends, and the last ends with the file."""
    end = begin
    for name, stored in ordered.items():
        if stored.offset != end:
            fault = "overlap" if stored.offset < end else "leave a hole"
            raise MergeError(
                f"{path}: the offsets of {name} {fault}; the header is damaged, fetch the file again"
            )
        end += stored.bytes
    if end != size:
        fault = "was cut short" if end > size else "has bytes that no tensor claims"
        raise MergeError(
            f"{path}: {fault}: its header describes {end:,} bytes and the file has {size:,}; fetch it again"
        )
