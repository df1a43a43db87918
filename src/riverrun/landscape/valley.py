"""The river valley: a slow river at the bottom, steep hills at its sides."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from riverrun.schedules.shapes import Floats


@dataclass(frozen=True)
class Points:
    """Positions of many runs, or their gradients.

    Attributes:
        x: along the river, of shape (runs,).
        y: across it, of shape (runs, hills).
    """

    x: Floats
    y: Floats

    def toward(self, other: Points, share: float) -> Points:
        """The points on the straight lines to `other`, from here (share 0) to there (share 1)."""
        return Points(self.x + share * (other.x - self.x), self.y + share * (other.y - self.y))


@dataclass(frozen=True, kw_only=True)
class Valley:
    """L(x, y) = height e^(-x/length) + 1/2 sum_i a_i (y_i - phi_i(x))^2, phi(x) = amplitude sin(omega x) v.

    v is the unit vector with equal components. The river lies at y = phi(x): the first term is its height,
    the second the elevation above it. A gradient comes with Gaussian noise of the same deviation in every
    coordinate, x among them.

    After "Understanding Warmup-Stable-Decay Learning Rates: A River Valley Loss Landscape Perspective" (2024).

    Attributes:
        curvatures: a_i, one per hill, positive; of shape (hills,).
        noise: s, the deviation of the gradient's noise in each coordinate.
        height: of the river at x = 0.
        length: over which the river falls by a factor e.
        amplitude: how far the river swings to each side; 0 for a straight one.
        omega: angle of the swing per unit of x.
    """

    curvatures: Floats = field(repr=False)
    noise: float
    height: float = 1.0
    length: float = 40.0
    amplitude: float = 0.0
    omega: float = 0.1

    @property
    def hills(self) -> int:
        """The number of coordinates across the river."""
        return len(self.curvatures)

    @property
    def largest_stable_rate(self) -> float:
        """2 over a bound of the largest curvature, max a_i (1 + (amplitude omega)^2); exact for a straight river."""
        return float(2 / (self.curvatures.max() * (1 + (self.amplitude * self.omega) ** 2)))

    def above_bed(self, points: Points) -> Floats:
        """y - phi(x), of shape (runs, hills)."""
        swing = self.amplitude / np.sqrt(self.hills) * np.sin(self.omega * points.x)
        return points.y - swing[:, None]

    def river(self, points: Points) -> Floats:
        """The height of the river at each run's x, of shape (runs,)."""
        return self.height * np.exp(-points.x / self.length)

    def elevation(self, points: Points) -> Floats:
        """How far the loss of each run lies above the river, of shape (runs,)."""
        return self.above_bed(points) ** 2 @ self.curvatures / 2

    def loss(self, points: Points) -> Floats:
        """The loss of each run, of shape (runs,)."""
        return self.river(points) + self.elevation(points)

    def gradient(self, points: Points) -> Points:
        """The gradient of the loss without noise."""
        pull = self.above_bed(points) * self.curvatures
        slope = self.amplitude * self.omega / np.sqrt(self.hills) * np.cos(self.omega * points.x)
        return Points(-self.river(points) / self.length - slope * pull.sum(axis=1), pull)

    def springs(self, runs: int) -> Points:
        """Where runs start: on the river at x = 0."""
        return Points(np.zeros(runs), np.zeros((runs, self.hills)))


def plane_valley(amplitude: float = 0.0) -> Valley:
    """The valley that can be drawn: one hill of curvature 1, noise 0.3."""
    return Valley(curvatures=np.ones(1), noise=0.3, amplitude=amplitude)


def hilly_valley(amplitude: float = 0.0) -> Valley:
    """The valley of many dimensions: 40 hills with curvatures evenly from 0.3 to 1.5, noise 0.1."""
    return Valley(curvatures=np.linspace(0.3, 1.5, 40), noise=0.1, amplitude=amplitude)
