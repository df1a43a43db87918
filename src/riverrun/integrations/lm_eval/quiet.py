"""lm-eval without what it says on the way: bars, prints, warnings of its task files."""

from __future__ import annotations

import io
import logging
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout


@contextmanager
def quiet() -> Iterator[list[str]]:
    """Let nothing through that is printed or logged inside; what lm-eval logs as an error is in the list."""
    errors: list[str] = []
    kept = _Kept(errors)
    logger = logging.getLogger("lm_eval")
    propagates, disabled = logger.propagate, logging.root.manager.disable
    logger.addHandler(kept)
    logger.propagate = False
    logging.disable(logging.WARNING)
    try:
        with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
            yield errors
    finally:
        logging.disable(disabled)
        logger.propagate = propagates
        logger.removeHandler(kept)


class _Kept(logging.Handler):
    def __init__(self, messages: list[str]) -> None:
        super().__init__(logging.ERROR)
        self._messages = messages

    def emit(self, record: logging.LogRecord) -> None:
        self._messages.append(record.getMessage())
