"""The new lines of a record that may be growing, or be cut back by a resume, while it is read."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from riverrun.runs.metrics import Record


class Tail:
    """The lines of a record after a step, each once.

    A resume cuts the record back to a checkpoint and writes the same lines again: what was read stays read.
    """

    def __init__(self, path: Path, after: int) -> None:
        self._path, self._last, self._offset = path, after, 0

    def new_lines(self) -> Iterator[Record]:
        """What was written since; a line that is still being written is left for the next time."""
        if not self._path.exists():
            return
        with open(self._path, "rb") as file:
            if self._cut_back(file):
                self._offset = 0
            file.seek(self._offset)
            for line in file:
                if not line.endswith(b"\n"):
                    return
                try:
                    record: Record = json.loads(line)
                except ValueError:  # other lines grew here meanwhile
                    self._offset = 0
                    return
                self._offset += len(line)
                if record["step"] > self._last:
                    self._last = record["step"]
                    yield record

    def _cut_back(self, file: BinaryIO) -> bool:
        """Whether the place that was read up to is no longer the end of a line."""
        if not self._offset:
            return False
        file.seek(self._offset - 1)
        return file.read(1) != b"\n"
