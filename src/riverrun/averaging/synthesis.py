"""A profile from block means: the weight of each block, how far that is from the profile, the weighted sum."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import overload

import numpy as np
import torch
from torch import Tensor

from riverrun.averaging.layout import Span
from riverrun.averaging.profiles import Floats, Profile, Uniform

# Iterates whose weights are compared at a time, and elements that are summed at a time.
_ITERATES = 1 << 20
_ELEMENTS = 1 << 16
# What float64 leaves of a sum of differences that are all zero.
_ROUNDING = 1e-9


@dataclass(frozen=True, eq=False)
class Mixture:
    """The convex weights of blocks that come nearest to a profile: each has what the profile gives its iterates.

    Attributes:
        profile: what is reconstructed; where the window was snapped to an edge, that window.
        at: the position of the profile.
        weights: float64, one for each block; none below 0, their sum is 1.
        bound: total variation between the weights that the iterates get and those of the profile: the share of
            weight that lies on other iterates than asked, from 0 to 1.
    """

    profile: Profile
    at: int
    weights: Floats
    bound: float


@dataclass(frozen=True, eq=False)
class Reconstruction(Sequence[Tensor]):
    """The tensors of an average, fp32, in the order and shapes of the parameters; and how far to trust it.

    Attributes:
        profile, at, bound: as in `Mixture`.
    """

    profile: Profile
    at: int
    bound: float
    tensors: list[Tensor] = field(repr=False)

    def __len__(self) -> int:
        return len(self.tensors)

    @overload
    def __getitem__(self, index: int) -> Tensor: ...

    @overload
    def __getitem__(self, index: slice) -> list[Tensor]: ...

    def __getitem__(self, index: int | slice) -> Tensor | list[Tensor]:
        return self.tensors[index]


def mixture(profile: Profile, spans: Sequence[Span], at: int | None = None, snap: bool = False) -> Mixture:
    """The mixture of blocks for a profile.

    Args:
        profile: any.
        spans: the blocks, oldest first, each beginning where the one before ends. What the profile gives to iterates
            before the first goes to the first, and is in the bound.
        at: the position of the profile; by default the end of the last block. Blocks beyond it have no weight, but
            for the one that it lies in.
        snap: move both ends of the profile's window to the nearest edges of blocks, so that the answer is the exact
            average of that window.

    Raises:
        ValueError: ``at`` lies outside the blocks; ``snap`` for a profile without a window.
    """
    first, last = spans[0][0], spans[-1][1]
    at = last if at is None else at
    if not first < at <= last:
        raise ValueError(f"at: got {at}; must be a position from {first + 1} to {last}")
    if snap:
        profile, at = _snapped(profile, spans, at)
    edges = np.minimum([first, *(end for _, end in spans)], at)
    shares = profile.cumulative(edges, at)
    weights = np.maximum(np.diff(shares), 0.0)
    weights[0] += shares[0]
    return Mixture(profile, at, weights / weights.sum(), _total_variation(profile, spans, at, weights))


def _snapped(profile: Profile, spans: Sequence[Span], at: int) -> tuple[Uniform, int]:
    """The window between edges of blocks that is nearest to the profile's, and its end."""
    at = min((end for _, end in spans), key=lambda edge: abs(edge - at))
    start = profile.window_start(at)
    if start is None:
        raise ValueError(f"snap: got {profile.spec!r}, which has no edge; must be a tail or uniform")
    return Uniform(min((begin for begin, _ in spans if begin < at), key=lambda edge: abs(edge - start))), at


def _total_variation(profile: Profile, spans: Sequence[Span], at: int, weights: Floats) -> float:
    """Half the sum over all iterates of |weight in the mixture - weight in the profile|."""
    difference = float(profile.cumulative(spans[0][0], at))  # on iterates that no block holds
    for (begin, end), weight in zip(spans, weights, strict=True):
        if weight == 0.0:
            continue
        for part in range(begin, min(end, at), _ITERATES):
            iterates = np.arange(part, min(part + _ITERATES, end, at) + 1)
            wanted = np.diff(profile.cumulative(iterates, at))
            difference += float(np.abs(wanted - weight / (end - begin)).sum())
        difference += weight * max(end - max(at, begin), 0) / (end - begin)  # on iterates beyond the position
    return 0.0 if difference < _ROUNDING else min(difference / 2, 1.0)


def combine(
    mixtures: Sequence[Mixture], means: Iterable[Callable[[], Sequence[Tensor]]], shapes: Sequence[torch.Size]
) -> list[list[Tensor]]:
    """The weighted sums of block means for several mixtures, each block read once, in fp32.

    Args:
        mixtures: over the same blocks.
        means: for each block what gives its tensors; not called for one that no mixture has weight on.
        shapes: of the tensors.
    """
    sums = [[torch.zeros(shape, dtype=torch.float32) for shape in shapes] for _ in mixtures]
    for index, mean in enumerate(means):
        shares = [float(mixture.weights[index]) for mixture in mixtures]
        if any(shares):
            for number, tensor in enumerate(mean()):
                for piece, *targets in _pieces(tensor.cpu(), [total[number] for total in sums]):
                    for share, target in zip(shares, targets, strict=True):
                        if share:
                            target.add_(piece, alpha=share)
    return sums


def _pieces(source: Tensor, targets: list[Tensor]) -> Iterator[tuple[Tensor, ...]]:
    """A block's tensor in fp32 and the sums that it goes into, in parts that stay in a processor's caches."""
    flat = [tensor.reshape(-1) for tensor in (source, *targets)]
    for part in range(0, source.numel(), _ELEMENTS):
        first, *others = (tensor[part : part + _ELEMENTS] for tensor in flat)
        yield first.float(), *others
