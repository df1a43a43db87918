"""The token files of a corpus: written by appending, read through memory maps.

A split is a sequence of shards, `train-00000` and so on, each three files: `.tokens` (uint16 or uint32,
little endian), `.starts` (int64, little endian: where each document begins within the shard), `.ids` (one
line for each document, UTF-8). A document never crosses a shard.
"""

import hashlib
from bisect import bisect_right
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, NonNegativeInt

from riverrun.data.documents import EncodedSplit
from riverrun.data.manifest import Shard
from riverrun.errors import CorpusError
from riverrun.publish import flush

PARTS = ("tokens", "starts", "ids")
DTYPES: dict[str, np.dtype[Any]] = {"uint16": np.dtype("<u2"), "uint32": np.dtype("<u4")}


class SplitProgress(BaseModel):
    """What a split holds while it grows; all that is needed to cut its files back to a known state.

    Attributes:
        shards: the finished shards.
        tokens, documents, id_bytes: of the shard being written.
        bytes: UTF-8 bytes of all documents' text.
    """

    model_config = ConfigDict(extra="forbid")

    shards: list[Shard] = []
    tokens: NonNegativeInt = 0
    documents: NonNegativeInt = 0
    id_bytes: NonNegativeInt = 0
    bytes: NonNegativeInt = 0

    @property
    def all_tokens(self) -> int:
        """Tokens of all shards, finished or not."""
        return self.tokens + sum(shard.tokens for shard in self.shards)

    @property
    def all_documents(self) -> int:
        """Documents of all shards, finished or not."""
        return self.documents + sum(shard.documents for shard in self.shards)


def shard_path(directory: Path, split: str, number: int, part: str) -> Path:
    """Path of one of the three files of a shard."""
    return directory / f"{split}-{number:05d}.{part}"


class SplitWriter:
    """Appends documents to the shards of one split.

    The files may run ahead of `progress`, never the other way round: opened again with an older progress, the
    writer cuts them back to it.
    """

    def __init__(
        self, directory: Path, split: str, dtype: np.dtype[Any], shard_tokens: int, progress: SplitProgress
    ) -> None:
        self.directory = directory
        self.split = split
        self.dtype = dtype.newbyteorder("<")
        self.shard_tokens = shard_tokens
        self.progress = progress
        self._files: dict[str, IO[bytes]] = {}
        self.cut_back()

    def append(self, documents: EncodedSplit) -> None:
        """Write documents, beginning a new shard before the first document after `shard_tokens` tokens."""
        ends = np.cumsum(documents.lengths)
        done, tokens_done = 0, 0
        while done < len(documents.ids):
            if self.progress.tokens >= self.shard_tokens:
                self._finish_shard()
            room = self.shard_tokens - self.progress.tokens
            fitting = int(np.searchsorted(ends, tokens_done + room)) + 1
            upto = min(fitting, len(documents.ids))
            tokens_upto = int(ends[upto - 1])
            self._write(
                documents.tokens[tokens_done:tokens_upto],
                ends[done:upto] - documents.lengths[done:upto] - tokens_done,
                documents.ids[done:upto],
            )
            done, tokens_done = upto, tokens_upto
        self.progress.bytes += documents.bytes

    def _write(self, tokens: npt.NDArray[Any], starts: npt.NDArray[np.int64], ids: Sequence[str]) -> None:
        if not self._files:
            self._files = {part: self._path(part).open("ab") for part in PARTS}
        lines = "".join(f"{id}\n" for id in ids).encode()
        self._files["tokens"].write(tokens.astype(self.dtype, copy=False).tobytes())
        self._files["starts"].write((starts + self.progress.tokens).astype("<i8").tobytes())
        self._files["ids"].write(lines)
        self.progress.tokens += tokens.size
        self.progress.documents += len(ids)
        self.progress.id_bytes += len(lines)

    def sync(self) -> None:
        """Bring what was appended to the disk."""
        for part, file in self._files.items():
            file.flush()
            flush(self._path(part))

    def give_up(self, count: int) -> EncodedSplit:
        """Take the last `count` tokens back from the shard being written, with the documents they belong to.

        The document that the cut goes through is counted on both sides. The files keep what is given up until
        `cut_back`, so that a crash in between loses nothing. At most all but one token of the shard.
        """
        self.sync()
        tokens = np.fromfile(self._path("tokens"), self.dtype, count=self.progress.tokens)
        starts = np.fromfile(self._path("starts"), "<i8", count=self.progress.documents)
        ids = self._path("ids").read_bytes()[: self.progress.id_bytes].decode().split("\n")[:-1]
        kept_tokens = tokens.size - count
        kept_documents = int(np.searchsorted(starts, kept_tokens))
        first = int(np.searchsorted(starts, kept_tokens, side="right")) - 1
        ends = np.append(starts[first + 1 :], tokens.size)
        self.progress.tokens = kept_tokens
        self.progress.documents = kept_documents
        self.progress.id_bytes = sum(len(id.encode()) + 1 for id in ids[:kept_documents])
        return EncodedSplit(
            ids=ids[first:],
            lengths=np.diff(ends, prepend=kept_tokens).astype(np.int64),
            tokens=tokens[kept_tokens:],
        )

    def cut_back(self) -> None:
        """Make the files exactly as long as `progress` says; `CorpusError` when they are shorter."""
        self.close()
        number = len(self.progress.shards)
        sizes = {
            "tokens": self.progress.tokens * self.dtype.itemsize,
            "starts": self.progress.documents * 8,
            "ids": self.progress.id_bytes,
        }
        for part, size in sizes.items():
            path = self._path(part)
            held = path.stat().st_size if path.exists() else 0
            if held < size:
                raise CorpusError(
                    f"{path}: holds {held} bytes, {size} were written; the interrupted ingest is damaged: "
                    f"remove {self.directory} and ingest again"
                )
            if size:
                with path.open("r+b") as file:
                    file.truncate(size)
            else:
                path.unlink(missing_ok=True)
        for path in self.directory.glob(f"{self.split}-[0-9]*"):
            if int(path.stem.rpartition("-")[2]) > number:
                path.unlink()

    def finish(self) -> None:
        """Finish the last shard; a split without documents has none."""
        if self.progress.tokens:
            self._finish_shard()

    def _finish_shard(self) -> None:
        self.sync()
        self.close()
        path = self._path("tokens")
        shard = Shard(
            file=path.name,
            tokens=self.progress.tokens,
            documents=self.progress.documents,
            sha256=file_sha256(path),
        )
        self.progress.shards.append(shard)
        self.progress.tokens = self.progress.documents = self.progress.id_bytes = 0

    def close(self) -> None:
        """Close the files."""
        files, self._files = self._files, {}
        for file in files.values():
            file.close()

    def _path(self, part: str) -> Path:
        return shard_path(self.directory, self.split, len(self.progress.shards), part)


