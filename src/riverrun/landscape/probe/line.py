"""The loss along a straight line between two places."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
from torch import Tensor

from riverrun.landscape.probe.places import Place
from riverrun.landscape.probe.sequence_losses import Losses, SequenceLosses
from riverrun.landscape.probe.shape import Shape, dips_between, falls_all_the_way

LineKind = Literal["stable-stable", "stable-decayed", "decayed-decayed"]


@dataclass(frozen=True)
class Line:
    """Two places; for a run without decays, averages stand for decayed ones."""

    kind: LineKind
    first: Place
    last: Place

    @property
    def label(self) -> str:
        """From where to where."""
        return f"{self.first.label} to {self.last.label}"


@dataclass(frozen=True)
class LineLosses:
    """What was measured along a line.

    Attributes:
        line: which one.
        distance: Euclidean, between its ends.
        positions: [P], 0 at the first place, 1 at the last.
        losses: [P, S] in nats per token, for each of S sequences.
        tokens: targets behind every loss.
    """

    line: Line
    distance: float
    positions: npt.NDArray[np.float64]
    losses: Losses
    tokens: int

    @property
    def means(self) -> npt.NDArray[np.float64]:
        """The loss at each point [P]."""
        return self.losses.mean(axis=1)

    @property
    def lowest(self) -> float:
        """The position with the lowest loss."""
        return float(self.positions[np.argmin(self.means)])

    @property
    def shape(self) -> Shape:
        """Whether it dips, for a line between stable places; whether it falls all the way, for any other."""
        return (
            dips_between(self.losses) if self.line.kind == "stable-stable" else falls_all_the_way(self.losses)
        )


def walk(
    line: Line,
    first: Tensor,
    last: Tensor,
    points: int,
    losses: SequenceLosses,
    advance: Callable[[], None] = lambda: None,
) -> LineLosses:
    """Evaluate `points` evenly spaced points of (1 - t) first + t last, both ends among them."""
    positions = np.linspace(0.0, 1.0, points)
    found = []
    for position in positions:
        found.append(losses(first.lerp(last, float(position))))
        advance()
    distance = float((last - first).double().norm())
    return LineLosses(line, distance, positions, np.stack(found), losses.tokens)
