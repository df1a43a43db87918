"""SGD itself, simulated many times over: what the recursions are held against."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from riverrun.averaging.profiles import Profile
from riverrun.schedules import Schedule
from riverrun.theory.problem import Regression
from riverrun.theory.risk import LAST
from riverrun.theory.spectrum import Floats


def simulate(
    problem: Regression,
    schedule: Schedule,
    lr: float,
    steps: int,
    averages: Sequence[Profile] = (),
    *,
    runs: int,
    seed: int,
) -> dict[str, Floats]:
    """The excess risk of each run's last iterate and averages after ``steps`` updates, name -> [runs].

    All runs at once, each on samples of its own; the risk of given weights is exact. Weights of averages are those
    of `Profile.weights`, taken over the whole run at once. Memory: runs x batch x dimension numbers.
    """
    random = np.random.default_rng(seed)
    modes = problem.spectrum.single()
    deviation = np.sqrt(modes.rate)
    error = np.tile(-np.sqrt(modes.source / modes.rate), (runs, 1))  # w - w* in the eigenbasis, w = 0
    weights = {profile.name: profile.weights(steps) for profile in averages}
    sums = {name: np.zeros_like(error) for name in weights}
    rates = lr * schedule(np.arange(1, steps + 1))
    for step, rate in enumerate(rates):
        features = random.standard_normal((runs, problem.batch, modes.rate.size)) * deviation
        noise = np.sqrt(problem.noise) * random.standard_normal((runs, problem.batch))
        residual = np.einsum("rbi,ri->rb", features, error) - noise
        error -= rate / problem.batch * np.einsum("rbi,rb->ri", features, residual)
        for name, weight in weights.items():
            if weight[step]:
                sums[name] += weight[step] * error
    return {name: (value**2 @ modes.rate) for name, value in {LAST: error, **sums}.items()}
