"""The processes that train together: how they join, decide as one, and tell which of them was lost.

A launcher such as torchrun starts one process for each device and says in the environment which rank each is. One
process alone is rank 0 of 1, and everything here then costs nothing.
"""

from __future__ import annotations

import gc
import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import TypeVar

import torch
import torch.distributed as dist

from riverrun.errors import ElsewhereError, RiverrunError

Result = TypeVar("Result")

# Seconds between two signs of life of a rank, and how many may be missing before it counts as lost.
_BEAT = 2.0
_MISSED = 3

# What gloo and NCCL say, in RuntimeErrors, when another process is gone or does not answer.
_LOST = (
    "connection closed",
    "connection reset",
    "connection refused",
    "broken pipe",
    "timed out",
    "timeout",
    "nccl",
    "gloo",
    "socket",
)


class LostRankError(RiverrunError):
    """Another rank died or no longer answers."""


@dataclass(frozen=True)
class Ranks:
    """One of `size` processes that train together.

    Attributes:
        rank: from 0 to size - 1.
        size: how many there are (the world size).
        local_rank: among those of this machine; it names the device.
        local_size: how many are on this machine.
        group: of all ranks, for small things on the host.
        background: the same for a thread of its own, so that it cannot mix with what training says meanwhile.
    """

    rank: int = 0
    size: int = 1
    local_rank: int = 0
    local_size: int = 1
    group: dist.ProcessGroup | None = None
    background: dist.ProcessGroup | None = None
    pulse: Pulse | None = field(default=None, compare=False)

    @property
    def first(self) -> bool:
        """Whether this is the one that writes the record and talks to the user."""
        return self.rank == 0

    def apart(self) -> Ranks:
        """The same ranks for use in a background thread."""
        return replace(self, group=self.background)

    def once(self, work: Callable[[], Result]) -> Result:
        """Have the first rank do it, and give every rank its result; an error there is one everywhere."""
        if self.size == 1:
            return work()
        outcome: list[tuple[Result | None, str | None]] = [(None, None)]
        error: BaseException | None = None
        if self.first:
            try:
                outcome = [(work(), None)]
            except Exception as raised:
                error, outcome = raised, [(None, str(raised))]
        dist.broadcast_object_list(outcome, src=0, group=self.group)
        if error is not None:
            raise error
        result, told = outcome[0]
        if told is not None:
            raise ElsewhereError(f"rank 0: {told}")
        return result  # type: ignore[return-value]  # None only where that is the result

    def each(self, work: Callable[[], Result]) -> list[Result]:
        """Have every rank do it, and give every rank all results, by rank; an error on one is one everywhere."""
        if self.size == 1:
            return [work()]
        error: BaseException | None = None
        own: tuple[Result | None, str | None]
        try:
            own = work(), None
        except Exception as raised:
            error, own = raised, (None, f"{type(raised).__name__}: {raised}")
        outcomes: list[tuple[Result, str | None]] = [own] * self.size  # type: ignore[list-item]  # all are replaced
        dist.all_gather_object(outcomes, own, group=self.group)
        if error is not None:
            raise error
        for rank, (_, told) in enumerate(outcomes):
            if told is not None:
                raise ElsewhereError(f"rank {rank}: {told}")
        return [result for result, _ in outcomes]

    def sum(self, values: Sequence[float]) -> list[float]:
        """The sums over all ranks, in float64, the same on each."""
        if self.size == 1:
            return list(values)
        total = torch.tensor(values, dtype=torch.float64)
        dist.all_reduce(total, group=self.group)
        return total.tolist()

    def share(self, count: int) -> slice:
        """Which of `count` things in a row are this rank's: contiguous, and no two ranks differ by more than one."""
        return slice(count * self.rank // self.size, count * (self.rank + 1) // self.size)

    def largest_share(self, count: int) -> int:
        """How many the rank with the most of them has."""
        return -(-count // self.size)


ALONE = Ranks()
"""A process that trains by itself."""


@contextmanager
def joined(patience: float) -> Iterator[Ranks]:
    """Join the ranks that the environment speaks of (RANK, WORLD_SIZE, LOCAL_RANK, MASTER_ADDR, MASTER_PORT).

    Without these variables the process is alone. What a lost rank breaks off is told as a `LostRankError` that names
    it.

    Args:
        patience: seconds that a rank waits for the others before it takes them for lost.
    """
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size == 1:
        yield ALONE
        return
    rank, local_rank = int(os.environ["RANK"]), int(os.environ.get("LOCAL_RANK", "0"))
    local_size = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    backend = "gloo"
    if torch.cuda.is_available():
        torch.cuda.set_device(local_rank % torch.cuda.device_count())
        backend = "cpu:gloo,cuda:nccl"
    timeout = timedelta(seconds=patience)
    try:
        store, _, _ = next(dist.rendezvous("env://", timeout=timeout))
        # A launcher's store outlives its workers: what those before a restart left there must not be found.
        store = dist.PrefixStore(f"riverrun/{os.environ.get('TORCHELASTIC_RESTART_COUNT', '0')}", store)
        store.set_timeout(timeout)
        dist.init_process_group(backend, store=store, rank=rank, world_size=size, timeout=timeout)
        group, background = (dist.new_group(backend="gloo", timeout=timeout) for _ in range(2))
    except (RuntimeError, ValueError) as error:
        raise LostRankError(
            f"rank {rank}: the {size} ranks did not find each other ({_first_line(error)}); are all of them "
            "started, and MASTER_ADDR and MASTER_PORT the same?"
        ) from error
    pulse = Pulse(store, rank, size)
    try:
        yield Ranks(rank, size, local_rank, local_size, group, background, pulse)
        gc.collect()  # a DDP module that goes after its process group may wait for it for ever
        dist.barrier(group)  # one that left early would break off what others still say
    except RuntimeError as error:
        if not _is_loss(error):
            raise
        raise LostRankError(f"rank {rank}: {pulse.lost()} ({_first_line(error)})") from error
    finally:
        pulse.stop()
        with suppress(RuntimeError):
            dist.destroy_process_group()


class Pulse:
    """Signs of life of a rank in the store that all share: which step it is at, every two seconds."""

    def __init__(self, store: dist.Store, rank: int, size: int) -> None:
        self.step = 0
        self._store, self._rank, self._size = store.clone(), rank, size  # type: ignore[attr-defined]
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="pulse", daemon=True)
        self._thread.start()

    def _beat(self) -> None:
        beats = 0
        with suppress(RuntimeError):  # the store is gone: its host tells what happened
            while not self._over.is_set():
                beats += 1
                self._store.set(f"riverrun/pulse/{self._rank}", f"{beats} {self.step}")
                self._over.wait(_BEAT)

    def lost(self) -> str:
        """Which ranks give no sign of life any more, or are behind; it waits a few beats to see."""
        before = self._all()
        time.sleep(_MISSED * _BEAT)
        after = self._all()
        if not after:
            launcher = os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True"
            return (
                f"lost {'the launcher' if launcher else 'rank 0'}, which kept what the ranks tell each other"
            )
        silent = [
            rank for rank in range(self._size) if before.get(rank) == after.get(rank) and rank != self._rank
        ]
        if silent:
            named = ", ".join(
                f"rank {rank} (last seen at step {after.get(rank, (0, 0))[1]:,})" for rank in silent
            )
            return f"lost {named}"
        behind = [rank for rank, (_, step) in after.items() if step < self.step]
        if behind:
            return f"waited in vain for rank {', '.join(map(str, behind))}, which did not get to step {self.step:,}"
        return "lost touch with another rank"

    def _all(self) -> dict[int, tuple[int, int]]:
        found = {}
        with suppress(RuntimeError):
            for rank in range(self._size):
                if self._store.check([f"riverrun/pulse/{rank}"]):
                    beats, step = self._store.get(f"riverrun/pulse/{rank}").decode().split()
                    found[rank] = int(beats), int(step)
        return found

    def stop(self) -> None:
        """No more of them."""
        self._over.set()
        self._thread.join()


def _is_loss(error: RuntimeError) -> bool:
    return isinstance(error, dist.DistError) or any(word in str(error).lower() for word in _LOST)


def _first_line(error: BaseException) -> str:
    return str(error).strip().split("\n")[0]
