"""Threads that share an ordered list of tasks, and take turns where the order matters."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TypeVar

Task = TypeVar("Task")

# Beyond this the disk, not the processor, is what a merge waits for.
_MOST = 8


class StoppedError(Exception):
    """Another worker failed, or the caller was interrupted; this one ends without a word."""


def usable_workers() -> int:
    """One for each processor core, up to a few."""
    # macOS cannot restrict a process to some cores, and has no such function.
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(cores, _MOST)


class Turns:
    """Lets the tasks 0, 1, 2, ... through a gate one by one in that order; there may be several gates."""

    def __init__(self, gates: int) -> None:
        self._next = [0] * gates
        self._changed = threading.Condition()
        self._stopped = False

    @contextmanager
    def of(self, gate: int, task: int) -> Iterator[None]:
        """Wait until all earlier tasks are through the gate, and be the only one in it."""
        with self._changed:
            self._changed.wait_for(lambda: self._stopped or self._next[gate] == task)
            if self._stopped:
                raise StoppedError
        yield
        with self._changed:
            self._next[gate] += 1
            self._changed.notify_all()

    def stop(self) -> None:
        """Let nobody through any more."""
        with self._changed:
            self._stopped = True
            self._changed.notify_all()


def work(
    tasks: Iterable[Task],
    worker: Callable[[Iterator[Task]], None],
    count: int,
    turns: Turns | None = None,
    watch: Callable[[], None] = lambda: None,
) -> None:
    """Run `count` threads of `worker`, each given the same iterator of tasks, which are handed out in order.

    Args:
        tasks: handed out one at a time.
        worker: takes tasks from its argument until there are none.
        count: of threads.
        turns: stopped when a worker fails, or when this thread is interrupted.
        watch: called in this thread every so often.

    Raises:
        BaseException: the first that a worker raised.
    """
    failures: list[BaseException] = []
    handing_out = threading.Lock()
    left = iter(tasks)

    def shared() -> Iterator[Task]:
        while not failures:
            with handing_out:
                task = next(left, None)
            if task is None:
                return
            yield task

    def run() -> None:
        try:
            worker(shared())
        except StoppedError:
            pass
        except BaseException as failure:
            stop(failure)

    def stop(reason: BaseException) -> None:
        failures.append(reason)
        if turns is not None:
            turns.stop()

    threads = [threading.Thread(target=run, daemon=True) for _ in range(count)]
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            while thread.is_alive():
                thread.join(0.1)
                watch()
    except BaseException as interruption:
        stop(interruption)
        for thread in threads:
            thread.join()
        raise
    if failures:
        raise failures[0]