class TokenShards:
    """The tokens of one split, all shards as one sequence, and the documents they came from."""

    def __init__(self, directory: Path, shards: Sequence[Shard], dtype: np.dtype[Any]) -> None:
        self._paths = [directory / shard.file for shard in shards]
        self._shards = list(shards)
        self._dtype = dtype
        self._begins = [0, *np.cumsum([shard.tokens for shard in shards]).tolist()]
        self._ids: dict[int, list[str]] = {}

    def __len__(self) -> int:
        return int(self._begins[-1])

    @cached_property
    def _maps(self) -> list[npt.NDArray[Any]]:
        # As plain arrays: slicing a np.memmap itself costs several times as much.
        return [np.asarray(np.memmap(path, self._dtype, mode="r")) for path in self._paths]

    def windows(self, starts: Sequence[int] | npt.NDArray[np.int64], length: int) -> npt.NDArray[np.int64]:
        """Tokens [start, start + length), within the split, for each start: int64 [starts, length]."""
        found = np.empty((len(starts), length), np.int64)
        for row, start in zip(found, np.asarray(starts).tolist(), strict=True):
            number = bisect_right(self._begins, start) - 1
            within = start - self._begins[number]
            piece = self._maps[number][within : within + length]
            if piece.size == length:
                row[:] = piece
            else:
                self._across(row, number, within)
        return found

    def _across(self, row: npt.NDArray[np.int64], number: int, within: int) -> None:
        filled = 0
        while filled < row.size:
            piece = self._maps[number][within : within + row.size - filled]
            row[filled : filled + piece.size] = piece
            filled += piece.size
            number, within = number + 1, 0

    def documents(self, start: int, stop: int) -> list[str]:
        """Ids of the documents that tokens [start, stop) belong to, in order."""
        found: list[str] = []
        for number, path in enumerate(self._paths):
            low, high = start - self._begins[number], stop - self._begins[number]
            if high <= 0 or low >= self._shards[number].tokens:
                continue
            starts = np.memmap(path.with_suffix(".starts"), "<i8", mode="r")
            first = max(0, int(np.searchsorted(starts, low, side="right")) - 1)
            last = int(np.searchsorted(starts, high))
            if number not in self._ids:
                self._ids[number] = path.with_suffix(".ids").read_text(encoding="utf-8").split("\n")
            found += self._ids[number][first:last]
        return found


def file_sha256(path: Path) -> str:
    """sha256 of a file's content, hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
