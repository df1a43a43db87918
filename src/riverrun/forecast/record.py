"""What one run logged, cleaned, and the curve that laws are fitted to."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from riverrun.forecast.curve import LONGEST, Curve, Floats, Steps
from riverrun.schedules import WSD, Cosine, CyclicCosine, Linear, Schedule

JUMP = 0.25
"""Change between two neighbouring points, as a share of the highest LR, from which on it is called a jump."""


@dataclass(frozen=True, eq=False)
class Record:
    """Losses as a run logged them, after `riverrun.forecast.cleaning.clean`.

    Attributes:
        name: for tables and errors.
        steps: [n], increasing, from 1.
        losses: [n], positive, in nats.
        lr: [n], the learning rate logged with each point, at least 0; None where none was.
        notes: what reading and cleaning did, one sentence each; empty where nothing had to be done.
    """

    name: str
    steps: Steps
    losses: Floats
    lr: Floats | None = None
    notes: tuple[str, ...] = ()


def curve_of(
    record: Record, schedule: Schedule | None = None, *, peak_lr: float = 1.0, series: str = "train"
) -> Curve:
    """The record with the learning rate of every update up to its last point.

    With a schedule each LR is that of the schedule times `peak_lr`, and logged ones are not looked at. Without, they
    come from the logged ones as `rates_at` says, and points at which the LR has been 0 all along are left out;
    `assumptions` puts both into words.

    Raises:
        ValueError: neither a schedule nor logged learning rates, a schedule whose horizon lies before the last point,
            or steps beyond `LONGEST`.
    """
    last = int(record.steps[-1])
    if last > LONGEST:
        raise ValueError(
            f"{record.name}: got the step {last:,}; forecasts reach to step {LONGEST:,}. Count updates, not tokens"
        )
    if schedule is not None:
        _check_covers(record, schedule)
        return Curve.of_schedule(
            record.name, schedule, record.steps, record.losses, peak_lr=peak_lr, series=series
        )
    if record.lr is None:
        raise ValueError(
            f"{record.name}: no learning rate was logged; give the schedule and its peak, or a file with a column lr"
        )
    lr = rates_at(np.arange(1, last + 1), record.steps, record.lr)
    still = _still(record)
    return Curve(record.name, record.steps[still:], record.losses[still:], lr, series)


def _still(record: Record) -> int:
    """How many points there are before the learning rate was first above 0: trainers log a warm-up's 0 at step 1."""
    return 0 if record.lr is None or not record.lr.any() else int(np.flatnonzero(record.lr)[0])


def _check_covers(record: Record, schedule: Schedule) -> None:
    """Refuse a horizon that the run went past: it was not trained with that schedule, or not with it alone."""
    last, end = int(record.steps[-1]), max(schedule.knots(), default=0)
    if isinstance(schedule, Cosine | Linear | CyclicCosine | WSD) and end < last:
        raise ValueError(
            f"{record.name}: the schedule ends at step {end:,} and the curve at step {last:,}; name the schedule that "
            "it was trained with, or give a part of the curve"
        )


def rates_at(steps: ArrayLike, logged: ArrayLike, lr: ArrayLike) -> Floats:
    """Learning rates at steps, from those that were logged.

    Between two logged steps the LR is linear, also where the schedule jumps. Up to the first logged step it rises
    linearly from 0: exact where logging began within a linear warm-up or at its end, and the likeliest where it
    began later, as pretraining warms up. After the last it stays.

    Args:
        steps: [m], where to give the LR.
        logged: [n], increasing, one at least.
        lr: [n], the LR at these.
    """
    steps, logged = np.asarray(steps, float), np.asarray(logged, float)
    risen = np.clip(steps / logged[0], 0, 1) if logged[0] > 0 else 1.0
    rates: Floats = np.interp(steps, logged, np.asarray(lr, float)) * risen
    return rates


def assumptions(record: Record) -> tuple[str, ...]:
    """What `curve_of` without a schedule takes for granted about updates that logged no LR, one sentence each."""
    if record.lr is None:
        return ()
    said = []
    first = int(record.steps[0])
    if first > 1 and record.lr[0] > 0:
        said.append(
            f"no learning rate before step {first:,}: taken to rise linearly from 0 to {record.lr[0]:g}"
        )
    if still := _still(record):
        said.append(
            f"the learning rate is 0 up to step {int(record.steps[still - 1]):,}: points up to there left out"
        )
    # A warm-up may rise as fast as it likes: interpolation follows it.
    warm = int(record.lr.argmax())
    jumps = warm + np.flatnonzero(np.abs(np.diff(record.lr[warm:])) > JUMP * record.lr.max())
    if jumps.size:
        at = int(jumps[0])
        where = f"between steps {int(record.steps[at]):,} and {int(record.steps[at + 1]):,}"
        said.append(
            f"the learning rate jumps from {record.lr[at]:g} to {record.lr[at + 1]:g} {where}"
            + (f", and at {jumps.size - 1} later places" if jumps.size > 1 else "")
            + ": taken as linear in between; the schedule would say where"
        )
    return tuple(said)
