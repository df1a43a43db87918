"""Workers on this machine: processes that each train one run after another."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.synchronize import Event
from pathlib import Path
from types import TracebackType

from riverrun.compare.runs import Run
from riverrun.compare.work import train_run

_HEARTBEAT = 0.3


class LocalWorkers:
    """A pool that survives the death of its processes, and whose processes do not survive it."""

    def __init__(self, folder: Path, slots: int) -> None:
        self._folder = folder
        self.slots = slots
        self._context = multiprocessing.get_context("spawn")
        self._leave = self._context.Event()
        self._pool = self._start()

    def submit(self, run: Run) -> Future[int]:
        """Train a run in the next free process; the future holds what `train_run` gives or raises."""
        try:
            return self._pool.submit(_train, self._folder, run)
        except BrokenProcessPool:  # a process was killed, and took the pool with it
            self._pool.shutdown(wait=False)
            self._pool = self._start()
            return self._pool.submit(_train, self._folder, run)

    def stop(self) -> None:
        """Have every run in hand saved and left, and wait for it."""
        self._leave.set()
        self._pool.shutdown(wait=True, cancel_futures=True)

    def __enter__(self) -> LocalWorkers:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _start(self) -> ProcessPoolExecutor:
        return ProcessPoolExecutor(
            self.slots, mp_context=self._context, initializer=_begin, initargs=(os.getpid(), self._leave)
        )


# Of a worker process: whether a run is in hand, and whether it is time to leave.
_in_hand = threading.Lock()
_leaving = threading.Event()


def _begin(parent: int, leave: Event) -> None:
    """In a worker: leave when told to, or when the parent is gone, as after a kill.

    Ctrl-C reaches every process of a terminal; the parent tells the workers in its own time.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)

    def watch() -> None:
        while os.getppid() == parent and not leave.is_set():
            time.sleep(_HEARTBEAT)
        _leaving.set()
        if _in_hand.locked():
            os.kill(os.getpid(), signal.SIGTERM)  # the run saves and leaves
        while os.getppid() == parent:  # which lets this process go in good order
            time.sleep(_HEARTBEAT)
        with _in_hand:
            os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _train(folder: Path, run: Run) -> int:
    with _in_hand:
        return 128 + signal.SIGTERM if _leaving.is_set() else train_run(folder, run)
