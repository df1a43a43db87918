"""Parameters drawn from what a fit leaves open, along the curved valleys that a normal distribution cuts across.

Where data fix a combination of parameters and not each of them, as a constant LR does of L0 and the height B, draws
from the curvature alone leave the data: exp(log B) moves more than L0 makes up for. So every draw is moved to where
the law's losses at the fitted positions are those that the linear law would have given the draw ("randomize then
optimize", Bardsley et al. 2014; one least-squares problem per draw, which begins at its solution but for curvature).
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from riverrun.forecast.curve import Floats
from riverrun.forecast.fitting import OFFSETS, Fit, log_losses
from riverrun.forecast.seen import see_curve

_POSITIONS = 60
"""Of all curves of a series together; as many as tell the shape of a law."""
_STEPS = 12
_NEAR = 0.05  # of twice the log probability


@lru_cache(maxsize=16)
def drawn(fit: Fit, series: str, seed: int, draws: int) -> Floats:
    """Parameters and the offsets of averages that a fit leaves open.

    Args:
        fit: of a law; of one made by hand, without curves, the normal distribution of its covariance.
        series: whose L0 is meant.
        seed: the same gives the same.
        draws: an even number.

    Returns:
        [draws, parameters + offsets], kept for the next call and so not to be written to.
    """
    found = _drawn(fit, series, np.random.default_rng(seed), draws)
    found.flags.writeable = False
    return found


def _drawn(fit: Fit, series: str, random: np.random.Generator, draws: int) -> Floats:
    # Each draw with its mirror image: a median that is the fit's own, but for the curvature.
    half = random.standard_normal((draws // 2, fit.covariance[series].shape[0]))
    size, directions = np.linalg.eigh(fit.covariance[series])
    moves = (np.concatenate([half, -half]) * np.sqrt(np.maximum(size, 0.0))) @ directions.T
    middle = np.concatenate([fit.values[series], list(fit.offsets.values())])
    if not fit.curves:
        return np.asarray(middle + moves)
    data = _Data(fit, series)
    expected, slopes = data.logs(middle)
    # What is known besides this series' curves: priors, and what other series and models tell.
    besides = np.linalg.inv(fit.covariance[series]) - (slopes * data.weights[:, None]).T @ slopes
    size, directions = np.linalg.eigh(besides)
    besides = (directions * np.maximum(size, 1e-6)) @ directions.T
    return np.array([data.moved(middle + move, expected + slopes @ move, besides) for move in moves])


class _Data:
    """The positions of a series' curves, some of them, and how much each counts."""

    def __init__(self, fit: Fit, series: str) -> None:
        self.law, self.scale = fit.law, fit.scale
        self.low = np.array([p.low for p in fit.law.parameters] + [OFFSETS[0]] * len(fit.offsets))
        self.high = np.array([p.high for p in fit.law.parameters] + [OFFSETS[1]] * len(fit.offsets))
        curves = [curve for curve in fit.curves if curve.series == series]
        points = sum(curve.steps.size for curve in curves)
        names = list(fit.offsets)
        self.seen = []
        weights = []
        for curve in curves:
            count = max(4, round(_POSITIONS * curve.steps.size / points))
            part = curve.thinned(count)
            place = len(self.law.parameters) + names.index(curve.profile.name) if curve.profile else None
            self.seen.append((see_curve(part), place))
            weights.append(
                np.full(
                    part.steps.size,
                    curve.steps.size / part.steps.size / fit.noise[curve.kind].effective ** 2,
                )
            )
        self.weights = np.concatenate(weights)

    def logs(self, values: Floats) -> tuple[Floats, Floats]:
        """Log losses [positions], and their derivatives [positions, parameters + offsets]."""
        places = np.arange(len(self.law.parameters))
        found = [log_losses(self.law, self.scale, seen, values, places, offset) for seen, offset in self.seen]
        logs, slopes = zip(*found, strict=True)
        return np.concatenate(logs), np.concatenate(slopes)

    def moved(self, goal: Floats, aim: Floats, besides: Floats) -> Floats:
        """The parameters near ``goal`` that give the log losses ``aim`` (Levenberg and Marquardt's steps)."""

        def cost(values: Floats, logs: Floats) -> float:
            away = values - goal
            return float(self.weights @ (logs - aim) ** 2 + away @ besides @ away)

        values = np.clip(goal, self.low, self.high)
        logs, slopes = self.logs(values)
        now, damping = cost(values, logs), 1e-3
        for _ in range(_STEPS):
            if now < _NEAR:
                break
            weighed = slopes * self.weights[:, None]
            curvature = weighed.T @ slopes + besides
            slope = weighed.T @ (logs - aim) + besides @ (values - goal)
            step = np.linalg.solve(curvature + damping * np.diag(np.diag(curvature)), slope)
            tried = np.clip(values - step, self.low, self.high)
            tried_logs, tried_slopes = self.logs(tried)
            then = cost(tried, tried_logs)
            if then >= now:
                damping *= 8
                continue
            gain, values, logs, slopes, now = now - then, tried, tried_logs, tried_slopes, then
            damping /= 5
            if gain < _NEAR * (1 + now) / 2:
                break
        return values
