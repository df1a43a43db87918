"""Starting a trunk, going on with it, and leaving it so that the same call goes on."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import torch

from riverrun.errors import SettingError
from riverrun.runs import Node, RunError, Tree
from riverrun.runs.metrics import append_record
from riverrun.train.journal import Journal
from riverrun.train.loop import NonFiniteError, advance
from riverrun.train.plan import Plan
from riverrun.train.progress import Progress, Quiet
from riverrun.train.readouts import evaluate_all
from riverrun.train.recipe import Recipe
from riverrun.train.session import Session, open_session
from riverrun.train.signals import StopSignals
from riverrun.units import Duration


@dataclass(frozen=True)
class Outcome:
    """Where a call of `train` left the run; `exit_code` is 128 + the signal's number after a signal, else 0."""

    node: Node
    plan: Plan
    step: int
    exit_code: int

    @property
    def tokens(self) -> int:
        """Tokens the run has trained on in all."""
        return self.plan.tokens(self.step)


def train(
    recipe: Recipe, run: Path, until: Duration | str | None = None, *, progress: Progress | None = None
) -> Outcome:
    """Start the trunk in `run`, or go on with it, and train until the position `until`, or until told to stop.

    The same call resumes after any interruption, bit for bit as if there had been none. SIGTERM, SIGINT and
    SIGHUP end it after the update in hand, with a checkpoint.

    Args:
        recipe: what to train; for a run that exists it must be the recorded one, operational settings aside.
        run: the tree's folder.
        until: "500 steps", "65M tokens", "2x", or "next 1x" for the next whole multiple; None means never. No
            schedule sees it.
        progress: told about each update; None is silent.

    Raises:
        RiverrunError: recipe, corpus, run directory or checkpoint cannot be used; one line says what to do.
        NonFiniteError: see `Optimizer.on_nonfinite`.
    """
    progress = progress or Quiet()
    _parse_until(until)  # before anything is written
    node = Tree(run).trunk
    with _shortages_explained(node), node.locked(), StopSignals() as signals:
        session = open_session(recipe, node, progress.note)
        plan, state = session.plan, session.state
        stop = stopping_position(until, plan, state.step)
        if state.step < stop:
            with _journal(session, stop, progress) as journal:
                advance(session, stop, signals, journal)
        else:
            progress.note(f"the run is at step {state.step:,} already; name a later --until to train on")
        if signals.received is None:
            _read_out_on_top(session)
        return Outcome(node, plan, state.step, signals.exit_code)


def stopping_position(until: Duration | str | None, plan: Plan, step: int) -> float:
    """The position that `until` names, seen from position `step`; infinite for None."""
    duration, following = _parse_until(until)
    if duration is None:
        return math.inf
    if following:
        done = Fraction(step if duration.unit == "steps" else plan.tokens(step))
        multiples = done / (duration.amount * (plan.tokens_per_x if duration.unit == "x" else 1))
        duration = Duration(duration.amount * (math.floor(multiples) + 1), duration.unit)
    return plan.step_at(duration)


def _parse_until(until: Duration | str | None) -> tuple[Duration | None, bool]:
    """The duration, and whether its next whole multiple is meant."""
    if until is None or isinstance(until, Duration):
        return until, False
    text = until.removeprefix("next ")
    try:
        duration = Duration.parse(text)
    except SettingError as error:
        raise SettingError(f'--until: {error}, or "next 1x" for the next whole multiple') from None
    following = text != until
    if following and not duration.amount:
        raise SettingError(f'--until: got "{until}"; the next multiple of nothing is nowhere')
    return duration, following


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
    losses = evaluate_all(state.model, state.tracks, session.held_out, session.engine)
    position = {"step": state.step, "tokens": plan.tokens(state.step)}
    append_record(node.evaluations_path, position | losses)
