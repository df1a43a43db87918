"""The risk of one-pass SGD under any schedule and any averaging: three engines behind one function."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from riverrun.averaging.profiles import Profile
from riverrun.schedules import Schedule
from riverrun.schedules.fields import LARGEST_STEP
from riverrun.theory import exact, macro
from riverrun.theory.accumulators import accumulators, kinks
from riverrun.theory.batch import ScheduleBatch
from riverrun.theory.problem import Regression
from riverrun.theory.spectrum import MOST_SINGLE_MODES, Floats
from riverrun.theory.state import BIAS, VARIANCE, State

Engine = Literal["auto", "exact", "binned", "macro"]

LAST = "last"
"""The name of the last iterate among the averages."""

BLOCKS = 0.02
"""Usual length of the macro engine's blocks, as a fraction of the position."""

# Up to how much "auto" takes an engine, and a caller may: about a second, and minutes.
_USUAL_EXACT, _MOST_EXACT = 3e7, 3e9  # updates x modes x schedules
_USUAL_BINNED, _MOST_BINNED = 2**14, 2**23  # updates


class RiskWarning(UserWarning):
    """A result that holds for the problem as posed, but perhaps not for the question that was meant."""


@dataclass(frozen=True)
class Risk:
    """Excess risks at some positions, of the last iterate and of averages.

    Attributes:
        at: the positions, [P].
        bias: name -> the part that comes from the start, [K, P] for K schedules.
        variance: name -> the part that comes from the labels' noise, [K, P].
        engine: which engine made them.
    """

    at: tuple[int, ...]
    bias: Mapping[str, Floats]
    variance: Mapping[str, Floats]
    engine: Engine

    def __getitem__(self, name: str) -> Floats:
        """The risk of "last", or of a profile by its name, [K, P]."""
        return self.bias[name] + self.variance[name]

    @property
    def last(self) -> Floats:
        """The risk of the last iterate, [K, P]."""
        return self[LAST]


def risk(
    problem: Regression,
    schedules: Schedule | Sequence[Schedule],
    lr: float | Sequence[float] | Floats,
    at: int | Sequence[int],
    averages: Sequence[Profile] = (),
    *,
    engine: Engine = "auto",
    blocks: float = BLOCKS,
) -> Risk:
    """The expected excess risk at given positions.

    Engines, all with Gaussian features: "exact" takes every update of every mode; "binned" every update of bins of
    modes, within 3e-4 of exact; "macro" blocks of updates of bins, within 5e-4 of exact. "auto" takes the first of
    them that needs about a second. Blocks are no longer than the window of an average: "macro" takes an average of
    fixed length, `FixedBeta`, nearly update by update.

    Args:
        problem: what is learned.
        schedules: one, or K of them.
        lr: the peak LR, one for all or one for each; or several for one schedule.
        at: increasing positions, from 1.
        averages: profiles of iterates to average, each read at every position.
        engine: see above.
        blocks: for "macro": the length of a block as a fraction of the position.

    Raises:
        ValueError: an argument is out of range, the LR still lies above the stability limit when the run ends, or
            the exact engine was asked for more than it can do.

    Warns:
        RiskWarning: the LR passes the stability limit on the way, or the dimension is too small for the horizon.
    """
    batch = ScheduleBatch.of(schedules, lr)
    reads = _positions(at)
    averages = tuple(dict.fromkeys(averages))
    if not 0 < blocks <= 0.25:
        raise ValueError(f"blocks: got {blocks!r}; must be more than 0 and at most 0.25")
    chosen = _choose(problem, engine, reads[-1], len(batch.peaks))
    _check(problem, batch, reads[-1], blocks)
    modes = problem.spectrum.single() if chosen == "exact" else problem.modes
    kept = accumulators(averages, reads)
    stops = {0, *reads, *(one.begin for one in kept)}
    if chosen == "macro":
        stops |= {knot for knot in batch.knots() | kinks(kept) if 0 < knot < reads[-1]}
    state = State.start(problem, modes, len(batch.peaks))
    parts: dict[str, list[Floats]] = {name: [] for name in (LAST, *(profile.name for profile in averages))}
    with np.errstate(over="ignore", invalid="ignore"):
        for before, after in pairwise(sorted(stops)):
            state.activate([one for one in kept if one.begin <= before < one.end])
            if chosen == "macro":
                macro.advance(state, problem, modes, batch, before, after, blocks)
            else:
                exact.advance(state, problem, modes, batch, before, after)
            if after in reads:
                parts[LAST].append(state.last.sum(-1))
                for one in kept:
                    if after in one.reads:
                        parts[one.profile.name].append(state.average[one].sum(-1))
    found = {name: np.stack(values, axis=-1) for name, values in parts.items()}
    if not all(np.isfinite(values).all() for values in found.values()):
        raise ValueError(
            f"lr: the risk grows beyond all numbers; the stability limit is {problem.largest_lr:.4g}"
        )
    return Risk(
        reads,
        {name: values[BIAS] for name, values in found.items()},
        {name: values[VARIANCE] for name, values in found.items()},
        chosen,
    )


