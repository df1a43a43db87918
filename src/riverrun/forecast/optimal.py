"""The learning rate that a fitted law holds to be best for a horizon, among all that never rise.

The optimum is the law's. Where the curves of the fit have had no learning rates like it, as at the end of a run that
has never decayed, the law is extrapolated; what is gained over a plain decay there is a proposal, to be tried.

Learning rates change gradually here, over several updates. A law whose relaxation depends on the LR after each change
(gamma) counts a fall within one update as if all of it took place at the low end, and so finds a jump better, by up to
a thousandth of the loss, than the same fall over ten updates. No curve says so: this the search leaves alone.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from riverrun.forecast.ahead import Ahead
from riverrun.forecast.curve import Floats, Steps, rates_of
from riverrun.forecast.decays import FRACTIONS, Candidate, best_decay
from riverrun.forecast.fitting import Fit
from riverrun.forecast.gains import Gain, check_law, gain
from riverrun.forecast.prediction import LEVEL, Prediction, predict
from riverrun.schedules import Continued, PiecewiseLinear, Schedule

_ROUNDS = 4
"""Searches, each with corners where the one before has found the learning rate to change."""
_STEP = 1e-6
_NOTHING = 1e-5
_GRADUAL = 16
_LINES = 500
"""A line has at least that many updates, and that part of the free stretch: see the module."""


@dataclass(frozen=True, eq=False)
class Optimum:
    """The best learning rate for a horizon under a fitted law.

    Attributes:
        schedule: the base up to the start, and then straight lines down.
        loss: at the horizon.
        decay, decay_schedule: the best named decay, with its start, and the schedule of it.
        gain: how much lower the optimum's loss is than that decay's, and with which probability it is lower at all. The
            probability takes the law as true: laws miss real curves by about a thousandth of the loss, so that a
            smaller gain is not worth a run of its own.
    """

    schedule: PiecewiseLinear | Continued
    loss: Prediction
    decay: Candidate
    decay_schedule: Schedule
    gain: Gain


def optimise(
    fit: Fit,
    base: Schedule,
    peak_lr: float,
    total: int,
    *,
    start: int | None = None,
    points: int = 40,
    series: str | None = None,
    level: float = LEVEL,
) -> Optimum:
    """The learning rate with the lowest expected loss at ``total`` that from ``start`` on never rises.

    It has straight lines between points that the search places where the learning rate changes.

    Args:
        fit: of a law that sees the learning rate.
        base: the schedule up to the start.
        peak_lr: its peak, in the unit of the fitted curves.
        total: the horizon.
        start: the position from which on the learning rate is free, from the warm-up's end on; that end by default.
        points: how many lines it has at most, at least 4.
        series, level: as for `riverrun.forecast.prediction.predict`.

    Returns:
        The optimum: `PiecewiseLinear` where the base is constant up to the start, else `Continued`.

    Raises:
        ValueError: a law that does not see the learning rate, or an argument outside its range.
    """
    check_law(fit)
    name = fit.series(series)
    start = base.warmup if start is None else start
    if not base.warmup <= start < total:
        raise ValueError(
            f"start: got {start:,}; must be at least {base.warmup:,}, the warm-up's end, and less than {total:,}, the "
            "total"
        )
    if points < 4:
        raise ValueError(f"points: got {points}; must be at least 4")
    past, top = rates_of(base, peak_lr, start), peak_lr * base(start)
    if not top > 0:
        raise ValueError(f"start: the learning rate is 0 at step {start:,}; begin earlier")
    decay, trunk = _best_named(fit, base, peak_lr, total, start, name)
    decayed = decay.schedule(trunk)

    def drawn(corners: Steps, heights: Floats) -> PiecewiseLinear | Continued:
        return _schedule(base, start, corners, base(start) * np.minimum.accumulate(heights**2))

    def exact(schedule: Schedule) -> float:
        return float(fit.losses(rates_of(schedule, peak_lr, total), np.array([total]), name)[0])

    def sampled(corners: Steps) -> Floats:
        return np.sqrt(peak_lr * decayed(corners) / top)

    # Where all is over in fewer updates than lines must have, the decay itself may be the best.
    lines = np.unique(np.rint(np.linspace(decay.start, total, points)).astype(np.int64))
    plain = drawn(lines[lines > start], sampled(lines[lines > start]))
    found = [(exact(plain), plain)]
    spread = corners = _spread(start, total, points)
    tries = [sampled(corners), np.linspace(1, 0, corners.size + 1)[1:]]
    for _ in range(_ROUNDS):
        ahead = Ahead(past, top, corners)
        searched = [_search(fit, name, ahead, heights) for heights in tries]
        heights = min(searched, key=lambda one: one[1])[0]
        schedule = drawn(corners, heights)
        found.append((exact(schedule), schedule))
        moved = _where_it_moves(start, corners, heights, spread, points)
        values = np.interp(moved, [start, *corners], np.concatenate([[1.0], heights**2]))
        corners, tries = moved, [np.sqrt(values)]
    best = min(found, key=lambda one: one[0])[1]
    rates = rates_of(best, peak_lr, total)
    return Optimum(
        schedule=best,
        loss=predict(fit, rates, [total], series=name, level=level),
        decay=decay,
        decay_schedule=decayed,
        gain=gain(fit, rates, rates_of(decayed, peak_lr, total), series=name, level=level),
    )


def _best_named(
    fit: Fit, base: Schedule, peak_lr: float, total: int, start: int, series: str
) -> tuple[Candidate, Schedule]:
    """The best decay from the start on, of the base or of its LR at the start held, and which of the two it lowers."""
    after = base(np.arange(start, total + 1))
    trunks = [base] if (np.diff(after) <= 0).all() else []
    if (after != after[0]).any():
        flat = PiecewiseLinear(at=(1,), values=(1.0,))
        trunks.append(Continued(base=base, at=(start, total), values=(after[0],)) if start else flat)
    fractions = (*FRACTIONS, (total - start) / total)
    best = [
        best_decay(fit, trunk, peak_lr, total, earliest=start, fractions=fractions, series=series).best
        for trunk in trunks
    ]
    return min(zip(best, trunks, strict=True), key=lambda pair: pair[0].expected)


def _search(fit: Fit, series: str, ahead: Ahead, heights: Floats) -> tuple[Floats, float]:
    """The best square roots of the LRs at the corners, relative to the level they start from, and their loss.

    The square root goes down by steps of at least 0 that come to 1 at most in all. At an LR of 0, where laws with a
    power of the LR are steep, its derivative is finite.
    """
    from scipy.optimize import minimize

    number = heights.size
    moves = np.eye(number) * _STEP

    def losses(rows: Floats) -> Floats:
        return fit.law.losses(fit.values[series], ahead.seen(ahead.level * rows**2), fit.scale)[0]

    def evaluate(drops: Floats) -> tuple[float, Floats]:
        at = np.maximum(1 - np.cumsum(drops), 0.0)
        found = losses(np.concatenate([at[None], at + moves]))
        slopes = (found[1:] - found[0]) / _STEP
        return float(found[0]), -np.cumsum(slopes[::-1])[::-1]

    # Where the LR is 0 its square root has no slope that would lead away.
    lifted = np.minimum.accumulate(np.clip(heights, 0.02, 1.0))
    found = minimize(
        evaluate,
        -np.diff(lifted, prepend=1.0),
        jac=True,
        method="SLSQP",
        bounds=[(0.0, 1.0)] * number,
        constraints={
            "type": "ineq",
            "fun": lambda drops: 1 - drops.sum(),
            "jac": lambda drops: -np.ones(number),
        },
        options={"maxiter": 300, "ftol": 1e-10},
    )
    at = np.maximum(1 - np.cumsum(np.where(found.x > _NOTHING, found.x, 0.0)), 0.0)
    return at, float(losses(at[None])[0])


def _spread(start: int, total: int, points: int) -> Steps:
    """Half of the points evenly over the steps, half at distances from the total that fall by a factor."""
    room, half = total - start, points // 2
    even = start + room * np.arange(1, points - half + 1) / (points - half)
    near = total - np.geomspace(_shortest(start, total, points), room, half, endpoint=False)
    return _apart(start, np.array([*even, *near]), points)


def _shortest(start: int, total: int, points: int) -> int:
    """How many updates a line must have."""
    room = total - start
    return max(1, min(max(_GRADUAL, round(room / _LINES)), room // points))


def _apart(start: int, corners: Floats, points: int) -> Steps:
    """Corners in whole steps and order, without those that would make a line too short; the last one stays."""
    total = round(corners.max())
    shortest = _shortest(start, total, points)
    kept = [total]
    for corner in np.unique(np.rint(corners).astype(np.int64))[::-1]:
        if kept[-1] - corner >= shortest <= corner - start:
            kept.append(int(corner))
    return np.array(kept[::-1])


def _where_it_moves(start: int, corners: Steps, heights: Floats, spread: Steps, points: int) -> Steps:
    """Half of the points as they were spread, half where the learning rate changes."""
    positions = np.unique([start, *corners, *spread])
    fallen = 1 - np.interp(positions, [start, *corners], [1.0, *heights])
    passed = np.interp(positions, [start, *spread], np.linspace(0, 1, spread.size + 1))
    measure = (fallen / max(fallen[-1], 1e-9) + passed) / 2
    moved = np.interp(np.linspace(0, 1, points + 1)[1:], measure, positions)
    return _apart(start, moved, points)


def _schedule(base: Schedule, start: int, corners: Steps, values: Floats) -> PiecewiseLinear | Continued:
    """The base up to the start and lines from there, in the plainest form."""
    around = np.concatenate([[base(start)], values, [-1.0]])
    turns = (around[1:-1] != around[:-2]) | (around[1:-1] != around[2:])
    at, heights = tuple(map(int, corners[turns])), tuple(map(float, values[turns]))
    lead = (start,) if start > base.warmup else ()
    plain = PiecewiseLinear(
        at=(*lead, *at),
        values=(*(1.0 for _ in lead), *heights),
        warmup=base.warmup,
        warmup_start=base.warmup_start,
    )
    before = np.arange(start + 1)
    if np.array_equal(plain(before), base(before)):
        return plain
    return Continued(base=base, at=(start, *at), values=heights)
