"""One stretch of training of a node: from where it stands to a position, so that the same call goes on."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch

from riverrun.ranks import Ranks, joined
from riverrun.runs import Node, RunError
from riverrun.runs.metrics import append_record
from riverrun.trackers import fed_live
from riverrun.train.journal import Journal
from riverrun.train.loop import NonFiniteError, advance
from riverrun.train.plan import Plan
from riverrun.train.progress import Progress, Quiet
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
    node: Node,
    open_it: Callable[[Ranks], Session],
    stop_of: Callable[[Session], float],
    progress: Progress,
    patience: float,
) -> Outcome:
    """Open a node and train it to a position, or until told to stop; be its only writer meanwhile.

    Under a launcher such as torchrun all its processes do this together; the first of them writes the record and
    tells of progress. SIGTERM, SIGINT, SIGHUP and SIGUSR1 on any of them end it on all, after the update in hand, with
    a checkpoint.

    Args:
        node: where it lies.
        open_it: creates the node, or goes back to where it stopped.
        stop_of: the position to stop at, infinite for none, from the opened session.
        progress: told about each update.
        patience: seconds that ranks wait for each other.
    """
    with (
        _shortages_explained(node),
        joined(patience) as ranks,
        _locked(node, ranks),
        StopSignals() as signals,
    ):
        # A call of its own, so that the session is gone before the ranks part: DDP's module needs them to go.
        return _train(open_it(ranks), stop_of, progress if ranks.first else Quiet(), signals, patience)


def _train(
    session: Session,
    stop_of: Callable[[Session], float],
    progress: Progress,
    signals: StopSignals,
    patience: float,
) -> Outcome:
    node, plan, state, ranks = session.node, session.plan, session.state, session.ranks
    stop = stop_of(session)
    trackers = plan.recipe.metrics.trackers if ranks.first else ()
    with fed_live(node, trackers, progress.note, patience):
        if state.step < stop:
            with _journal(session, stop, progress) as journal:
                advance(session, stop, signals, journal)
        else:
            progress.note(f"{node.id} is at step {state.step:,} already")
        signals.agree(ranks.sum(signals.wishes))
        if signals.agreed is None:
            _read_out_on_top(session)
    return Outcome(node, plan, state.step, signals.exit_code)


@contextmanager
def _locked(node: Node, ranks: Ranks) -> Iterator[None]:
    """One lock for all ranks, held by the first."""
    with ExitStack() as stack:
        ranks.once(lambda: stack.enter_context(node.locked()))
        yield


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

    def event(event: str, **facts: Any) -> None:
        if session.ranks.first:
            node.event(event, **facts)

    event("start", step=start, until=stop if stop != math.inf else None, ranks=session.ranks.size)
    progress.begin(session.plan, start, stop)
    try:
        yield journal
    except NonFiniteError as error:
        journal.checkpoint(last=True)
        event("stop", step=state.step, reason=str(error))
        raise
    else:
        journal.checkpoint(last=True)
        event("stop", step=state.step)
    finally:
        progress.end()
        journal.close()


def _read_out_on_top(session: Session) -> None:
    """Evaluate the position of a stop that is no readout position; kept apart from the trajectory's record.

    Two runs that took the same steps, with or without a stop between, so have the same metrics.jsonl.
    """
    node, plan, state, ranks = session.node, session.plan, session.state, session.ranks
    if state.step == 0 or ranks.once(lambda: any(record["step"] == state.step for record in node.readouts())):
        return
    losses = evaluate_all(state, session.windows, session.engine, ranks)
    position = {"step": state.step, "tokens": plan.tokens(state.step)}
    ranks.once(lambda: append_record(node.evaluations_path, position | losses))