def window_risks(problem: Regression, schedule: Schedule, lr: float, steps: int) -> Floats:
    """The risk of the mean of the iterates s .. steps, for every s = 0 .. steps at once, [steps + 1].

    Update by update, forwards over the moments, then backwards: with g_s the sum over t > s of the products of
    1 - lr lambda over the updates s + 1 .. t, E[(sum of the window)^2] grows by m_s (1 + 2 g_s) from s + 1 to s.

    Raises:
        ValueError: as `risk`; also for more than 2^31 moments (updates x modes), which are all kept.
    """
    batch = ScheduleBatch.of(schedule, lr)
    if len(batch.peaks) != 1:
        raise ValueError("lr: all windows are found for one schedule at a time")
    steps = _positions([steps])[0]
    modes = problem.modes
    if steps * modes.rate.size > 2**31:
        raise ValueError(f"steps: got {steps}; all windows need every moment, name fewer updates")
    _check(problem, batch, steps, BLOCKS)
    moments, rates = exact.trajectory(problem, modes, batch, steps)
    second = moments[:, :, 0].sum(1)
    reach, total = np.zeros_like(modes.rate), np.zeros_like(modes.rate)
    risks = np.empty(steps + 1)
    for s in range(steps, -1, -1):
        if s < steps:
            reach = (1 - rates[0, s] * modes.rate) * (1 + reach)
        total += second[s] * (1 + 2 * reach)
        risks[s] = total.sum() / (steps - s + 1) ** 2
    return risks


def _positions(at: int | Sequence[int] | ArrayLike) -> tuple[int, ...]:
    steps = np.atleast_1d(np.asarray(at))
    whole = steps.ndim == 1 and steps.size > 0 and steps.dtype.kind in "iu"
    if not whole or steps[0] < 1 or steps[-1] > LARGEST_STEP or np.any(np.diff(steps) <= 0):
        raise ValueError(f"at: got {at!r}; must be increasing whole positions, from 1 to 2**53")
    return tuple(steps.tolist())


def _choose(problem: Regression, engine: Engine, steps: int, rows: int) -> Engine:
    exactly = steps * problem.spectrum.dimension * rows
    if engine == "auto":
        few = exactly <= _USUAL_EXACT and problem.spectrum.dimension <= MOST_SINGLE_MODES
        return "exact" if few else "binned" if steps <= _USUAL_BINNED else "macro"
    if engine == "exact" and exactly > _MOST_EXACT:
        raise ValueError(
            f"engine: exact takes {steps:.3g} updates of {problem.spectrum.dimension:.3g} modes in {rows} schedules; "
            f'that is above {_MOST_EXACT:.0e}, use "binned" (the same updates of {problem.modes.rate.size} bins) or '
            '"macro"'
        )
    if engine == "binned" and steps > _MOST_BINNED:
        raise ValueError(
            f'engine: binned takes {steps:.3g} updates one by one; above {_MOST_BINNED:.3g} use "macro"'
        )
    if engine not in ("exact", "binned", "macro"):
        raise ValueError(f"engine: got {engine!r}; must be auto, exact, binned or macro")
    return engine


def _check(problem: Regression, batch: ScheduleBatch, steps: int, blocks: float) -> None:
    """Refuse what diverges; warn of what is likely not meant."""
    limit = problem.largest_lr
    knots = np.array([knot for knot in batch.knots() if 0 < knot < steps], dtype=np.int64)
    edges = np.union1d(macro.block_edges(batch, (), 0, steps, blocks), knots)
    rates = batch.rates(edges[1:])
    if (unstable := rates[:, -1] >= limit).any():
        raise ValueError(
            f"lr: got {batch.peaks[unstable][0]:.4g}, {rates[unstable, -1][0]:.4g} at the end; this problem is "
            f"unstable from {limit:.4g} on (batch {problem.batch})"
        )
    if (above := (rates >= limit)).any():
        until = int(edges[1:][above.any(0)].max())
        warnings.warn(
            f"the LR lies above the stability limit {limit:.4g} up to about step {until:,}; the risk grows meanwhile",
            RiskWarning,
            stacklevel=3,
        )
    needed = problem.least_dimension(float((rates * np.diff(edges)).sum(1).max()))
    if needed is not None and problem.spectrum.dimension < needed:
        warnings.warn(
            f"dimension {problem.spectrum.dimension:.3g} is small for this horizon: below {needed:.3g} modes the run "
            "reaches the end of its spectrum, and rates are not those of the power law",
            RiskWarning,
            stacklevel=3,
        )
