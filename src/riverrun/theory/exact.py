"""Update by update: the exact recursion of the second moments, over single modes or bins.

With x = lr lambda and S = sum_i lambda_i m_i the risk before the update, m_i = E[d_i^2] follows

    m+ = (1 - 2x + x^2 (1 + 1/B)) m + (lr^2 / B) lambda (S + noise),

for Gaussian features: their fourth moments give the diagonal a recursion of its own, coupled through S alone.
Averages U+ = keep U + add d+ need c = E[U d] and A = E[U^2] besides, with r = 1 - x, since E[d+ | d] = r d:

    A+ = keep^2 A + 2 keep add r c + add^2 m+,    c+ = keep r c + add m+.

Everything here is multiplied by lambda and summed over bins.
"""

from __future__ import annotations

import numpy as np

from riverrun.theory.batch import ScheduleBatch
from riverrun.theory.problem import Regression
from riverrun.theory.spectrum import Floats, Modes
from riverrun.theory.state import State

# Steps whose learning rates and weights are computed at a time.
_AHEAD = 4096


def advance(
    state: State, problem: Regression, modes: Modes, schedules: ScheduleBatch, before: int, after: int
) -> None:
    """Bring the moments, and the accumulators that are active, from one position to another."""
    for start in range(before, after, _AHEAD):
        _advance(state, problem, modes, schedules, start, min(start + _AHEAD, after))


def _advance(
    state: State, problem: Regression, modes: Modes, schedules: ScheduleBatch, before: int, after: int
) -> None:
    rates = schedules.rates(np.arange(before + 1, after + 1))
    active = list(state.cross)
    last = state.last
    cross = np.stack([state.cross[one] for one in active]) if active else np.empty((0, *last.shape))
    average = np.stack([state.average[one] for one in active]) if active else cross.copy()
    # [steps, accumulators, 1, 1, 1]
    shares = np.empty((len(active), 2, after - before))
    for number, one in enumerate(active):
        shares[number] = one.step_shares(before, after)
    keeps, adds = np.ascontiguousarray(shares.transpose(1, 2, 0))[..., None, None, None]
    crosswise, kept, added = 2 * keeps * adds, keeps**2, adds**2
    spread, drive, noise = 1 + 1 / problem.batch, modes.square / problem.batch, state.noise
    scratch, mixed = np.empty_like(last), np.empty_like(cross)
    for n, lr in enumerate(rates.T[:, :, None]):
        pull = lr * modes.rate
        _update(last, pull, (lr * lr) * drive, spread, noise, scratch)
        if active:
            cross *= 1 - pull
            average *= kept[n]
            np.multiply(cross, crosswise[n], out=mixed)
            average += mixed
            cross *= keeps[n]
            cross += np.multiply(last, adds[n], out=mixed)
            average += np.multiply(last, added[n], out=mixed)
    state.cross = dict(zip(active, cross, strict=True))
    state.average = dict(zip(active, average, strict=True))


def _update(last: Floats, pull: Floats, push: Floats, spread: float, noise: Floats, scratch: Floats) -> None:
    """m+ in the place of m: pull is lr lambda, push lr^2 lambda^2 / B, spread 1 + 1/B."""
    forcing = last.sum(-1)
    forcing += noise
    last *= 1 + pull * (pull * spread - 2)
    np.multiply(forcing[..., None], push, out=scratch)
    last += scratch


def trajectory(
    problem: Regression, modes: Modes, schedules: ScheduleBatch, steps: int
) -> tuple[Floats, Floats]:
    """The moments of every position 0 .. steps, [steps + 1, 2, K, G], and the learning rates [K, steps]."""
    rates = schedules.rates(np.arange(1, steps + 1))
    state = State.start(problem, modes, len(schedules.peaks))
    spread, drive, scratch = 1 + 1 / problem.batch, modes.square / problem.batch, np.empty_like(state.last)
    moments = np.empty((steps + 1, *state.last.shape))
    moments[0] = state.last
    for t, lr in enumerate(rates.T[:, :, None], start=1):
        moments[t] = moments[t - 1]
        _update(moments[t], lr * modes.rate, (lr * lr) * drive, spread, state.noise, scratch)
    return moments, rates
