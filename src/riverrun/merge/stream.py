"""The tensors of a merge, read, averaged and written block by block in memory that does not grow with the model.

Each of a few threads takes the next block of the output, reads what it is made of from every input, averages it and
writes it to its place. Files are hashed in the order of their bytes; the threads take turns for that.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

import numpy as np
from numpy.typing import NDArray

from riverrun.merge.errors import MergeError
from riverrun.merge.floats import FORMATS, Array, widened
from riverrun.merge.hashing import FileHash
from riverrun.merge.headers import Stored
from riverrun.merge.inputs import Input
from riverrun.merge.layout import Shard
from riverrun.merge.plan import MergePlan
from riverrun.merge.rounding import average, settle
from riverrun.merge.workers import Turns, usable_workers, work

Bytes = NDArray[np.uint8]

# For the blocks of all inputs in all threads.
_MEMORY = 48 << 20
_LARGEST_BLOCK = 1 << 20
_SMALLEST_BLOCK = 1 << 12
# Numbers, of all inputs, averaged at a time: few enough for the caches, and enough that threads seldom meet where only
# one of them can run Python.
_TILE = 1 << 19
# Elements averaged with care at a time.
_CAREFUL = 1 << 14


@dataclass(frozen=True)
class Written:
    """What came of a merge.

    Attributes:
        inputs: sha256 of each file that was read.
        outputs: sha256 of each safetensors file that was written, by name.
        differing: tensors that are no floats and not the same everywhere, and an input in which they differ.
    """

    inputs: dict[Path, str]
    outputs: dict[str, str]
    differing: dict[str, Path]


@dataclass(frozen=True)
class Block:
    """A stretch of one tensor of the output; `number` counts them all."""

    number: int
    shard: Shard
    name: str
    begin: int
    elements: int

    @property
    def target(self) -> Stored:
        """The tensor's place in the output."""
        return self.shard.tensors[self.name]


def merge_tensors(
    plan: MergePlan, folder: Path, progress: Callable[[int], None], hashes: bool = False
) -> Written:
    """Write the shards of `plan` into `folder`.

    Args:
        plan: what to merge.
        folder: where to write; shards without a header are there already.
        progress: called every so often with the bytes read and written so far.
        hashes: whether to hash files other than those of checkpoints.

    Raises:
        MergeError: an input changed or ends early; tensors that are no floats differ; numbers are too large for the
            dtype asked for.
        OSError: a disk is full, or fails.
    """
    stream = _Stream(plan, folder, hashes)
    with _torch_in_one_thread(plan):
        stream.run(progress)
    return stream.written()


@contextmanager
def _torch_in_one_thread(plan: MergePlan) -> Iterator[None]:
    """Where torch converts fp16: each thread here is one, and torch is not to start more."""
    dtypes = {source.tensors[name].dtype for source in plan.read for name in plan.tensors}
    if "F16" not in dtypes and plan.dtype != "float16":
        yield
        return
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


class _Stream:
    """What the threads of one merge share."""

    def __init__(self, plan: MergePlan, folder: Path, hashes: bool) -> None:
        self.plan = plan
        self.folder = folder
        self.weights = plan.shares.without_zeros()
        self.threads = usable_workers()
        self.itemsize = max(
            (source.tensors[name].itemsize for source in plan.read for name in plan.tensors), default=1
        )
        fitting = _MEMORY // ((len(plan.read) + 1) * self.itemsize * self.threads)
        self.block = max(_SMALLEST_BLOCK, min(_LARGEST_BLOCK, fitting))
        # A gate for each input, and the last one for the output.
        self.turns = Turns(len(plan.read) + 1)
        hashed = (source for source in plan.read if hashes or source.checkpoint is not None)
        self.inputs = {file: FileHash(file) for source in hashed for file in source.files}
        # Of others the bytes are not written in order.
        begun = (shard for shard in plan.shards if hashes and shard.header)
        self.outputs = {shard.name: hashlib.sha256(shard.header) for shard in begun}
        self.digests: dict[Path, str] = {}
        self.differing: dict[str, Path] = {}
        self.bytes_done = 0

    def run(self, progress: Callable[[int], None]) -> None:
        for shard in self.plan.shards:
            if shard.header:
                (self.folder / shard.name).write_bytes(shard.header)
        work(
            self.blocks(), lambda blocks: _Worker(self).run(blocks), self.threads, self.turns,
            lambda: progress(self.bytes_done),
        )  # fmt: skip
        work(self.inputs.values(), self.finish, self.threads)

    def blocks(self) -> Iterator[Block]:
        number = 0
        for shard in self.plan.shards:
            for name, stored in shard.tensors.items():
                for begin in range(0, stored.elements, self.block):
                    yield Block(number, shard, name, begin, min(self.block, stored.elements - begin))
                    number += 1

    def finish(self, hashes: Iterator[FileHash]) -> None:
        """Read what no block was made of."""
        for unfinished in hashes:
            self.digests[unfinished.path] = unfinished.finish()

    def written(self) -> Written:
        outputs = {name: done.hexdigest() for name, done in self.outputs.items()}
        return Written(self.digests, outputs, self.differing)


