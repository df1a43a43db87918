"""Averages of iterates as the recursions keep them.

The average U of a run obeys U+ = keep U + add w+ from one update to the next, whatever its profile. A nested
profile needs one accumulator for all positions; any other one for each position at which it is read.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from riverrun.averaging.profiles import Profile
from riverrun.theory.spectrum import Floats


@dataclass(frozen=True)
class Accumulator:
    """One average of the run.

    Attributes:
        profile: which iterates it holds.
        begin: the iterates after this position carry weight.
        end: the last position at which it is read.
        reads: the positions at which it is read.
    """

    profile: Profile
    begin: int
    end: int
    reads: frozenset[int]

    def shares(self, before: int, after: int) -> tuple[float, float]:
        """What an update from one position to another keeps, and the weight of the iterates between, all of them."""
        if self.profile.nested:
            keep = float(self.profile.cumulative(before, after))
            return keep, 1.0 - keep
        cumulative = self.profile.cumulative(np.array([before, after]), self.end)
        return 1.0, float(cumulative[1] - cumulative[0])

    def step_shares(self, before: int, after: int) -> tuple[Floats, Floats]:
        """`shares` of every single update from one position to another, two arrays of their number."""
        if self.profile.nested:
            keeps = np.array([float(self.profile.cumulative(t - 1, t)) for t in range(before + 1, after + 1)])
            return keeps, 1.0 - keeps
        weights = np.diff(self.profile.cumulative(np.arange(before, after + 1), self.end))
        return np.ones(after - before), weights

    def is_even(self, before: int, after: int, tolerance: float) -> bool:
        """Whether the weights from one position to another are within a relative tolerance of one another."""
        middle = (before + after) // 2
        if middle == before:
            return True
        cumulative = self.profile.cumulative(
            np.array([before, middle, after]), after if self.profile.nested else self.end
        )
        first = (cumulative[1] - cumulative[0]) / (middle - before)
        second = (cumulative[2] - cumulative[1]) / (after - middle)
        return bool(abs(second - first) <= tolerance * (first + second))


def accumulators(profiles: Sequence[Profile], reads: Sequence[int]) -> list[Accumulator]:
    """What has to be kept so that every profile can be read at every position."""
    found = []
    for profile in profiles:
        if profile.nested:
            found.append(Accumulator(profile, 0, max(reads), frozenset(reads)))
        else:
            found += [Accumulator(profile, _first(profile, t), t, frozenset((t,))) for t in reads]
    return found


def kinks(found: Sequence[Accumulator]) -> set[int]:
    """Positions after which weights jump: where windows begin, and where they cut an iterate in two."""
    begins = {_first(one.profile, one.end) if one.profile.nested else one.begin for one in found}
    return begins | {begin + 1 for begin in begins} | {one.end - 1 for one in found if not one.profile.nested}


def _first(profile: Profile, t: int) -> int:
    """The last position up to which a profile read at t has no weight."""
    low, high = 0, t
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if profile.cumulative(middle, t) <= 0 else (low, middle - 1)
    return low
