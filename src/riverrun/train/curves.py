"""The losses that a node recorded, as curves that laws can be fitted to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from riverrun.runs import Node
from riverrun.runs.metrics import read_records
from riverrun.schedules import Schedule
from riverrun.train.costs import recorded_plan
from riverrun.train.readouts import readout_names

Floats = NDArray[np.float64]
Steps = NDArray[np.int64]

TRAIN = "train"
_LEAST_IN_A_BIN = 4
_LEAST_BINS = 6
"""Of a stretch with a schedule's formula of its own, such as a short decay."""


@dataclass(frozen=True, eq=False)
class Losses:
    """Losses [n] at positions [n]: of training batches (name "train"), or of a readout ("raw", "ema-25", ...).

    `missing` counts positions whose loss was recorded as no number.
    """

    name: str
    steps: Steps
    losses: Floats
    missing: int = 0

    def between(self, first: float, last: float) -> Losses:
        """Those at positions first .. last."""
        inside = (self.steps >= first) & (self.steps <= last)
        return replace(self, steps=self.steps[inside], losses=self.losses[inside])


def recorded_losses(node: Node) -> list[Losses]:
    """What a node recorded: the training losses first, then every readout; what is no number is left out, counted.

    The loss of the batch of update s was measured before that update, so it stands at position s - 1.
    """
    records = read_records(node.metrics_path)
    train = [(r["step"] - 1, r["loss/train"]) for r in records if "loss/train" in r and r["step"] > 1]
    found = [_losses(TRAIN, train)]
    readouts = node.readouts()
    for name in dict.fromkeys(name for record in readouts for name in readout_names(record)):
        found.append(_losses(name, [(r["step"], r[f"loss/{name}"]) for r in readouts if f"loss/{name}" in r]))
    return [one for one in found if one.steps.size]


def binned_training_losses(node: Node, first: int, last: int, bins: int) -> Losses:
    """The training losses of positions first .. last of a node, as `in_growing_bins` gives them."""
    losses = next((one for one in recorded_losses(node) if one.name == TRAIN), _losses(TRAIN, []))
    return in_growing_bins(losses.between(first, last), recorded_plan(node).schedule, bins)


def in_growing_bins(losses: Losses, schedule: Schedule, bins: int) -> Losses:
    """Training losses in bins that grow in proportion to the position.

    Batches differ far more than neighbouring positions do, so each bin gives the mean of its losses at the mean of its
    positions. No bin reaches over a position where the schedule turns to another formula, and no stretch between two
    of them has fewer than six bins, as far as it has four losses for each.
    """
    if not losses.steps.size:
        return losses
    begin, end = float(losses.steps[0]), float(losses.steps[-1]) + 1
    turns = [float(knot) for knot in schedule.knots() if begin < knot < end]
    edges: list[float] = []
    for start, stop in zip([begin, *turns], [*turns, end], strict=True):
        inside = int(np.count_nonzero((losses.steps >= start) & (losses.steps < stop)))
        share = np.log(stop / start) / np.log(end / begin)
        count = max(1, min(max(round(bins * share), _LEAST_BINS), inside // _LEAST_IN_A_BIN))
        edges += np.geomspace(start, stop, count + 1)[:-1].tolist()
    return in_bins(losses, np.array([*edges, end]))


def in_bins(losses: Losses, edges: Sequence[float] | Floats) -> Losses:
    """Means of the losses in bins [edge, next edge), each at the rounded mean of its positions."""
    bins = np.digitize(losses.steps, edges)
    counts = np.bincount(bins)
    kept = counts > 0
    steps, means = (
        np.bincount(bins, weights=values)[kept] / counts[kept] for values in (losses.steps, losses.losses)
    )
    return replace(losses, steps=np.rint(steps).astype(np.int64), losses=means)


def _losses(name: str, points: Sequence[tuple[int, float | None]]) -> Losses:
    pairs = np.array(points, dtype=float).reshape(-1, 2)
    sound = np.isfinite(pairs[:, 1])
    steps, losses = pairs[sound].T
    return Losses(name, steps.astype(np.int64), losses, int(np.count_nonzero(~sound)))
