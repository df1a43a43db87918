"""Curves of many points, averaged in bins: neighbours tell the same, and laws pay for every position."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from riverrun.forecast.curve import Curve

MOST = 300
"""Points that a curve of a file keeps."""
JUMP = 0.1
"""Change of the LR between two updates, as a share of the highest, that no bin reaches over."""


def binned(curve: Curve, most: int = MOST) -> Curve:
    """The curve itself where it has no more points than that; else mean losses in bins, each at its mean position.

    Bins grow in proportion to the position, as far as each has a point, and none reaches over a jump of the LR. A few
    bins more than ``most`` may come of the jumps.
    """
    steps = curve.steps
    if steps.size <= most:
        return curve
    edges = np.geomspace(steps[0], steps[-1] + 1, most + 1)
    lr = curve.lr[: steps[-1]]
    jumps = np.flatnonzero(np.abs(np.diff(lr)) > JUMP * lr.max()) + 1
    # Position s is where update s was the last: a jump at update j + 1 parts positions up to j from those after it.
    place = np.digitize(steps, edges) * (jumps.size + 1) + np.searchsorted(jumps, steps, side="left")
    _, bins = np.unique(place, return_inverse=True)
    counts = np.bincount(bins)
    means = [np.bincount(bins, weights=values) / counts for values in (steps, curve.losses)]
    return replace(curve, steps=np.rint(means[0]).astype(np.int64), losses=means[1])
