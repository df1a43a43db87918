"""One stretch of training of a node: from where it stands to a position, so that the same call goes on."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch

from riverrun.runs import Node, RunError
from riverrun.runs.metrics import append_record
from riverrun.train.journal import Journal
from riverrun.train.loop import NonFiniteError, advance
from riverrun.train.plan import Plan
from riverrun.train.progress import Progress
from riverrun.train.readouts import evaluate_all
from riverrun.train.session import Session
from riverrun.train.signals import StopSignals


@dataclass(frozen=True)
class Outcome:
    """Where a call left the run; `exit_code` is 128 + the signal's number after a signal, else 0."""

    node: Node
    plan: Plan
    step: int
    exit_code: int

    @property
    def tokens(self) -> int:
        """Tokens the run has trained on in all."""
        return self.plan.tokens(self.step)


def train_stretch(
    node: Node, open_it: Callable[[], Session], stop_of: Callable[[Session], float], progress: Progress
) -> Outcome:
    """Open a node and train it to a position, or until told to stop; be its only writer meanwhile.

    SIGTERM, SIGINT and SIGHUP end it after the update in hand, with a checkpoint.

    Args:
        node: where it lies.
        open_it: creates the node, or goes back to where it stopped.
        stop_of: the position to stop at, infinite for none, from the opened session.
        progress: told about each update.
    """
    with _shortages_explained(node), node.locked(), StopSignals() as signals:
        session = open_it()
        plan, state = session.plan, session.state
        stop = stop_of(session)
        if state.step < stop:
            with _journal(session, stop, progress) as journal:
                advance(session, stop, signals, journal)
        else:
            progress.note(f"{node.id} is at step {state.step:,} already")
        if signals.received is None:
            _read_out_on_top(session)
        return Outcome(node, plan, state.step, signals.exit_code)


@contextmanager
def _shortages_explained(node: Node) -> Iterator[None]:
    """A disk that is full and memory that ran out are the user's to mend, and what is saved is as it was."""
    try:
        yield
    except OSError as error:
        where = error.filename or node.path
        raise RunError(
            f"{where}: {error.strerror or error}; make room or mend it, and the same command goes on from the last "
            "checkpoint"
        ) from error
    except RuntimeError as error:
        if not isinstance(error, torch.OutOfMemoryError) and "allocate memory" not in str(error):
            raise
        raise RunError(
            f"{node.path}: a step does not fit in memory; start a new run with a smaller batch.microbatch"
        ) from error


@contextmanager
def _journal(session: Session, stop: float, progress: Progress) -> Iterator[Journal]:
    """The record of a stretch of training; a checkpoint stands at its end, unless something broke."""
    node, state = session.node, session.state
    journal = Journal(session, progress)
    start = state.step
    node.event("start", step=start, until=stop if stop != math.inf else None)
    progress.begin(session.plan, start, stop)
    try:
        yield journal
    except NonFiniteError as error:
        journal.checkpoint()
        node.event("stop", step=state.step, reason=str(error))
        raise
    else:
        journal.checkpoint()
        node.event("stop", step=state.step)
    finally:
        progress.end()
        journal.close()


def _read_out_on_top(session: Session) -> None:
    """Evaluate the position of a stop that is no readout position; kept apart from the trajectory's record.

    Two runs that took the same steps, with or without a stop between, so have the same metrics.jsonl.
    """
    node, plan, state = session.node, session.plan, session.state
    if state.step == 0 or any(record["step"] == state.step for record in node.readouts()):
        return
    losses = evaluate_all(state, session.windows, session.engine)
    position = {"step": state.step, "tokens": plan.tokens(state.step)}
    append_record(node.evaluations_path, position | losses)
