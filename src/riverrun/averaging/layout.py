"""Which blocks a history consists of: their edges, as a function of the position alone."""

import math
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Annotated

from riverrun.schedules.fields import Number, PositiveSteps, check_fields

Span = tuple[int, int]
"""A block: the iterates after its first position, up to its second."""


@dataclass(frozen=True, kw_only=True)
class BlockLayout:
    """Blocks that are narrow at the end of the run and wider the older they are.

    Edges lie on grids of spacing block * 2 ** j. Each grid keeps its last 2 (resolution - 1) + 1 points, as when the
    two oldest of equal blocks are merged whenever there are more than ``resolution`` of them; grids finer than
    shortest * t / (2 resolution) are given up as t grows. So the number of blocks stays bounded, and an edge that is
    gone never comes back: blocks are only ever merged.

    A suffix of the run of length L, with shortest * t <= L <= longest * t and L >= (resolution - 1) * block, has its
    edge in a block of at most L / (resolution - 1) iterates.

    Args:
        resolution: 2 or more; the larger, the narrower the blocks at any age.
        shortest: the shortest suffix that is resolved, as a fraction of the run.
        longest: the longest; what is older than that (and a block's width) is one block, the prefix.
        block: the finest spacing of edges in steps.
    """

    resolution: Annotated[int, Number(minimum=2, maximum=64, whole=True, noun="a whole number")] = 4
    shortest: Annotated[float, Number(minimum=1e-3, maximum=1)] = 0.02
    longest: Annotated[float, Number(above=0, maximum=1)] = 1.0
    block: PositiveSteps = 1

    def __post_init__(self) -> None:
        check_fields(self)
        if self.shortest > self.longest:
            raise ValueError(f"shortest: got {self.shortest:g}; must be at most longest, {self.longest:g}")

    def edges(self, t: int) -> list[int]:
        """The positions strictly between 0 and t that separate blocks at position t, increasing."""
        kept_of_each = 2 * (self.resolution - 1)
        oldest, spacing = self.oldest(t), self.finest(t)
        found: set[int] = set()
        while True:
            newest = t // spacing
            reached = newest - kept_of_each
            found.update(spacing * number for number in range(max(reached, 1), newest + 1))
            if spacing * reached <= oldest:
                return sorted(edge for edge in found if oldest <= edge < t)
            spacing *= 2

    def finest(self, t: int) -> int:
        """The finest spacing of edges at position t: block * 2 ** j, at least shortest * t / (2 resolution)."""
        least = self.shortest * t / (2 * self.resolution * self.block)
        return self.block << max(0, math.ceil(math.log2(least))) if least > 1 else self.block

    def oldest(self, t: int) -> float:
        """No edge is kept below it: where the longest suffix begins, and room for the block that this lies in."""
        return max(t * (1 - self.longest * self.resolution / (self.resolution - 1)), 0.0)

    def is_quiet(self, before: int, after: int, first: int | None) -> bool:
        """Whether the edges are the same at two positions, known without listing them.

        Args:
            before, after: the positions.
            first: the oldest edge at ``before``; None for no edge.
        """
        spacing = self.finest(after)
        return (
            self.finest(before) == spacing
            and before // spacing == after // spacing
            and (before - 1) // spacing == (after - 1) // spacing
            and (first is None or first >= self.oldest(after))
        )

    def spans(self, t: int) -> list[Span]:
        """The blocks at position t, oldest first; the last one, up to t, is open."""
        return list(pairwise((0, *self.edges(t), t)))

    @cached_property
    def most_blocks(self) -> int:
        """The largest number of blocks at any position, the open one included."""
        # Blocks are most right after the birth of an edge, on the finest grid then. What holds at t holds at 2 t with
        # blocks twice as wide, so one octave of births shows everything; late ones, as one step is next to nothing.
        births = range(int(self.resolution / self.shortest), int(2 * self.resolution / self.shortest) + 1)
        return max(len(self.edges((birth * self.block << 20) + 1)) + 1 for birth in births)
