"""The record of a node: `metrics.jsonl`, one JSON object a line, in the order of the steps.

It is part of the trajectory: two runs that took the same steps have the same bytes here, so nothing that
depends on the clock or the machine goes in (that is what `events.jsonl` is for). A resume cuts the record back
to the checkpoint's position before it appends.
"""

from __future__ import annotations

import fcntl
import json
import math
import os
from collections.abc import Iterator, Mapping
from io import BytesIO, RawIOBase
from pathlib import Path
from typing import Any, BinaryIO

from pydantic_core import from_json

Record = dict[str, Any]


def read_records(path: Path) -> list[Record]:
    """All complete lines of a record, oldest first; a torn last line, as a kill leaves it, is left out.

    No file is no line.
    """
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return []
    lines = content.split(b"\n")[:-1]
    try:  # all at once: three times as fast as one by one, which counts with a hundred thousand lines
        records: list[Record] = from_json(b"[" + b",".join(lines) + b"]")
    except ValueError:
        records = []
    if len(records) == len(lines):
        return records
    return [record for _, record in _complete_lines(BytesIO(content))]


class MetricsLog:
    """Appends to a record that starts out cut back to `step`."""

    def __init__(self, path: Path, step: int):
        keep = 0
        with open(path, "a+b") as file:
            file.seek(0)
            for end, record in _complete_lines(file):
                if record["step"] > step:
                    break
                keep = end
        self._file = open(path, "ab", buffering=0)  # noqa: SIM115  closed by close()
        self._file.truncate(keep)
        self._waiting = b""

    def append(self, record: Mapping[str, Any]) -> None:
        """Write one line; it survives a kill of this process from here on.

        What a full disk does not take waits for the next line, or for `sync`.
        """
        self._waiting += _line(record)
        self._write()

    def sync(self) -> None:
        """Make the record survive a power loss; done before each checkpoint, so none is ahead of its record."""
        self._write()
        os.fsync(self._file.fileno())

    def _write(self) -> None:
        while self._waiting:  # a disk that fills up takes a part of a line first, and then raises
            self._waiting = self._waiting[self._file.write(self._waiting) or 0 :]

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def append_record(path: Path, record: Mapping[str, Any]) -> None:
    """Add one line to a record that is written now and then, cutting off a line that was torn before.

    Several processes may do so at once.
    """
    with open(path, "a+b", buffering=0) as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.seek(0)
        content = file.read()
        file.truncate(content.rfind(b"\n") + 1)
        _write_line(file, record)


def to_json(content: Any) -> str:
    """One line of JSON. It has no infinity and no NaN, so a number that is not finite is null."""
    return json.dumps(_finite(content), ensure_ascii=False, allow_nan=False)


def _finite(content: Any) -> Any:
    if isinstance(content, Mapping):
        return {key: _finite(value) for key, value in content.items()}
    if isinstance(content, list | tuple):
        return [_finite(value) for value in content]
    return None if isinstance(content, float) and not math.isfinite(content) else content


def _line(record: Mapping[str, Any]) -> bytes:
    return to_json(record).encode() + b"\n"


def _write_line(file: RawIOBase, record: Mapping[str, Any]) -> None:
    rest = _line(record)
    while rest:  # a disk that fills up takes a part of the line first, and then raises
        rest = rest[file.write(rest) or 0 :]


def _complete_lines(file: BinaryIO) -> Iterator[tuple[int, Record]]:
    """(byte offset behind the line, its object) for each whole line; stops at the first that is torn."""
    end = 0
    for line in file:
        end += len(line)
        if not line.endswith(b"\n"):
            return
        try:
            record = json.loads(line)
        except ValueError:
            return
        yield end, record
