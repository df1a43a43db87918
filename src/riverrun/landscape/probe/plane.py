"""The loss over the plane through three places."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from torch import Tensor

from riverrun.landscape.probe.places import Place
from riverrun.landscape.probe.sequence_losses import SequenceLosses

MARGIN = 0.5
"""How far the grid goes beyond the three places, as a share of the distance between them."""


@dataclass(frozen=True)
class Corners:
    """The three places: the plane is origin + x (first - origin) + y (second - origin)."""

    origin: Place
    first: Place
    second: Place


@dataclass(frozen=True)
class PlaneLosses:
    """What was measured over a plane.

    Attributes:
        corners: the places at (x, y) = (0, 0), (1, 0) and (0, 1).
        coordinates: [N], the values of x, and of y: from -0.5 to 1.5.
        losses: [N, N] in nats per token, row by row of y.
        lengths: Euclidean distances from the origin to the first and the second place.
        cosine: of the angle between the two.
        tokens: targets behind every loss.
    """

    corners: Corners
    coordinates: npt.NDArray[np.float64]
    losses: npt.NDArray[np.float64]
    lengths: tuple[float, float]
    cosine: float
    tokens: int

    def drawn_at(
        self, x: npt.NDArray[np.float64], y: npt.NDArray[np.float64]
    ) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        """Where points lie on paper, true to length and angle: the first place on the horizontal axis."""
        sine = math.sqrt(max(0.0, 1 - self.cosine**2))
        return self.lengths[0] * x + self.lengths[1] * self.cosine * y, self.lengths[1] * sine * y


def survey(
    corners: Corners,
    weights: tuple[Tensor, Tensor, Tensor],
    points: int,
    losses: SequenceLosses,
    advance: Callable[[], None] = lambda: None,
) -> PlaneLosses:
    """Evaluate a grid of points x points; with 4 m + 1 of them the three places are among its nodes.

    Args:
        corners: the places.
        weights: theirs, in the order origin, first, second.
        points: on a side.
        losses: evaluates a vector of weights.
        advance: called after each.
    """
    origin, first, second = weights
    across, along = first - origin, second - origin
    coordinates = np.linspace(-MARGIN, 1 + MARGIN, points)
    found = np.empty((points, points))
    for row, y in enumerate(coordinates):
        for column, x in enumerate(coordinates):
            found[row, column] = losses(origin + float(x) * across + float(y) * along).mean()
            advance()
    lengths = float(across.double().norm()), float(along.double().norm())
    cosine = float(across.double() @ along.double()) / max(lengths[0] * lengths[1], 1e-300)
    return PlaneLosses(corners, coordinates, found, lengths, cosine, losses.tokens)
