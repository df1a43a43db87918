"""How well predicted losses agree with measured ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np

from riverrun.forecast.curve import Curve, Floats
from riverrun.forecast.fitting import Fit
from riverrun.forecast.prediction import Prediction, predict_seen
from riverrun.forecast.seen import see_curve


@dataclass(frozen=True, kw_only=True)
class Score:
    """Predicted against measured losses.

    Attributes:
        points: how many measurements.
        r2: 1 - (squared errors) / (squared deviations from the measurements' mean); NaN where these do not vary.
        mae, rmse: mean absolute error, and the root of the mean squared one, in nats.
        mean, worst: of the absolute errors relative to the measured loss.
        last: the relative error at the last position, above 0 where too high a loss was predicted.
        inside: the share of measurements within their intervals.
    """

    points: int
    r2: float
    mae: float
    rmse: float
    mean: float
    worst: float
    last: float
    inside: float


def score(curves: Sequence[Curve], predictions: Sequence[Prediction]) -> Score:
    """All points of some curves at once; each prediction is at the positions of its curve."""

    def joined(parts: Sequence[Floats]) -> Floats:
        return np.concatenate(parts)

    losses = joined([curve.losses for curve in curves])
    expected = joined([prediction.expected for prediction in predictions])
    low, high = (joined([getattr(p, edge) for p in predictions]) for edge in ("low", "high"))
    steps = np.concatenate([curve.steps for curve in curves])
    errors, relative = expected - losses, expected / losses - 1
    spread = float(np.sum((losses - losses.mean()) ** 2))
    return Score(
        points=losses.size,
        r2=1 - float(np.sum(errors**2)) / spread if spread else float("nan"),
        mae=float(np.abs(errors).mean()),
        rmse=float(np.sqrt(np.mean(errors**2))),
        mean=float(np.abs(relative).mean()),
        worst=float(np.abs(relative).max()),
        last=float(relative[np.argmax(steps)]),
        inside=float(((low <= losses) & (losses <= high)).mean()),
    )


def score_fit(fit: Fit, curves: Sequence[Curve]) -> Score:
    """What a fit predicts of some curves, against what was measured of them."""
    return score(curves, [prediction_of(fit, curve) for curve in curves])


def prediction_of(fit: Fit, curve: Curve) -> Prediction:
    """The losses of a curve, from its LR and what the fit knows of other curves."""
    return predict_seen(fit, see_curve(curve), averaged=curve.profile is not None, series=curve.series)


def mean_score(scores: Sequence[Score]) -> Score:
    """The mean over curves, each counting the same; points are summed."""
    means = {
        field.name: float(np.mean([getattr(one, field.name) for one in scores])) for field in fields(Score)
    }
    return Score(**(means | {"points": sum(one.points for one in scores)}))  # type: ignore[arg-type]
