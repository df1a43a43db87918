"""What work in pieces prints on the way: a bar on a terminal, a line every few seconds elsewhere."""

from __future__ import annotations

import time
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

_SECONDS_BETWEEN_LINES = 5.0


class CountedProgress:
    """Tells how many pieces of each part of the work are done; within `with` only."""

    def __init__(self, console: Console, quiet: bool) -> None:
        self._console = console
        self._quiet = quiet
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            console=console,
            transient=True,
            disable=quiet or not console.is_terminal,
        )
        self._what = ""
        self._done = self._total = 0
        self._told = time.monotonic()

    def __enter__(self) -> CountedProgress:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()

    def begin(self, what: str, total: int) -> None:
        """Another part begins, of so many pieces at most."""
        for task in self._bar.task_ids:
            self._bar.remove_task(task)
        self._bar.add_task(what, total=total)
        self._what, self._done, self._total = what, 0, total

    def advance(self) -> None:
        """A piece is done."""
        self._done += 1
        for task in self._bar.task_ids:
            self._bar.advance(task)
        if self._quiet or self._console.is_terminal:
            return
        if time.monotonic() - self._told >= _SECONDS_BETWEEN_LINES:
            self._told = time.monotonic()
            self._console.print(f"{self._what}: {self._done} of {self._total}", soft_wrap=True, markup=False)

    def note(self, text: str) -> None:
        """Say it above the bar."""
        if not self._quiet:
            self._console.print(text, soft_wrap=True, markup=False)
