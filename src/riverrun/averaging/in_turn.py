"""Work that is done in the background, one piece after another."""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor


class InTurn:
    """A thread that does what it is given, in that order; after one that fails, nothing more."""

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="history")
        self._last: Future[None] | None = None

    def do(self, work: Callable[[], None]) -> None:
        """Work to do after everything that was given before; returns at once."""
        before = self._last

        def in_turn() -> None:
            if before is not None:
                before.result()  # what went wrong before is told again by what comes after
            work()

        self._last = self._thread.submit(in_turn)

    def settle(self) -> None:
        """Wait until everything is done; raises what went wrong meanwhile."""
        if self._last is not None:
            self._last.result()
