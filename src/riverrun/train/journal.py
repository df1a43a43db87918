"""What a run writes down as it goes: metrics, checkpoints, events; and what it tells whoever watches."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from statistics import median_low

from riverrun.errors import ElsewhereError
from riverrun.runs.metrics import MetricsLog, Record
from riverrun.train.progress import Progress
from riverrun.train.saver import Saver
from riverrun.train.session import Session

# Seconds between notes of the throughput in events.jsonl.
_THROUGHPUT_EVERY = 60.0
# A rank is noted that takes so many times as long as the median one.
_SLOW = 1.5


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
            self._append(record)
        self._progress.step(record)
        if readouts:
            self._progress.readout(record)

    def _append(self, record: Record) -> None:
        """Where the disk is full and the run goes on without checkpoints, what cannot be written waits."""
        assert self._metrics is not None
        try:
            self._metrics.append(record)
        except OSError:
            if self._session.plan.recipe.checkpoints.on_error == "stop":
                raise

    @property
    def throughput_due(self) -> bool:
        """Whether it is time for a note of the throughput, by the clock of the first rank."""
        return self._session.ranks.first and time.monotonic() - self._timed[0] >= _THROUGHPUT_EVERY

    def throughput(self) -> None:
        """Note tokens per second, and ranks that take much longer than others for their forward passes."""
        session, step = self._session, self._session.state.step
        seconds = session.ranks.each(session.state.forward_time.take)
        (since, before), now, tokens = self._timed, time.monotonic(), session.plan.tokens(step)
        self._timed = now, tokens
        if not session.ranks.first:
            return
        rate = (tokens - before) / (now - since)
        session.node.event("throughput", step=step, tokens_per_second=round(rate))
        usual = median_low(seconds)
        for rank, own in enumerate(seconds):
            if own > _SLOW * usual:
                text = f"rank {rank} takes {own / usual:.1f} times as long as others for its forward passes"
                self._progress.note(text)
                session.node.event("straggler", step=step, rank=rank, text=text)

    @property
    def save_failed(self) -> bool:
        """Whether a save in the background went wrong, which `settle` tells."""
        return self._saver.failed

    def checkpoint(self, last: bool = False) -> None:
        """Save the position, if it is not saved yet; the `last` of a stretch is waited for, and must succeed."""
        state = self._session.state
        if state.step != self._saved:
            self.settle()  # a save before that went wrong must not cost this one, which may be a fork point
            self._saved = state.step
            self._go_on_without(self._save, last)
        if last:
            self.settle(last)

    def _save(self) -> None:
        def sync() -> None:
            if self._metrics is not None:
                self._metrics.sync()

        self._session.ranks.each(sync)
        self._saver.begin()

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
            text = (
                f"step {session.state.step:,}: no checkpoint ({error}); the next one is tried when it is due"
            )
            self._progress.note(text)
            if session.ranks.first:
                with suppress(OSError):  # where the disk is full, this is too much as well
                    session.node.event("warning", text=text)

    def close(self) -> None:
        """Close the record."""
        self._saver.close()
        if self._metrics is not None:
            self._metrics.close()
