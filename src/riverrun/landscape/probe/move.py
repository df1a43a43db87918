"""Moves through weight space: how far one went along the river, and how much of it lies in the sharp subspace.

The river is the slow direction of a river valley: the one that averages drift along, while raw weights swing between
its banks. Its direction here is the unit vector r from the average at one stable checkpoint to the same average at the
next. A move d has the component d . r along it, and d . r over the learning rates that it took, added up, is its speed:
in a river valley it is the same for raw, averaged and decayed weights, for gradient descent moves by the learning rate
times a slope that changes slowly (Wen et al. 2024, section 3).

The sharp subspace is spanned by the k leading eigenvectors of the Hessian, orthonormal rows V. The share of a move in
it is |V d|^2 / |d|^2; of a random direction among N it is k / N on average.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from torch import Tensor

from riverrun.landscape.probe.places import Place


@dataclass(frozen=True)
class Move:
    """From one place to another.

    Attributes:
        what: what moved, in a word or two: "raw", "ema-25", "decay", "to the average".
        first: where from.
        last: where to.
    """

    what: str
    first: Place
    last: Place

    @property
    def label(self) -> str:
        """What moved, from where to where."""
        return f"{self.what}: {self.first.label} to {self.last.label}"

    @property
    def summed_lr(self) -> float:
        """Learning rates on the way to the last place minus those on the way to the first; 0 for another readout."""
        return self.last.summed_lr - self.first.summed_lr


@dataclass(frozen=True)
class River:
    """The direction of the river, and the two places that it was estimated from."""

    first: Place
    last: Place
    direction: Tensor


@dataclass(frozen=True)
class Moved:
    """What was measured of a move.

    Attributes:
        move: which one.
        distance: its Euclidean length.
        along: its component along the river; negative upstream.
        share: of its squared length, in the sharp subspace; None where no Hessian was taken.
    """

    move: Move
    distance: float
    along: float
    share: float | None

    @property
    def cosine(self) -> float:
        """Of the angle to the river."""
        return self.along / self.distance if self.distance else math.nan

    @property
    def speed(self) -> float | None:
        """Distance along the river per unit of summed learning rate; None where no updates lie between."""
        return self.along / self.move.summed_lr if self.move.summed_lr > 0 else None


def river_between(first: Place, last: Place, before: Tensor, after: Tensor) -> River:
    """The river, from the weights of an average at two positions."""
    drift = after - before
    return River(first, last, drift / drift.norm())


def measure_move(move: Move, before: Tensor, after: Tensor, river: River, sharp: Tensor | None) -> Moved:
    """A move from its two ends; `sharp` has the leading eigenvectors as orthonormal rows [k, N]."""
    displacement = after - before
    along = float(displacement.double() @ river.direction.double())
    share = None if sharp is None else share_within(displacement, sharp)
    return Moved(move, float(displacement.double().norm()), along, share)


def share_within(direction: Tensor, basis: Tensor) -> float:
    """|V d|^2 / |d|^2 for orthonormal rows V [k, N]: NaN for a direction of no length."""
    length = float(direction.double().square().sum())
    within = float((basis @ direction).double().square().sum())
    return within / length if length else math.nan
