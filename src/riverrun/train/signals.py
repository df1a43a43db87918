"""SIGTERM, SIGINT and SIGHUP as a wish to stop: the step is finished, a checkpoint saved, the process leaves."""

from __future__ import annotations

import signal
import threading
from types import FrameType, TracebackType
from typing import Any


class StopSignals:
    """While entered, the first SIGTERM, SIGINT or SIGHUP sets `received`; a second one acts as usual.

    A signal that is ignored, as SIGHUP is under nohup, stays ignored.

    Elsewhere than in the main thread Python cannot listen, and nothing is ever received.
    """

    def __init__(self) -> None:
        self.received: signal.Signals | None = None
        self._usual: dict[signal.Signals, Any] = {}

    @property
    def exit_code(self) -> int:
        """What a shell expects of a process that a signal ended: 128 + its number; 0 when none came."""
        return 128 + self.received if self.received else 0

    def __enter__(self) -> StopSignals:
        if threading.current_thread() is threading.main_thread():
            for which in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
                if signal.getsignal(which) is not signal.SIG_IGN:
                    self._usual[which] = signal.signal(which, self._receive)
        return self

    def _receive(self, number: int, frame: FrameType | None) -> None:
        self.received = signal.Signals(number)
        self._restore()

    def _restore(self) -> None:
        while self._usual:
            which, handler = self._usual.popitem()
            signal.signal(which, handler)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._restore()
