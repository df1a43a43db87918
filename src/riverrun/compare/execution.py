"""All runs of a comparison, in any order that respects parents, over any kind of workers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, Future, wait
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from riverrun.compare.runs import Key, Run
from riverrun.compare.work import is_done
from riverrun.train.loop import NonFiniteError
from riverrun.train.signals import StopSignals

_ATTEMPTS = 3
_POLL = 0.5


class Workers(Protocol):
    """Something that trains runs elsewhere, so many at a time."""

    @property
    def slots(self) -> int:
        """Runs that it takes at a time."""

    def submit(self, run: Run) -> Future[int]:
        """Train a run; the future holds what `train_run` gives or raises."""

    def stop(self) -> None:
        """Have every run in hand saved and left."""


@dataclass(frozen=True)
class Ended:
    """How the runs ended.

    Attributes:
        failures: why those failed that did.
        diverged: those of them whose loss was no number, and what branches from them: their result, not an accident.
        retries: why those failed at first that were tried again.
        exit_code: 0, or 128 + the number of the signal that broke it off.
    """

    failures: dict[Key, str]
    diverged: frozenset[Key]
    retries: dict[Key, str]
    exit_code: int

    @property
    def complete(self) -> bool:
        """Whether every run was done, but for what diverged."""
        return set(self.failures) == self.diverged and not self.exit_code


def execute(runs: Sequence[Run], folder: Path, workers: Workers, told: Callable[[Run, str], None]) -> Ended:
    """Train every run that is not done yet.

    A run that fails is tried again twice, except for one whose loss is no number: that is its result. What branches
    from a failed run fails with it; the others go on.

    Args:
        runs: parents before their branches.
        folder: where the trees lie.
        workers: train them.
        told: a run is "done", "failed: ...", or "tried again: ...".
    """
    waiting = {run.key: run for run in runs}
    flying: dict[Future[int], Run] = {}
    attempts: Counter[Key] = Counter()
    failures: dict[Key, str] = {}
    diverged: set[Key] = set()
    retries: dict[Key, str] = {}

    def failed(run: Run, why: str) -> None:
        failures[run.key] = why
        told(run, f"failed: {why}")

    for run in runs:
        if is_done(folder, run):
            told(waiting.pop(run.key), "done")
    with StopSignals() as signals:
        while (waiting or flying) and signals.received is None:
            for run in _orphans(waiting, failures):
                if (run.tree, run.parent) in diverged:
                    diverged.add(run.key)
                failed(waiting.pop(run.key), f"{run.parent}, which it branches from, failed")
            for run in _ready(waiting, flying)[: workers.slots - len(flying)]:
                flying[workers.submit(waiting.pop(run.key))] = run
            for future in wait(flying, timeout=_POLL, return_when=FIRST_COMPLETED).done:
                run = flying.pop(future)
                attempts[run.key] += 1
                error = future.exception()
                if error is None and future.result() == 0:
                    told(run, "done")
                    continue
                why = _why(error, future)
                if isinstance(error, NonFiniteError):
                    diverged.add(run.key)
                if run.key in diverged or attempts[run.key] == _ATTEMPTS:
                    failed(run, why)
                else:
                    retries[run.key] = why
                    told(run, f"tried again: {why}")
                    waiting[run.key] = run
        signals.agree(signals.wishes)
        if signals.agreed is not None:
            workers.stop()
        return Ended(failures, frozenset(diverged), retries, signals.exit_code)


def _ready(waiting: Mapping[Key, Run], flying: Mapping[Future[int], Run]) -> list[Run]:
    """Runs whose parents are done, the longest first: a long one begun last would be waited for alone."""
    undone = {*waiting, *(run.key for run in flying.values())}
    ready = [run for run in waiting.values() if (run.tree, run.parent) not in undone]
    return sorted(ready, key=lambda run: run.fork - run.end)


def _orphans(waiting: Mapping[Key, Run], failures: Mapping[Key, str]) -> list[Run]:
    return [run for run in waiting.values() if (run.tree, run.parent) in failures]


def _why(error: BaseException | None, future: Future[int]) -> str:
    """One line."""
    if error is None:
        return f"a signal ended its process (exit code {future.result()})"
    if isinstance(error, BrokenExecutor):
        return "its process was killed, perhaps for want of memory"
    cause = getattr(error, "cause", None) or error  # Ray wraps what a task raised
    return " ".join(str(cause).split()) or type(cause).__name__
