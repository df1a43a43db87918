"""A learning rate as a law sees it from some positions: how far it has come, and its changes before each of them.

A law sums over the changes of the LR. Where the LR is constant there are none. Where it changes at every update,
neighbouring changes are taken together: each law's kernel is smooth, and what a group changes in all stays exact. So
the cost is that of the groups times the positions, whatever the number of updates.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from riverrun.forecast.curve import Curve, Floats, Steps, check_rates

if TYPE_CHECKING:
    from riverrun.averaging import Profile  # it brings torch along

RESOLUTION = 192
"""Groups of changes that one run up and down of the LR is cut into, besides the cuts at positions."""


@dataclass(frozen=True, eq=False)
class Seen:
    """What laws need of an LR at n positions; pairs are (position, group of changes before it).

    Attributes:
        steps: [n], the positions, increasing.
        summed: [n], the sum of the LRs of updates 1 .. steps.
        position: [pairs], index of the position.
        before, after: [pairs], the LR before the group's first change and after its last; 0 before update 1.
        level: [pairs], the LR after a change, averaged over the group.
        since: [pairs], the LR summed from the update that changed on, the group's average, to the position.
        gap: [pairs], updates since the change, that update included.
        stretch_lr, stretch_length: [stretches], mean LR and number of updates of stretches of nearly constant LR that
            make up all updates; none reaches over a position.
        stretches_from, stretches_to: [n], those before each position are the ones from the first up to the second.
    """

    steps: Steps
    summed: Floats
    position: NDArray[np.intp]
    before: Floats
    after: Floats
    level: Floats
    since: Floats
    gap: Floats
    stretch_lr: Floats
    stretch_length: Floats
    stretches_from: NDArray[np.intp]
    stretches_to: NDArray[np.intp]

    def total(self, values: Floats) -> Floats:
        """[n], the sum of [pairs] over the groups of each position."""
        return np.asarray(np.bincount(self.position, weights=values, minlength=self.steps.size), float)

    def until(self, values: Floats) -> Floats:
        """[n], the sum of [stretches] over those before each position."""
        summed = np.concatenate([[0.0], np.cumsum(values)])
        return summed[self.stretches_to] - summed[self.stretches_from]


def see_curve(curve: Curve) -> Seen:
    """The LR of a curve, or that of each of its averages, seen from its positions."""
    return see_readout(curve.lr, curve.steps, curve.profile)


def see_readout(lr: Floats, steps: Steps, profile: Profile | None) -> Seen:
    """The LR seen by the weights, without a profile, or by an average of them."""
    return see(lr, steps) if profile is None else see_average(lr, steps, profile)


def see(lr: Floats, steps: Steps, resolution: int | None = RESOLUTION) -> Seen:
    """The LR ``lr[s - 1]`` of update s, seen from increasing positions; resolution None takes every change apart.

    Raises:
        ValueError: an LR that is 0 up to the first position.
    """
    lr = lr[: steps[-1]]
    check_rates("lr", lr, int(steps[0]))
    summed = np.cumsum(lr)
    earlier = np.concatenate([[0.0], lr[:-1]])
    changed = np.flatnonzero(lr != earlier)
    # A group ends where a position sees a part of it only, where the LR turns round, and when it has grown enough.
    sees = np.searchsorted(steps, changed + 1)
    rises = lr[changed] > earlier[changed]
    cuts = (np.diff(sees) > 0) | (rises[1:] != rises[:-1])
    if resolution is None:
        cuts[:] = True
    else:
        # Halfway between equal differences of the LR and of its logarithm, for small rates count too.
        travelled = np.cumsum(np.abs(np.sqrt(lr[changed]) - np.sqrt(earlier[changed])))
        share = np.floor(resolution * travelled / np.sqrt(lr.max()))
        cuts |= np.diff(share) > 0
    starts = np.concatenate([[0], np.flatnonzero(cuts) + 1])
    ends = np.concatenate([starts[1:], [changed.size]]) - 1
    size = np.abs(lr[changed] - earlier[changed])
    total = np.add.reduceat(size, starts)

    def averaged(values: Floats) -> Floats:
        return np.add.reduceat(size * values[changed], starts) / total

    level, begun, place = averaged(lr), averaged(summed - lr), averaged(np.arange(1.0, lr.size + 1))
    seen_by = np.arange(steps.size)[:, None] >= sees[starts][None, :]
    position, group = np.nonzero(seen_by)
    at = summed[steps - 1]
    # A group's updates are a stretch, and so are the constant ones before it, up to each position.
    edges = np.unique(np.concatenate([changed[starts], changed[ends] + 1, steps]))
    edges = np.concatenate([[0], edges[(edges > 0) & (edges < lr.size)], [lr.size]])
    lengths = np.diff(edges).astype(float)
    return Seen(
        steps=steps,
        summed=at,
        position=position,
        before=earlier[changed[starts]][group],
        after=lr[changed[ends]][group],
        level=level[group],
        since=np.maximum(at[position] - begun[group], 0.0),
        gap=steps[position] - place[group] + 1,
        stretch_lr=np.add.reduceat(lr, edges[:-1]) / lengths,
        stretch_length=lengths,
        stretches_from=np.zeros(steps.size, dtype=np.intp),
        stretches_to=np.searchsorted(edges, steps),
    )


def see_average(lr: Floats, steps: Steps, profile: Profile, resolution: int | None = RESOLUTION) -> Seen:
    """The LRs that an average of the iterates amounts to, seen from each of the positions where it is taken.

    An average holds a part of every update; to first order it is the last iterate of a run whose updates were smaller
    by it (`Profile.implied_decay`): at every position another run.
    """
    alone = [
        see(lr[:step] * profile.implied_decay(int(step)), np.array([step]), resolution) for step in steps
    ]
    counts = np.array([one.stretch_lr.size for one in alone])
    ends = np.cumsum(counts)

    def joined(name: str) -> Floats:
        return np.concatenate([getattr(one, name) for one in alone])

    return Seen(
        steps=steps,
        position=np.repeat(np.arange(steps.size), [one.position.size for one in alone]),
        stretches_from=ends - counts,
        stretches_to=ends,
        **{
            name: joined(name)
            for name in ("summed", "before", "after", "level", "since", "gap", "stretch_lr", "stretch_length")
        },
    )
