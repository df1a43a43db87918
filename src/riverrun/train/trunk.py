"""Starting a trunk, going on with it, and leaving it so that the same call goes on."""

from __future__ import annotations

import math
from fractions import Fraction
from pathlib import Path

from riverrun.errors import SettingError
from riverrun.ranks import Ranks
from riverrun.runs import Tree
from riverrun.train.plan import Plan
from riverrun.train.progress import Progress, Quiet
from riverrun.train.recipe import Recipe
from riverrun.train.session import Session, open_session
from riverrun.train.stretch import Outcome, train_stretch
from riverrun.units import Duration


def train(
    recipe: Recipe, run: Path, until: Duration | str | None = None, *, progress: Progress | None = None
) -> Outcome:
    """Start the trunk in `run`, or go on with it, and train until the position `until`, or until told to stop.

    The same call resumes after any interruption, bit for bit as if there had been none. SIGTERM, SIGINT, SIGHUP
    and SIGUSR1 end it after the update in hand, with a checkpoint. Under a launcher such as torchrun, all its processes
    make this call.

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

    def opened(ranks: Ranks) -> Session:
        return open_session(recipe, node, progress.note, ranks=ranks)

    def stop(session: Session) -> float:
        return stopping_position(until, session.plan, session.state.step)

    return train_stretch(node, opened, stop, progress, recipe.engine.patience)


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
