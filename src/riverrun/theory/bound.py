"""What no schedule and no averaging can beat."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from riverrun.theory.problem import Regression
from riverrun.theory.spectrum import Eigenvalues, Floats


def lower_bound(problem: Regression, steps: ArrayLike) -> Floats:
    """The least risk of any estimator from ``steps`` updates' samples: sum_i 1 / (1/s_i + B T / noise).

    s_i = lambda_i w*_i^2 is the source of a mode. This is a lower bound on the risk of the posterior mean under the
    prior w_i ~ N(0, w*_i^2), by Jensen's inequality for the inverse of the features' second moment (derived in
    docs/theory-derivations.md). SGD's risk depends on the squares w*_i^2 alone, so its mean over that prior is its
    risk at w*.

    Args:
        problem: eigenvalues of one's own are taken one by one; a power law in bins, which is less than 1e-3 too high.
        steps: T >= 0, of any shape; real numbers will do.

    Returns:
        float64 of the shape of ``steps``.

    Raises:
        ValueError: a negative T.
    """
    if np.any(np.asarray(steps) < 0):
        raise ValueError(f"steps: got {np.min(steps)}; must be at least 0")
    own = isinstance(problem.spectrum, Eigenvalues)
    modes = problem.spectrum.single() if own else problem.modes
    samples = np.asarray(steps, np.float64)[..., None] * problem.batch
    if not problem.noise:
        return np.zeros(samples.shape[:-1])
    each = modes.source / modes.count
    return (modes.source / (1 + each * samples / problem.noise)).sum(-1)