class _Worker:
    """One thread, with memory of its own."""

    def __init__(self, stream: _Stream) -> None:
        self.stream = stream
        self.memory = np.empty((len(stream.plan.read), stream.block * stream.itemsize), np.uint8)
        self.result = np.empty(stream.block * 8, np.uint8)
        self.doubtful = np.zeros(stream.block, np.bool_)

    def run(self, blocks: Iterator[Block]) -> None:
        """Merge block after block until none is left."""
        stream = self.stream
        modes = (os.O_WRONLY, *(os.O_RDONLY for _ in stream.plan.read))
        with ExitStack() as files:
            output, *inputs = (files.enter_context(_OpenFile(mode)) for mode in modes)
            for block in blocks:
                pieces = [
                    self.read(block, gate, source, inputs[gate])
                    for gate, source in enumerate(stream.plan.read)
                ]
                merged = self.average(block, pieces) if block.target.averaged else self.copy(block, pieces)
                place = block.target.offset + block.begin * block.target.itemsize
                output.write(stream.folder / block.shard.name, place, merged.data)
                with stream.turns.of(len(pieces), block.number):
                    if block.shard.name in stream.outputs:
                        stream.outputs[block.shard.name].update(merged.data)
                    stream.bytes_done += len(merged) + sum(len(piece) for piece in pieces)

    def read(self, block: Block, gate: int, source: Input, file: _OpenFile) -> Bytes:
        """The block of one input."""
        stored = source.tensors[block.name]
        piece = self.memory[gate, : block.elements * stored.itemsize]
        place = stored.offset + block.begin * stored.itemsize
        file.read(stored.file, place, piece.data, ahead=self.stream.threads)
        if stored.file in self.stream.inputs:
            with self.stream.turns.of(gate, block.number):
                self.stream.inputs[stored.file].update(place, piece.data)
        return piece

    def copy(self, block: Block, pieces: list[Bytes]) -> Bytes:
        """The last input's; another one may differ in a counter, but not in what may be quantised weights."""
        for source, piece in zip(self.stream.plan.read, pieces, strict=True):
            if not np.array_equal(piece, pieces[-1]):
                if block.target.elements > 1:
                    raise MergeError(
                        f"{source.path}: {block.name} holds {block.target.dtype}, which has no average, and differs "
                        "from the last input's; turn quantised weights back into floats first"
                    )
                self.stream.differing.setdefault(block.name, source.path)
        return pieces[-1]

    def average(self, block: Block, pieces: list[Bytes]) -> Bytes:
        """The averages in the output's dtype."""
        tensors = [source.tensors[block.name] for source in self.stream.plan.read]
        stored = {tensor.dtype for tensor in tensors}
        if len(pieces) == 1 and stored == {block.target.dtype}:
            return pieces[0]
        target, weights = block.target.dtype, self.stream.weights
        common = min(stored) if len(stored) == 1 else "F64" if "F64" in stored else "F32"
        if stored == {common}:
            rows = self.memory[:, : len(pieces[0])].view(FORMATS[common].storage)
        else:
            rows = np.stack(
                [
                    widened(piece.view(FORMATS[each.dtype].storage), each.dtype).astype(
                        FORMATS[common].storage, copy=False
                    )
                    for each, piece in zip(tensors, pieces, strict=True)
                ]
            )
        result = self.result[: block.elements * block.target.itemsize]
        out, doubtful = result.view(FORMATS[target].storage), self.doubtful[: block.elements]
        tile = max(_TILE // len(rows), _SMALLEST_BLOCK)
        for begin in range(0, block.elements, tile):
            part = slice(begin, begin + tile)
            average(rows[:, part], common, weights, out[part], target, doubtful[part])
        places = _places(doubtful)
        for begin in range(0, len(places), _CAREFUL):
            chosen = places[begin : begin + _CAREFUL]
            out[chosen] = settle(rows[:, chosen], common, weights, target)
        if target == "F16" and common != "F16":
            _check_overflow(block.name, out, rows, common)
        return result


class _OpenFile:
    """The file that was read or written last, kept open until another one is asked for."""

    def __init__(self, mode: int) -> None:
        self._mode = mode
        self._path: Path | None = None
        self._descriptor = -1

    def __enter__(self) -> _OpenFile:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._open(None)

    def _open(self, path: Path | None) -> int:
        if path != self._path:
            if self._path is not None:
                os.close(self._descriptor)
            self._path = None
            if path is not None:
                self._descriptor = os.open(path, self._mode)
            self._path = path
        return self._descriptor

    def read(self, path: Path, offset: int, into: memoryview, ahead: int) -> None:
        """Fill `into` from `offset` on, and have the system fetch `ahead` times as much behind it."""
        descriptor = self._open(path)
        if hasattr(os, "posix_fadvise"):
            os.posix_fadvise(descriptor, offset + len(into), ahead * len(into), os.POSIX_FADV_WILLNEED)
        done = 0
        while done < len(into):
            count = os.preadv(descriptor, [into[done:]], offset + done)
            if not count:
                raise MergeError(
                    f"{path}: became shorter while it was read; leave inputs alone during a merge"
                )
            done += count

    def write(self, path: Path, offset: int, content: memoryview) -> None:
        """Write all of `content` at `offset`."""
        descriptor = self._open(path)
        done = 0
        while done < len(content):
            done += os.pwrite(descriptor, content[done:], offset + done)


def _places(flags: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Where flags are set; they are few, so eight are looked at at a time."""
    whole = len(flags) // 8 * 8
    eights = np.flatnonzero(flags[:whole].view(np.uint64))
    near = (8 * eights[:, None] + np.arange(8)).ravel()
    return np.concatenate([near[flags[near]], whole + np.flatnonzero(flags[whole:])])


def _check_overflow(name: str, out: Array, rows: Array, dtype: str) -> None:
    """Refuse infinities that no input has."""
    if np.isinf(out).any() and not np.isinf(widened(rows, dtype)).any():
        raise MergeError(
            f"--dtype: got float16; averages of {name} are above its largest number, 65504; take bfloat16"
        )
