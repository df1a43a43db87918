"""What a fitted law says of a schedule's losses, with intervals.

An interval holds what is not known of the parameters (`riverrun.forecast.draws`) and the scatter of a single
measurement, of the size of the fit's residuals and of a law's usual misfit. It holds if the law does;
`riverrun.forecast.backtest` shows on a run's own past how far to trust it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from riverrun.forecast.curve import Floats, Steps
from riverrun.forecast.draws import drawn
from riverrun.forecast.equivalence import equivalence
from riverrun.forecast.fitting import SMALLEST_LOSS, Fit
from riverrun.forecast.noise import MISFIT
from riverrun.forecast.seen import Seen, see_readout

if TYPE_CHECKING:
    from riverrun.averaging import Profile

LEVEL = 0.9
_DRAWS = 400


@dataclass(frozen=True, eq=False)
class Prediction:
    """Losses in nats at positions: [n] arrays. An interval leaves out half of 1 - level at either side."""

    steps: Steps
    expected: Floats
    low: Floats
    high: Floats
    level: float

    @property
    def half_width(self) -> Floats:
        """[n], half of the intervals' widths."""
        return (self.high - self.low) / 2


def predict(
    fit: Fit,
    lr: Floats,
    steps: ArrayLike,
    *,
    profile: Profile | None = None,
    series: str | None = None,
    level: float = LEVEL,
    seed: int = 0,
) -> Prediction:
    """The losses of a run with the LR ``lr[s - 1]`` in update s, whatever its schedule.

    Args:
        fit: of a law, to curves of the same model.
        lr: [updates], in the unit of the fitted curves.
        steps: [n], increasing positions within them.
        profile: of an average of the weights, through the decay that it amounts to; None for the weights themselves.
        series: "held-out" or "train", which the fit must have seen; held-out where it has.
        level: the probability that a measurement lies within its interval.
        seed: of the draws that intervals are made from.

    Raises:
        ValueError: positions that do not increase or lie beyond the LR, an LR that is 0 up to the first of them, a
            level outside (0, 1), an unknown series.
    """
    lr, steps = np.asarray(lr, float), np.asarray(steps)
    listed = steps.ndim == 1 and steps.size > 0 and np.array_equal(steps, np.rint(steps))
    if not listed or steps[0] < 1 or (np.diff(steps) <= 0).any() or steps[-1] > lr.size:
        raise ValueError(
            f"steps: must increase, from 1 to {lr.size:,}, the updates whose learning rate is given; a list of whole "
            "numbers"
        )
    seen = see_readout(lr, steps.astype(np.int64), profile)
    return predict_seen(fit, seen, profile=profile, series=series, level=level, seed=seed)


def predict_seen(
    fit: Fit,
    seen: Seen,
    *,
    profile: Profile | None = None,
    series: str | None = None,
    level: float = LEVEL,
    seed: int = 0,
) -> Prediction:
    """As `predict`, for an LR as laws see it."""
    check_level(level)
    name = fit.series(series)
    last = int(seen.steps[-1])
    expected = fit.law.losses(fit.values[name], seen, fit.scale)[0] * np.exp(fit.offset(profile, last))
    logs = np.log(np.maximum(drawn_losses(fit, seen, name, seed), SMALLEST_LOSS))
    if profile is not None:
        logs += drawn_offsets(fit, name, profile, last, seed)[:, None]
    random = np.random.default_rng(seed + 1)
    logs += random.standard_normal((logs.shape[0], 1)) * scatter_of(fit, name, profile is not None)
    low, high = (np.exp(np.quantile(logs, share, axis=0)) for share in ((1 - level) / 2, (1 + level) / 2))
    return Prediction(seen.steps, expected, low, high, level)


def drawn_losses(fit: Fit, seen: Seen, series: str, seed: int = 0, draws: int = _DRAWS) -> Floats:
    """[draws, n], expected losses for parameters drawn from what the fit leaves open."""
    return np.array(
        [fit.law.losses(values, seen, fit.scale)[0] for values in drawn_values(fit, series, seed, draws)]
    )


def drawn_values(fit: Fit, series: str, seed: int = 0, draws: int = _DRAWS) -> Floats:
    """[draws, parameters], within their ranges."""
    count = len(fit.law.parameters)
    ranges = np.array([(parameter.low, parameter.high) for parameter in fit.law.parameters])
    return np.clip(drawn(fit, series, seed, draws)[:, :count], ranges[:, 0], ranges[:, 1])


def drawn_offsets(
    fit: Fit, series: str, profile: Profile, step: int, seed: int = 0, draws: int = _DRAWS
) -> Floats:
    """[draws], the log of what an average's loss is over that of its decay, drawn together with `drawn_values`.

    Of an average that the fit has not seen its prior at the position `step` is drawn from.
    """
    if profile.name not in fit.offsets:
        prior = equivalence(profile, step)
        return prior.mean + prior.sd * np.random.default_rng(seed + 2).standard_normal(draws)
    place = len(fit.law.parameters) + list(fit.offsets).index(profile.name)
    return drawn(fit, series, seed, draws)[:, place]


def check_level(level: float) -> None:
    """Raise `ValueError` unless a level is a probability that an interval can have."""
    if not 0 < level < 1:
        raise ValueError(f"level: got {level:g}; must be more than 0 and less than 1")


def scatter_of(fit: Fit, series: str, averaged: bool) -> float:
    """The standard deviation of a measurement around the law, relative to the loss; of the likest kind measured.

    That no law comes closer than `MISFIT` is a part of it.
    """
    noise = fit.noise.get((series, averaged))
    if noise is None:
        same = [one for (_, of_average), one in fit.noise.items() if of_average == averaged]
        noise = min(same or fit.noise.values(), key=lambda one: one.size)
    return float(np.hypot(noise.size, MISFIT))
