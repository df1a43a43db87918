"""Which source and capacity a loss curve implies, if the run were linear regression.

With t updates, their learning rates summing to tau and the last one eta, the laws of `riverrun.theory.rates` read

    raw weights   loss = floor + C tau^-p + V eta (1 - w tau^-(1 - 1/a)),
    an average    loss = floor + C r tau^-p + D tau^(1/a) / t,        p = (b - 1) / a,

and are fitted together: p, a, C, V, w, D for all curves, a floor for each kind of text, a factor r for each average.
The noise of raw weights grows to V eta with the modes that are learned, whose part of the trace is short of all by
tau^-(1 - 1/a). Raw weights alone hardly tell a: without an average `capacity` is None.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from riverrun.theory.rates import best_gamma
from riverrun.theory.spectrum import Floats

LEAST_POINTS = 8
"""Of all curves together, to fit seven numbers and more."""

_CAPACITY = (1.02, 6.0)
_SLOPE = (0.02, 3.0)
_RESAMPLES = 200


@dataclass(frozen=True)
class Curve:
    """Losses at positions of one run.

    Attributes:
        name: of the readout, for messages.
        steps: [n], increasing.
        summed: sum of the learning rates up to each, [n].
        lr: of the last update, [n].
        losses: [n].
        text: what they were measured on; curves of the same text share a floor.
        averaged: whether they are an average's.
    """

    name: str
    steps: Floats
    summed: Floats
    lr: Floats
    losses: Floats
    text: str
    averaged: bool


@dataclass(frozen=True)
class Estimate:
    """A number with the middle 90% of its bootstrap."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Fitted:
    """What the curves imply.

    Attributes:
        bias_exponent: p = (b - 1) / a.
        capacity: a; None where no average was given.
        source: b = 1 + a p; None likewise.
        gamma: `best_gamma` of them; None likewise.
        floors: text -> the loss that it tends to.
        error: root mean square of the residuals, in nats.
        points: how many losses stand behind it.
        at_edge: estimates that lie at the edge of what was allowed, so that the curves do not tell them.
    """

    bias_exponent: Estimate
    capacity: Estimate | None
    source: Estimate | None
    gamma: Estimate | None
    floors: dict[str, float]
    error: float
    points: int
    at_edge: tuple[str, ...]


def fit_exponents(curves: Sequence[Curve], *, seed: int = 0, resamples: int = _RESAMPLES) -> Fitted:
    """Fit the laws to curves by least squares with a Huber loss; intervals by a bootstrap of the residuals.

    Residuals are resampled in blocks of neighbouring positions, for neighbours err alike. The intervals tell how well
    the curves fix the numbers *if the laws hold*; they do not tell whether these do.

    Raises:
        ValueError: fewer than `LEAST_POINTS` losses, losses that are no numbers, or a run too short to bend.
    """
    points = sum(len(curve.losses) for curve in curves)
    if points < LEAST_POINTS:
        raise ValueError(f"losses: got {points}; at least {LEAST_POINTS} are needed to fit exponents")
    if not all(np.isfinite(curve.losses).all() and (curve.summed > 0).all() for curve in curves):
        raise ValueError("losses: some are not finite, or lie before the first update")
    span = max(curve.summed[-1] for curve in curves) / min(curve.summed[0] for curve in curves)
    if span < 4:
        raise ValueError(f"losses: they span a factor of {span:.2g} in summed LR; at least 4 is needed")
    model = _Model(curves)
    best = model.fit(model.losses, _starts())
    predicted = model.predict(best)
    random = np.random.default_rng(seed)
    drawn = np.array(
        [
            model.fit(predicted + model.resampled(model.losses - predicted, random), [best])
            for _ in range(resamples)
        ]
    )
    knows = any(curve.averaged for curve in curves)
    slopes, capacities = np.append(best[0], drawn[:, 0]), np.append(best[1], drawn[:, 1])
    sources = 1 + slopes * capacities
    gammas = np.array([best_gamma(a, b) for a, b in zip(capacities, sources, strict=True)])
    edges = {"p": (best[0], _SLOPE)} | ({"a": (best[1], _CAPACITY)} if knows else {})
    return Fitted(
        _estimate(slopes),
        _estimate(capacities) if knows else None,
        _estimate(sources) if knows else None,
        _estimate(gammas) if knows else None,
        {text: float(best[model.floor_at + n]) for n, text in enumerate(model.texts)},
        float(np.sqrt(np.mean((model.losses - predicted) ** 2))),
        points,
        tuple(
            name
            for name, (value, (low, high)) in edges.items()
            if min(value - low, high - value) < 0.01 * (high - low)
        ),
    )


