"""From logged rows to a record: what cannot be used is left out and counted, nothing is mended in silence."""

from __future__ import annotations

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import ArrayLike, NDArray

from riverrun.forecast.curve import Floats, Steps
from riverrun.forecast.record import Record, rates_at

FEWEST = 4
"""Points that a record needs: a short decay, to be fitted beside a long run, may have no more."""

_WHOLE = 2.0**53  # whole numbers above it are not exact in a float
_REACH = 10  # points at each side that a point is held against; a longer rise is part of the curve
_DEVIATIONS = 8.0
_RISE = 0.05  # of the logarithm: what schedules do to a loss within a few points is smaller, or stays
_BLOCK = 100
_GAP = 10.0

Mask = NDArray[np.bool_]


def clean(name: str, steps: ArrayLike, losses: ArrayLike, lr: ArrayLike | None = None) -> Record:
    """The usable points of one run in order of their steps, and what was done in the record's notes.

    Left out and counted: losses that are no positive number, steps that are no whole number from 1, all but the last
    row of a step (a resumed run logs again), and spikes (`spikes`). Steps out of order are sorted. Gaps are reported.
    A learning rate that is missing or below 0 is interpolated from the others.

    Args:
        name: for tables and errors.
        steps: [n], NaN where unknown.
        losses: [n], in nats.
        lr: [n], NaN where unknown.

    Raises:
        ValueError: lengths that differ, fewer than `FEWEST` points left, or more than half of them unusable.
    """
    steps, losses = np.asarray(steps, float), np.asarray(losses, float)
    rates = None if lr is None else np.asarray(lr, float)
    if steps.ndim != 1 or steps.shape != losses.shape or (rates is not None and rates.shape != steps.shape):
        raise ValueError(f"{name}: steps, losses and learning rates must be lists of one length")
    rows = steps.size
    usable, faults = _usable(steps, losses)
    kept = np.flatnonzero(usable)
    order, repeated = last_of_each(steps[kept])
    kept = kept[order]
    notes = []
    if repeated:
        notes.append(f"{_count(repeated, 'step was', 'steps were')} logged more than once: the last is kept")
    if falls := int((np.diff(kept) < 0).sum()):
        notes.append(f"steps were out of order at {_count(falls, 'place', 'places')}: sorted")
    spiked = spikes(losses[kept])
    if spiked.any():
        first = int(steps[kept[spiked][0]])
        faults.append(
            (int(spiked.sum()), f"{_count(int(spiked.sum()), 'spike', 'spikes')} (first at step {first:,})")
        )
    kept = kept[~spiked]
    left_out = sum(number for number, _ in faults)
    said = f"{left_out:,} of {_count(rows, 'point', 'points')} left out"
    if faults:
        said += f": {', '.join(words for _, words in faults)}"
        notes.insert(0, said)
    if 2 * left_out > rows:
        raise ValueError(f"{name}: {said}; more than half. Check which columns hold the steps and the loss")
    if kept.size < FEWEST:
        raise ValueError(
            f"{name}: {_count(kept.size, 'usable step', 'usable steps')} ({said}); must be at least {FEWEST}. "
            "Give a longer record, or one that logs more often"
        )
    whole: Steps = steps[kept].astype(np.int64)
    if rates is not None:
        rates, note = _complete(whole, rates[kept])
        notes += note
    notes += _gaps(whole)
    return Record(name, whole, losses[kept], rates, tuple(notes))


def spikes(losses: Floats) -> Mask:
    """Which points stand far above their neighbours at both sides, as after a bad batch.

    The logarithm of each is held against the median of the `_REACH` before and after it, fewer near the ends. A
    median follows descents, falls and rises to a new height without lag, so these leave no residual. A spike is a
    residual of more than 8 robust deviations, taken at the place, and of more than 0.05; one longer than `_REACH`
    points, or at the very end, cannot be told from a rise and stays.

    Args:
        losses: [n], positive, in order of their steps.
    """
    if losses.size < 3:
        return np.zeros(losses.size, bool)
    logs = np.log(losses)
    residuals = logs - _running_median(logs)
    above: Mask = residuals > np.maximum(_DEVIATIONS * _deviations(residuals), _RISE)
    return above


