"""How long a stretch of work takes, on the device that does it."""

from __future__ import annotations

import time
from types import TracebackType

import torch


class Stopwatch:
    """Adds up the time of the blocks that it is entered for; `take` gives the seconds since the last time.

    On a GPU the time is the device's, between two events in its queue: the processor is far ahead of it and does not
    wait.
    """

    def __init__(self, device: torch.device) -> None:
        self._cuda = device.type == "cuda"
        self._events: list[tuple[torch.cuda.Event, torch.cuda.Event]] = []
        self._seconds = 0.0
        self._begun = 0.0

    def __enter__(self) -> None:
        if self._cuda:
            begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            begin.record()
            self._events.append((begin, end))
        else:
            self._begun = time.perf_counter()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._cuda:
            self._events[-1][1].record()
        else:
            self._seconds += time.perf_counter() - self._begun

    def take(self) -> float:
        """Seconds so far, and begin anew."""
        if self._events:
            self._events[-1][1].synchronize()
            self._seconds = sum(begin.elapsed_time(end) for begin, end in self._events) / 1000
            self._events.clear()
        seconds, self._seconds = self._seconds, 0.0
        return seconds
