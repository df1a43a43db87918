"""Batches ahead of time: on a GPU the next one is read into page-locked memory while the device computes."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor

import torch

from riverrun.data import Batch, Stream
from riverrun.ranks import Ranks


class Batches:
    """This rank's batches, in order. A batch is a function of its step, so reading ahead changes nothing."""

    def __init__(self, stream: Stream, ranks: Ranks, device: torch.device) -> None:
        self._stream, self._ranks, self._device = stream, ranks, device
        self._reader = ThreadPoolExecutor(1, thread_name_prefix="batches") if device.type == "cuda" else None
        self._next: tuple[int, Future[Batch]] | None = None

    def take(self, step: int) -> Batch:
        """The batch of an update; on a GPU the one after it is begun."""
        if self._reader is None:
            return self._read(step)
        ahead = self._next
        batch = ahead[1].result() if ahead is not None and ahead[0] == step else self._read(step)
        self._next = step + 1, self._reader.submit(self._read, step + 1)
        return batch

    def _read(self, step: int) -> Batch:
        batch = self._stream.batch(step, self._ranks.rank, self._ranks.size)
        if self._device.type != "cuda":
            return batch
        # numpy's view of pinned memory: the copy to the device is then made without the processor.
        return Batch(batch.indices, torch.from_numpy(batch.tokens).pin_memory().numpy())
