"""How much lower one schedule's loss is than another's, and with which probability: both from the same parameters.

Two losses that a fit predicts are uncertain together, far less so their difference: what is not known of the parameters
moves both. So they are compared draw by draw, for the same draws of the parameters.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from riverrun.forecast.curve import Floats
from riverrun.forecast.fitting import Fit
from riverrun.forecast.laws import PowerLaw
from riverrun.forecast.prediction import LEVEL, check_level, drawn_losses
from riverrun.forecast.seen import see

_SAME = 1e-9


@dataclass(frozen=True)
class Gain:
    """By how many nats a loss is lower than another: what is expected, and an interval without measurement scatter.

    Attributes:
        expected: under the fitted parameters; below 0 where the loss is higher.
        low, high: of the interval that leaves out half of 1 - level at either side.
        probability: that the loss is lower; equal losses count half.
        level: of the interval.
    """

    expected: float
    low: float
    high: float
    probability: float
    level: float


def gain(
    fit: Fit, lr: Floats, other: Floats, *, series: str | None = None, level: float = LEVEL, seed: int = 0
) -> Gain:
    """How much lower the loss at the end of one run is than at the end of another.

    Args:
        fit: of a law that sees the learning rate.
        lr: [updates], the learning rates of all its updates.
        other: [updates], those of the other run; its length may differ.
        series: as for `riverrun.forecast.prediction.predict`.
        level: of the interval.
        seed: of the draws.

    Raises:
        ValueError: a law that does not see the learning rate, an unknown series, a level outside (0, 1).
    """
    check_law(fit)
    check_level(level)
    name = fit.series(series)
    expected, drawn = [], []
    for rates in (lr, other):
        seen = see(rates, np.array([rates.size]))
        expected.append(float(fit.law.losses(fit.values[name], seen, fit.scale)[0][0]))
        drawn.append(drawn_losses(fit, seen, name, seed)[:, 0])
    lower = drawn[1] - drawn[0]
    low, high = np.quantile(lower, [(1 - level) / 2, (1 + level) / 2])
    certain = float(np.mean(lower > _SAME) + np.mean(np.abs(lower) <= _SAME) / 2)
    return Gain(expected[1] - expected[0], float(low), float(high), certain, level)


def check_law(fit: Fit) -> None:
    """Refuse the law that predicts the same loss whatever the learning rate."""
    if isinstance(fit.law, PowerLaw):
        raise ValueError(
            f"law: got {fit.law.name!r}, which does not see the learning rate; fit the river, multi-power or momentum "
            "law to compare schedules"
        )
