"""sha256 of files that are read or written piece by piece for other reasons."""

from __future__ import annotations

import hashlib
import os
import threading
from pathlib import Path

_PIECE = 1 << 20
# Gaps up to here, such as tensors that are not merged, are read in passing; the rest of the file waits for the end.
_LARGEST_GAP = 64 << 20


class FileHash:
    """The sha256 of a whole file, of which pieces come along in whatever order; what does not fit is read again."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._hash = hashlib.sha256()
        self._end = 0
        self._alone = threading.Lock()  # a file may be an input twice

    def update(self, offset: int, piece: memoryview) -> None:
        """Take in the piece that lies at `offset`, if the hash has come that far, or nearly."""
        with self._alone:
            if self._end < offset <= self._end + _LARGEST_GAP:
                self._read(offset)
            if self._end == offset:
                self._hash.update(piece)
                self._end += len(piece)

    def finish(self) -> str:
        """The hexadecimal sha256, after reading what did not come along."""
        self._read(os.path.getsize(self.path))
        return self._hash.hexdigest()

    def _read(self, end: int) -> None:
        with open(self.path, "rb", buffering=0) as file:
            file.seek(self._end)
            while self._end < end and (piece := file.read(min(_PIECE, end - self._end))):
                self._hash.update(piece)
                self._end += len(piece)