def _estimate(values: Floats) -> Estimate:
    low, high = np.quantile(values[1:], [0.05, 0.95]) if len(values) > 1 else (np.nan, np.nan)
    return Estimate(float(values[0]), float(low), float(high))


def _starts() -> list[Floats]:
    return [np.array([slope, capacity]) for slope in (0.1, 0.25, 0.5, 1.0) for capacity in (1.2, 1.6, 2.4)]


class _Model:
    """The laws over all points; parameters p, a, then those that losses are linear in, all at least 0."""

    def __init__(self, curves: Sequence[Curve]) -> None:
        self.curves = curves
        self.texts = list(dict.fromkeys(curve.text for curve in curves))
        self.losses = np.concatenate([curve.losses for curve in curves])
        self.floor_at = 6 + sum(curve.averaged for curve in curves)
        # Scaled by their middle, so that all coefficients are of the size of losses.
        self.summed = float(np.exp(np.mean(np.log(np.concatenate([curve.summed for curve in curves])))))
        self.lr = max(float(curve.lr.max()) for curve in curves)
        self.step = float(np.exp(np.mean(np.log(np.concatenate([curve.steps for curve in curves])))))

    def columns(self, slope: float, capacity: float) -> Floats:
        """What losses are a sum of: [points, coefficients], the noise of raw weights first, floors last."""
        averages = sum(curve.averaged for curve in self.curves)
        blocks, number = [], 0
        for curve in self.curves:
            block = np.zeros((len(curve.losses), self.floor_at - 2 + len(self.texts)))
            tau = curve.summed / self.summed
            if curve.averaged:
                number += 1
                block[:, 2] = tau ** (1 / capacity) / (curve.steps / self.step)
                block[:, 2 + number] = tau**-slope
            else:
                block[:, 0] = curve.lr / self.lr
                block[:, 1] = -block[:, 0] * tau ** (1 / capacity - 1)
                block[:, 3 + averages] = tau**-slope
            block[:, self.floor_at - 2 + self.texts.index(curve.text)] = 1
            blocks.append(block)
        return np.concatenate(blocks)

    def fit(self, losses: Floats, starts: Sequence[Floats]) -> Floats:
        """p, a, and the coefficients, of the best of several starts."""
        from scipy.optimize import least_squares, nnls

        def solved(exponents: Floats) -> tuple[Floats, Floats]:
            columns = self.columns(*exponents)
            return columns, nnls(columns, losses)[0]

        def residuals(exponents: Floats) -> Floats:
            columns, coefficients = solved(exponents)
            return np.asarray(columns @ coefficients - losses)

        bounds = tuple(zip(_SLOPE, _CAPACITY, strict=True))
        scale = max(1e-6, float(np.median(np.abs(residuals(starts[0][:2])))))
        found = [
            least_squares(
                residuals,
                start[:2],
                bounds=bounds,
                loss="huber",
                f_scale=scale,
                x_scale=[0.1, 0.5],
                diff_step=1e-3,
            )
            for start in starts
        ]
        best = min(found, key=lambda one: one.cost).x
        return np.concatenate([best, solved(best)[1]])

    def predict(self, parameters: Floats) -> Floats:
        """The losses of every point."""
        return np.asarray(self.columns(parameters[0], parameters[1]) @ parameters[2:])

    def resampled(self, residuals: Floats, random: np.random.Generator) -> Floats:
        """Residuals drawn with replacement within each curve, in blocks of about the square root of their number."""
        drawn, first = [], 0
        for curve in self.curves:
            count = len(curve.losses)
            own = residuals[first : first + count]
            size = max(1, round(count**0.5))
            begins = random.integers(0, count, -(-count // size))
            # Blocks wrap around, so that every point is drawn equally often.
            drawn.append(own[(begins[:, None] + np.arange(size)) % count].ravel()[:count])
            first += count
        return np.concatenate(drawn)
