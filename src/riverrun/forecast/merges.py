"""Merges of checkpoints as decays: the LR that a merge amounts to."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from riverrun.forecast.curve import Floats


def rates_of_merge(lr: Floats, positions: Sequence[int], weights: Sequence[float] | None = None) -> Floats:
    """The LR of a run whose last iterate is, to first order, a merge of a run's checkpoints.

    The merge is the first checkpoint plus a part of each later update: of update s the weight of the checkpoints from
    s on (see `riverrun.averaging.Profile.implied_decay`, which this is for weights at single positions).

    Args:
        lr: [updates], the run's, up to the last checkpoint at least.
        positions: of the checkpoints, increasing.
        weights: of them, none below 0; only their ratios count; equal if not given.

    Returns:
        [last position], to be given to `riverrun.forecast.predict` without a profile.

    Raises:
        ValueError: positions that do not increase or lie beyond the LR, or weights that do not fit them.
    """
    at = np.asarray(positions)
    shares = np.ones(at.size) if weights is None else np.asarray(weights, float)
    if not at.size or at[0] < 1 or (np.diff(at) <= 0).any() or at[-1] > lr.size:
        raise ValueError(f"positions: got {at.tolist()}; must increase, from 1 to {lr.size:,}")
    if shares.shape != at.shape or (shares < 0).any() or not shares.sum() > 0:
        raise ValueError(
            f"weights: got {shares.tolist()}; must be {at.size} numbers of at least 0, not all of them 0"
        )
    left = np.append(np.cumsum(shares[::-1])[::-1] / shares.sum(), 0.0)
    updates = np.arange(1, int(at[-1]) + 1)
    return np.asarray(lr[: at[-1]] * left[np.searchsorted(at, updates)])
