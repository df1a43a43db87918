"""How well predicted losses agree with measured ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from riverrun.forecast.curve import Curve, Floats
from riverrun.forecast.fitting import Fit
from riverrun.forecast.prediction import Prediction, predict_seen
from riverrun.forecast.seen import see_curve

MOST_INTERVALS = 32
"""An interval takes hundreds of draws; a curve may have thousands of points."""


@dataclass(frozen=True, kw_only=True)
class Score:
    """Predicted against measured losses.

    Attributes:
        points: how many measurements.
        r2: 1 - (squared errors) / (squared deviations from the measurements' mean); NaN where these do not vary.
        mae, rmse: mean absolute error, and the root of the mean squared one, in nats.
        mean, worst: of the absolute errors relative to the measured loss.
        last: the relative error at the last position, above 0 where too high a loss was predicted.
        inside: the share of measurements within their 90% intervals, of `MOST_INTERVALS` per curve at most, evenly
            chosen.
    """

    points: int
    r2: float
    mae: float
    rmse: float
    mean: float
    worst: float
    last: float
    inside: float


def score(curves: Sequence[Curve], expected: Sequence[Floats], inside: float) -> Score:
    """All points of some curves at once; expected losses are at the positions of their curve."""
    losses = np.concatenate([curve.losses for curve in curves])
    steps = np.concatenate([curve.steps for curve in curves])
    errors = np.concatenate(list(expected)) - losses
    relative = errors / losses
    spread = float(np.sum((losses - losses.mean()) ** 2))
    return Score(
        points=losses.size,
        r2=1 - float(np.sum(errors**2)) / spread if spread else float("nan"),
        mae=float(np.abs(errors).mean()),
        rmse=float(np.sqrt(np.mean(errors**2))),
        mean=float(np.abs(relative).mean()),
        worst=float(np.abs(relative).max()),
        last=float(relative[np.argmax(steps)]),
        inside=inside,
    )


def score_fit(fit: Fit, curves: Sequence[Curve]) -> Score:
    """What a fit predicts of some curves, from their LR alone, against what was measured of them."""
    within = np.concatenate([_within(fit, curve) for curve in curves])
    return score(curves, [expected_of(fit, curve) for curve in curves], float(within.mean()))


def expected_of(fit: Fit, curve: Curve) -> Floats:
    """[n], the losses that a fit expects at the positions of a curve."""
    losses = fit.law.losses(fit.values[curve.series], see_curve(curve), fit.scale)[0]
    return losses * np.exp(fit.offset(curve.profile, int(curve.steps[-1])))


def prediction_of(fit: Fit, curve: Curve) -> Prediction:
    """The losses of a curve with their intervals, from its LR and what the fit knows of other curves."""
    return predict_seen(fit, see_curve(curve), profile=curve.profile, series=curve.series)


def _within(fit: Fit, curve: Curve) -> NDArray[np.bool_]:
    """Whether measurements lie within their intervals, for `MOST_INTERVALS` of them at most."""
    part = curve.thinned(MOST_INTERVALS)
    found = prediction_of(fit, part)
    return (found.low <= part.losses) & (part.losses <= found.high)


def mean_score(scores: Sequence[Score]) -> Score:
    """The mean over curves, each counting the same; points are summed."""
    means = {
        field.name: float(np.mean([getattr(one, field.name) for one in scores])) for field in fields(Score)
    }
    return Score(**(means | {"points": sum(one.points for one in scores)}))  # type: ignore[arg-type]
