"""Signals as a wish to stop: the step is finished, a checkpoint saved, the process leaves."""

from __future__ import annotations

import signal
import threading
from collections.abc import Sequence
from types import FrameType, TracebackType
from typing import Any

_HEARD = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1)


class StopSignals:
    """While entered, the first SIGTERM, SIGINT, SIGHUP or SIGUSR1 sets `received`; a second one acts as usual.

    What one rank receives, all must leave by at the same step: they tell each other their `wishes`, and `agree`.

    A signal that is ignored, as SIGHUP is under nohup, stays ignored.

    Elsewhere than in the main thread Python cannot listen, and nothing is ever received.
    """

    def __init__(self) -> None:
        self.received: signal.Signals | None = None
        self.agreed: signal.Signals | None = None
        self._usual: dict[signal.Signals, Any] = {}

    @property
    def exit_code(self) -> int:
        """What a shell expects of a process that a signal ended: 128 + its number; 0 when none was agreed on."""
        return 128 + self.agreed if self.agreed else 0

    @property
    def wishes(self) -> list[float]:
        """For each signal, whether this rank received it."""
        return [float(self.received is which) for which in _HEARD]

    def agree(self, wishes: Sequence[float]) -> None:
        """Leave by the first signal that any rank received, given the sums of their wishes."""
        self.agreed = next((which for which, count in zip(_HEARD, wishes, strict=True) if count), None)

    def __enter__(self) -> StopSignals:
        if threading.current_thread() is threading.main_thread():
            for which in _HEARD:
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
