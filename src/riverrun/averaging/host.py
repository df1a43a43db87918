"""Where closed blocks lie, and how they get there without holding up the device that trains."""

import os
import sys
import tempfile
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from riverrun.averaging.in_turn import InTurn


class Host:
    """Flat buffers of one length, in memory or spilled to a disk, and an order in which they are filled and merged.

    On a CPU what is asked for is done at once. Weights on another device are copied to pinned memory on a stream of
    their own, and a thread moves them from there into the buffer; what follows waits its turn in the same thread. The
    processor does not wait, and the device only until its memory is copied.

    Args:
        elements: in a buffer.
        spill: a folder for buffers, on a disk with room for them; None keeps them in memory. The files have no name
            once they are open: they are gone when the process is, however it ends.
    """

    def __init__(self, elements: int, spill: Path | None, device: torch.device) -> None:
        self._elements, self._spill, self._device = elements, spill, device
        self._free: defaultdict[torch.dtype, list[Tensor]] = defaultdict(list)
        self._turns: InTurn | None = None
        if device.type == "cuda":
            self._turns = InTurn()
            self._stream = torch.cuda.Stream(device)
            self._pinned = torch.empty(elements, dtype=torch.float32, pin_memory=True)
            self._landed = torch.cuda.Event()

    def take(self, dtype: torch.dtype) -> Tensor:
        """A buffer of undefined content: one that was given back, or a new one."""
        free = self._free[dtype]
        return free.pop() if free else self._new(dtype)

    def give_back(self, buffer: Tensor) -> None:
        """Let a buffer be used again by what is asked for from now on."""
        self._free[buffer.dtype].append(buffer)

    def store(self, source: Tensor, target: Tensor) -> None:
        """Copy a flat fp32 tensor into a buffer. It may be written to again at once."""
        self.settle()  # nothing is to be done with the target any more, and the pinned memory is free again
        if self._device.type != "cuda":
            target.copy_(source)
            return
        training = torch.cuda.current_stream(self._device)
        self._stream.wait_stream(training)
        with torch.cuda.stream(self._stream):
            self._pinned.copy_(source, non_blocking=True)
            self._landed.record(self._stream)
        source.record_stream(self._stream)
        training.wait_event(self._landed)  # what overwrites the source comes after the copy

        def land() -> None:
            self._landed.synchronize()
            target.copy_(self._pinned)

        self.do(land)

    def do(self, work: Callable[[], None]) -> None:
        """Work on buffers, after everything that was asked for before."""
        if self._turns is None:
            work()
        else:
            self._turns.do(work)

    def settle(self) -> None:
        """Wait until everything is done; raises what went wrong meanwhile."""
        if self._turns is not None:
            self._turns.settle()

    def _new(self, dtype: torch.dtype) -> Tensor:
        if self._spill is None or not self._elements:
            return torch.empty(self._elements, dtype=dtype)
        size = self._elements * dtype.itemsize
        with tempfile.NamedTemporaryFile(dir=self._spill, prefix=".unfinished-history-") as file:
            # Reserved at once: a disk that is full is told here, and not by a signal when the pages are written.
            if sys.platform == "darwin":
                file.truncate(size)
            else:
                os.posix_fallocate(file.fileno(), 0, size)
            return torch.from_file(file.name, shared=True, size=self._elements, dtype=dtype)
