"""What no schedule and no averaging can beat."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from riverrun.theory.problem import Regression
from riverrun.theory.spectrum import Floats


def lower_bound(problem: Regression, steps: ArrayLike) -> Floats:
    """The least risk of any estimator from ``steps`` updates' samples: sum_i 1 / (1/s_i + B T / noise).

    s_i = lambda_i w*_i^2 is the source of a mode. This is a lower bound on the risk of the posterior mean under the
    prior w_i ~ N(0, w*_i^2), by Jensen's inequality for the inverse of the features' second moment (derived in
    docs/theory-derivations.md). SGD's risk depends on the squares w*_i^2 alone, so its mean over that prior is its
    risk at w*.

    Args:
        problem: its binned modes are used.
        steps: T, of any shape; real numbers will do.

    Returns:
        float64 of the shape of ``steps``.
    """
    modes = problem.modes
    samples = np.asarray(steps, np.float64)[..., None] * problem.batch
    if not problem.noise:
        return np.zeros(samples.shape[:-1])
    each = modes.source / modes.count
    return (modes.source / (1 + each * samples / problem.noise)).sum(-1)
