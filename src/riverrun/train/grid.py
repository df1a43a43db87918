"""Growing positions: a geometric grid in tokens, asked position by position, with no list and no end."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class GeometricGrid:
    """The token counts `first * ratio**k`, k = 0, 1, ..."""

    first: float
    ratio: float

    def crossed(self, before: int, after: int) -> bool:
        """Whether some point of the grid lies in `(before, after]`."""
        if after < self.first:
            return False
        near = math.log(after / self.first) / math.log(self.ratio)
        # The logarithm may be off by a rounding error at a point of the grid, so its neighbours are tried too.
        powers = range(max(0, math.floor(near) - 1), math.floor(near) + 2)
        return any(before < self.point(power) <= after for power in powers)

    def point(self, power: int) -> int:
        """The k-th point, in whole tokens."""
        return math.ceil(self.first * self.ratio**power - 1e-6)

    def points(self, until: int) -> list[int]:
        """All points up to and including `until` tokens."""
        found: list[int] = []
        while (point := self.point(len(found))) <= until:
            found.append(point)
        return found
