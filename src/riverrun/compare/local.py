"""Workers on this machine: processes that each train one run after another, each with a GPU where there are some."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.synchronize import Event
from pathlib import Path
from types import TracebackType

from riverrun.compare.runs import Run
from riverrun.compare.work import train_run

_HEARTBEAT = 0.3


class LocalWorkers:
    """Processes that train a run each; one that dies takes no other with it, and none outlives the comparison.

    Args:
        folder: the comparison's.
        slots: processes.
        devices: what each process may see of the GPUs ("0", "1", ...), dealt out in turn; empty changes nothing.
    """

    def __init__(self, folder: Path, slots: int, devices: Sequence[str] = ()) -> None:
        self.slots = slots
        self._folder = folder
        self._devices = devices
        self._context = multiprocessing.get_context("spawn")
        self._leave = self._context.Event()
        self._pools = [self._start(slot) for slot in range(slots)]
        self._flying: dict[Future[int], int] = {}

    def submit(self, run: Run) -> Future[int]:
        """Train a run in a free process, of which there must be one; the future holds what `train_run` gives."""
        busy = {slot for future, slot in self._flying.items() if not future.done()}
        slot = next(slot for slot in range(self.slots) if slot not in busy)
        try:
            future = self._pools[slot].submit(_train, self._folder, run)
        except BrokenProcessPool:  # its process was killed
            self._pools[slot].shutdown(wait=False)
            self._pools[slot] = self._start(slot)
            future = self._pools[slot].submit(_train, self._folder, run)
        self._flying = {known: at for known, at in self._flying.items() if at != slot} | {future: slot}
        return future

    def stop(self) -> None:
        """Have every run in hand saved and left, and wait for it."""
        self._leave.set()
        for pool in self._pools:
            pool.shutdown(wait=True, cancel_futures=True)

    def __enter__(self) -> LocalWorkers:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _start(self, slot: int) -> ProcessPoolExecutor:
        device = self._devices[slot % len(self._devices)] if self._devices else None
        return ProcessPoolExecutor(
            1, mp_context=self._context, initializer=_begin, initargs=(os.getpid(), self._leave, device)
        )


# Of a worker process: whether a run is in hand, and whether it is time to leave.
_in_hand = threading.Lock()
_leaving = threading.Event()


def _begin(parent: int, leave: Event, device: str | None) -> None:
    """In a worker: leave when told to, or when the parent is gone, as after a kill.

    Ctrl-C reaches every process of a terminal; the parent tells the workers in its own time.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if device is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = device

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
