"""Blocks of updates in closed form: T = 2^44 in seconds.

Over a block of n updates with one learning rate and one forcing s = S + noise, an update is linear in each mode's
(m, c, A) and s:

    m' = (1 - p) m + q s
    c' = (1 - g) c + d m + e s
    A' = A + h c + k m + l s

(everything times lambda, the weight of each iterate 1; a weight w scales d and e by w, h by w, k and l by w^2).
n updates are the n-th power of that map. It is found by squaring: no differences of nearly equal numbers, and no
special cases where geometric sums degenerate. What decays is kept as its distance p or g from 1, which would be
lost in 1 - 1e-17. The forcing is the mean over the block, by a predictor and a corrector.

Three errors remain, all of second order in the length of the blocks: learning rates, weights and forcing are taken
as constant within a block (their means are right).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from riverrun.theory.accumulators import Accumulator
from riverrun.theory.batch import ScheduleBatch
from riverrun.theory.problem import Regression
from riverrun.theory.spectrum import Floats, Modes
from riverrun.theory.state import State


@dataclass(frozen=True)
class _Map:
    """What updates do to a mode; arrays [K, G] as the module says. The averaged part is None where none is kept."""

    p: Floats
    q: Floats
    averaged: tuple[Floats, Floats, Floats, Floats, Floats, Floats] | None  # g, d, e, h, k, l

    @classmethod
    def of_update(cls, lr: Floats, problem: Regression, modes: Modes, averaging: bool) -> _Map:
        """One update with the learning rates lr [K, 1]."""
        pull = lr * modes.rate
        p = pull * (2 - pull * (1 + 1 / problem.batch))
        q = lr * lr * modes.square / problem.batch
        if not averaging:
            return cls(p, q, None)
        stays = 1 - p
        return cls(p, q, (pull, stays, q, 2 * (1 - pull), stays, q))

    def then(self, second: _Map) -> _Map:
        """This map, and another one after it."""
        stays = 1 - second.p
        p = self.p + second.p * (1 - self.p)
        q = stays * self.q + second.q
        if self.averaged is None or second.averaged is None:
            return _Map(p, q, None)
        g1, d1, e1, h1, k1, l1 = self.averaged
        g2, d2, e2, h2, k2, l2 = second.averaged
        return _Map(
            p,
            q,
            (
                g1 + g2 * (1 - g1),
                (1 - g2) * d1 + d2 * (1 - self.p),
                (1 - g2) * e1 + d2 * self.q + e2,
                h1 + h2 * (1 - g1),
                k1 + h2 * d1 + k2 * (1 - self.p),
                l1 + h2 * e1 + k2 * self.q + l2,
            ),
        )

    def power(self, n: int) -> _Map:
        """n updates."""
        result, base = None, self
        while True:
            if n & 1:
                result = base if result is None else base.then(result)
            n >>= 1
            if not n:
                assert result is not None
                return result
            base = base.then(base)


def advance(
    state: State,
    problem: Regression,
    modes: Modes,
    schedules: ScheduleBatch,
    before: int,
    after: int,
    blocks: float,
) -> None:
    """Bring the moments, and the accumulators that are active, from one position to another.

    Args:
        blocks: the length of a block as a fraction of the position; also the most that a learning rate or a weight
            changes within one.
    """
    active = list(state.cross)
    edges = block_edges(schedules, active, before, after, blocks)
    for start, end, lr in zip(
        edges[:-1].tolist(), edges[1:].tolist(), _means(schedules, edges).T, strict=True
    ):
        updates = _Map.of_update(lr[:, None], problem, modes, bool(active)).power(end - start)
        _apply(state, updates, start, end)


def _apply(state: State, updates: _Map, start: int, end: int) -> None:
    n = end - start
    stays = 1 - updates.p
    kept = stays * state.last
    risk = state.last.sum(-1)
    forcing = risk + state.noise
    # The mean risk before each of the n updates, were it a straight line to the end.
    for _ in range(2 if n > 1 else 0):
        at_end = (kept + updates.q * forcing[..., None]).sum(-1)
        forcing = risk + (at_end - risk) * (n - 1) / (2 * n) + state.noise
    if updates.averaged:
        g, d, e, h, k, l = updates.averaged  # noqa: E741  (the module's names)
        moving, driven = d * state.last + e * forcing[..., None], k * state.last + l * forcing[..., None]
        for one, cross in state.cross.items():
            keep, add = one.shares(start, end)
            weight = add / n
            # What is kept of an average is scaled at the start of the block: only ratios within it matter.
            old = keep * cross
            state.average[one] = keep**2 * state.average[one] + weight * h * old + weight**2 * driven
            state.cross[one] = (1 - g) * old + weight * moving
    state.last = kept + updates.q * forcing[..., None]


def block_edges(
    schedules: ScheduleBatch, active: Sequence[Accumulator], before: int, after: int, blocks: float
) -> NDArray[np.int64]:
    """Positions from one to another such that little changes between them; the first ones are single updates."""
    edges = [before]
    while edges[-1] < after:
        edges.append(min(after, edges[-1] + max(1, int(blocks * edges[-1]))))
    found = np.array(edges, dtype=np.int64)
    while True:
        rates = np.stack([schedules.rates(found[:-1] + 1), schedules.rates(found[1:])])
        uneven = (np.ptp(rates, axis=0) > blocks * rates.max(0)).any(0)
        for n, (start, end) in enumerate(zip(found[:-1].tolist(), found[1:].tolist(), strict=True)):
            uneven[n] |= not all(one.is_even(start, end, blocks) for one in active)
        split = np.flatnonzero(uneven & (np.diff(found) > 1))
        if not split.size:
            return found
        found = np.sort(np.concatenate([found, (found[split] + found[split + 1]) // 2]))


def _means(schedules: ScheduleBatch, edges: NDArray[np.int64]) -> Floats:
    """The mean learning rate of each block, [K, blocks], by Simpson's rule; exact for straight lines."""
    first, last = edges[:-1] + 1, edges[1:]
    low, high = (first + last) // 2, (first + last + 1) // 2
    ends = schedules.rates(first) + schedules.rates(last)
    return (ends + 2 * (schedules.rates(low) + schedules.rates(high))) / 6
