"""What a run writes down as it goes: metrics, checkpoints, events; and what it tells whoever watches."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress

from riverrun.errors import ElsewhereError
from riverrun.runs.metrics import MetricsLog, Record
from riverrun.train.progress import Progress
from riverrun.train.saver import Saver
from riverrun.train.session import Session

# Seconds between notes of the throughput in events.jsonl.
_THROUGHPUT_EVERY = 60.0


class Journal:
    """Keeps the record of one session."""

    def __init__(self, session: Session, progress: Progress):
        self._session = session
        self._progress = progress
        # The first rank keeps the record.
        self._metrics = (
            MetricsLog(session.node.metrics_path, session.state.step) if session.ranks.first else None
        )
        self._saved = session.state.step or None
        self._saver = Saver(session)
        self._timed = time.monotonic(), session.plan.tokens(session.state.step)

    def step(self, loss: float, gradient_norm: float, readouts: Record) -> None:
        """Note the update just done, with the readouts of its position where it has any."""
        plan, state = self._session.plan, self._session.state
        step = state.step
        record: Record = {
            "step": step,
            "tokens": plan.tokens(step),
            "loss/train": loss,
            "lr": plan.lr(step),
            "gradient_norm": gradient_norm,
        }
        if state.skipped:
            record["skipped"] = state.skipped
        record |= readouts
        if self._metrics is not None and (readouts or step % plan.recipe.metrics.every == 0):
            self._metrics.append(record)
        self._progress.step(record)
        if readouts:
            self._progress.readout(record)
        since, tokens = self._timed
        if (now := time.monotonic()) - since >= _THROUGHPUT_EVERY and self._session.ranks.first:
            rate = (record["tokens"] - tokens) / (now - since)
            self._session.node.event("throughput", step=step, tokens_per_second=round(rate))
            self._timed = now, record["tokens"]

    @property
    def save_failed(self) -> bool:
        """Whether a save in the background went wrong, which `settle` tells."""
        return self._saver.failed

    def checkpoint(self, last: bool = False) -> None:
        """Save the position, if it is not saved yet; the `last` of a stretch is waited for, and must succeed."""
        state = self._session.state
        if state.step != self._saved:
            if self._metrics is not None:
                self._metrics.sync()
            self._go_on_without(self._saver.begin, last)
            self._saved = state.step
        if last:
            self.settle(last)

    def settle(self, last: bool = False) -> None:
        """Wait for a save in the background, and tell what went wrong with it."""
        self._go_on_without(self._saver.settle, last)

    def _go_on_without(self, save: Callable[[], None], last: bool) -> None:
        """Do without a checkpoint that cannot be written, if the recipe says so and it is not the last one."""
        session = self._session
        try:
            save()
        except (OSError, ElsewhereError) as error:
            self._saved = None
            if last or session.plan.recipe.checkpoints.on_error == "stop":
                raise
            text = f"step {session.state.step:,} or before: no checkpoint ({error}); the next one is tried when it is due"
            self._progress.note(text)
            if session.ranks.first:
                with suppress(OSError):  # where the disk is full, this is too much as well
                    session.node.event("warning", text=text)

    def close(self) -> None:
        """Close the record."""
        self._saver.close()
        if self._metrics is not None:
            self._metrics.close()
