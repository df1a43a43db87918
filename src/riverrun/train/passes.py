"""A rank's sequences in passes of at most so many: as many passes on every rank, for they communicate in each."""

from __future__ import annotations

from collections.abc import Iterator

from torch import Tensor


def passes(tokens: Tensor, at_once: int, largest: int) -> Iterator[tuple[Tensor, bool]]:
    """(tokens of a pass, whether they count): one that has too few sequences takes part with one that does not count.

    Args:
        tokens: [sequences, length], this rank's.
        at_once: sequences in a pass, at the most.
        largest: how many sequences the rank with the most of them has.
    """
    for first in range(0, largest, at_once):
        part = tokens[first : first + at_once]
        yield (part, True) if len(part) else (tokens.new_zeros(1, tokens.shape[1]), False)