def _usable(steps: Floats, losses: Floats) -> tuple[Mask, list[tuple[int, str]]]:
    """Which rows can be used, and of those that cannot how many for which reason, each row once."""
    usable = np.ones(steps.size, bool)
    faults = []
    for bad, words in (
        (~np.isfinite(steps) | (np.abs(steps) > _WHOLE), "without a step"),
        (steps != np.rint(steps), "between whole steps"),
        (steps < 1, "before step 1"),
        (~np.isfinite(losses), "without a number"),
        (losses <= 0, "not above 0"),
    ):
        if number := int((bad & usable).sum()):
            faults.append((number, f"{number:,} {words}"))
        usable &= ~bad
    return usable, faults


def last_of_each(steps: Floats) -> tuple[NDArray[np.int64], int]:
    """Which rows to keep where a step has several, in order of the steps.

    Args:
        steps: [n], in the order logged.

    Returns:
        The index of the last row of each step, and how many steps have several rows.
    """
    order = np.argsort(steps, kind="stable")
    ends = np.diff(steps[order], append=np.inf) > 0
    rows_of_each = np.diff(np.flatnonzero(ends), prepend=-1)
    return order[ends], int((rows_of_each > 1).sum())


def _running_median(values: Floats) -> Floats:
    """Medians over `_REACH` values at each side; at the ends over as many as both sides have."""
    medians = values.copy()
    if values.size > 2 * _REACH:
        medians[_REACH:-_REACH] = _medians(values, _REACH)
    for reach in range(1, min(_REACH, (values.size + 1) // 2)):
        medians[reach] = np.median(values[: 2 * reach + 1])
        medians[-1 - reach] = np.median(values[-1 - 2 * reach :])
    return medians


def _medians(values: Floats, reach: int) -> Floats:
    """[n - 2 * reach], of each value that has `reach` others at each side, the median of these and itself."""
    windows = sliding_window_view(values, 2 * reach + 1)
    starts = range(0, len(windows), 1 << 16)  # in parts, as a median copies its input
    return np.concatenate([np.median(windows[start : start + (1 << 16)], axis=1) for start in starts])


def _deviations(residuals: Floats) -> Floats:
    """A robust deviation at each point: the largest among its block of about 100 and the blocks beside it."""
    blocks = np.array_split(np.abs(residuals), max(1, residuals.size // _BLOCK))
    sizes = [block.size for block in blocks]
    own = np.pad([1.4826 * float(np.median(block)) for block in blocks], 1, mode="edge")
    return np.repeat(sliding_window_view(own, 3).max(axis=1), sizes)


def _complete(steps: Steps, lr: Floats) -> tuple[Floats | None, list[str]]:
    """Learning rates without holes, None where there are only holes; and a note of what was filled."""
    known = np.isfinite(lr) & (lr >= 0)
    if known.all():
        return lr, []
    if not known.any():
        return None, ["no learning rate is a number of at least 0: left aside"]
    points = _count(int((~known).sum()), "point", "points")
    filled = np.where(known, lr, rates_at(steps, steps[known], lr[known]))
    return filled, [f"{points} without a learning rate: interpolated"]


def _gaps(steps: Steps) -> list[str]:
    """Notes of distances that are long for their place, both as differences and as ratios.

    A grid whose steps grow by a factor has long differences but no long ratios; the start of an even grid has it
    the other way round.
    """
    long = _long(np.diff(steps)) & _long(np.diff(np.log(steps)))
    said = [
        f"no points between steps {int(steps[at]):,} and {int(steps[at + 1]):,}"
        for at in np.flatnonzero(long)
    ]
    if len(said) <= 3:
        return said
    longest = int(np.argmax(np.where(long, np.diff(steps), 0)))
    between = f"steps {int(steps[longest]):,} and {int(steps[longest + 1]):,}"
    return [f"no points at {len(said)} places for long, the longest between {between}"]


def _long(distances: Floats | Steps) -> Mask:
    reach = min(_REACH, distances.size - 1)
    # Mirrored at the ends, so that a long first distance is held against those after it.
    usual = _medians(np.pad(distances.astype(float), reach, mode="reflect"), reach)
    long: Mask = distances > _GAP * usual
    return long


def _count(number: int, one: str, several: str) -> str:
    return f"{number:,} {one if number == 1 else several}"
