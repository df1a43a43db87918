"""Fitting a law to curves: least squares on log losses with a Huber loss and priors, from many starts.

Residuals are log(predicted / observed). Those above the Huber threshold count linearly, so that single bad points do
not pull. Each series of losses ("train", "held-out") has a lowest loss of its own, all else is common. How much the
data count against the priors follows from the residuals: neighbouring points that err alike count as one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from riverrun.forecast.curve import Curve, Floats, Kind
from riverrun.forecast.equivalence import equivalence
from riverrun.forecast.laws import FLOOR, Law, Parameter, Prior, RiverLaw, Scale, scale_of
from riverrun.forecast.noise import (
    FIRST_GUESS,
    FIRST_GUESS_OF_AVERAGES,
    MISFIT,
    MISFIT_OF_AVERAGES,
    Noise,
    noise_of,
)
from riverrun.forecast.seen import Seen, see, see_curve

if TYPE_CHECKING:
    from riverrun.averaging import Profile  # it brings torch along

LEAST_POINTS = 8
HUBER = 1e-3
"""The threshold on log residuals, as published; more where the noise is larger."""
_HUBER_NOISES = 1.345
_COARSE = 40
_ROUNDS = 4
"""Fits, each with the noise that the one before found; the first is to `_COARSE` points a curve, from all starts."""
SMALLEST_LOSS = 1e-3
"""Nats: a law may have lower losses for some parameters, whose logarithms are no help."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Fit:
    """A law fitted to the curves of one model.

    Attributes:
        law, scale: what the values mean.
        values: {series: parameters}; they differ in L0 alone.
        noise: {(series, of averages or not): the residuals}.
        covariance: {series: [parameters + offsets, parameters + offsets]} (Laplace approximation).
        known: parameter -> the share of its prior's variance that the data took away, 0 to 1; 1 without a prior.
        at_edge: parameters that ended at the edge of their range.
        curves: what it was fitted to.
        offsets: {name of an average: log of its loss over that of the decay that it amounts to}. That the two are equal
            is true to first order only; how far it is off is fitted along (`riverrun.forecast.equivalence`).
    """

    law: Law
    scale: Scale
    values: Mapping[str, Floats]
    noise: Mapping[Kind, Noise]
    covariance: Mapping[str, Floats]
    known: Mapping[str, float]
    at_edge: tuple[str, ...]
    curves: tuple[Curve, ...]
    offsets: Mapping[str, float] = field(default_factory=dict)

    @property
    def points(self) -> int:
        """How many losses stand behind it."""
        return sum(curve.steps.size for curve in self.curves)

    def losses(self, lr: Floats, steps: NDArray[Any], series: str | None = None) -> Floats:
        """The expected losses [n] at increasing positions of a run with the LR ``lr[s - 1]`` in update s."""
        return self.law.losses(self.values[self.series(series)], see(lr, np.asarray(steps)), self.scale)[0]

    def offset(self, profile: Profile | None, step: int) -> float:
        """Log of what an average's loss at a position is over that of its decay; 0 for the weights themselves."""
        if profile is None:
            return 0.0
        measured = self.offsets.get(profile.name)
        return equivalence(profile, step).mean if measured is None else measured

    def series(self, name: str | None = None) -> str:
        """The series itself; without a name "held-out" where there is one, else the first."""
        if name is None:
            return "held-out" if "held-out" in self.values else next(iter(self.values))
        if name not in self.values:
            raise ValueError(f"series: got {name!r}; there is {', '.join(self.values)}")
        return name


def fit(curves: Sequence[Curve], law: Law | None = None) -> Fit:
    """Fit a law, the river law by default, to the curves of one model.

    Raises:
        ValueError: too few points for the law.
    """
    return fit_jointly({"": curves}, law, shared=())[""]


def fit_jointly(
    models: Mapping[str, Sequence[Curve]], law: Law | None = None, shared: Sequence[str] = ("log alpha",)
) -> dict[str, Fit]:
    """Fit a law to the curves of several models at once, with some parameters in common.

    Args:
        models: name -> curves, as `fit` takes them.
        law: the river law by default.
        shared: names of parameters that all models have in common: exponents.

    Returns:
        {model: its fit}; shared parameters are the same in all.

    Raises:
        ValueError: too few points for the law, or a shared parameter that it has not.
    """
    law = law or RiverLaw()
    for name in shared:
        if name not in law.names[1:]:
            raise ValueError(f"shared: got {name!r}; the {law.name} law has {', '.join(law.names[1:])}")
    for curves in models.values():
        check_curves(curves, law)
    problem = _Problem(models, law, tuple(shared))
    # Which start is best, a part of the points tells; from there all of them go on.
    coarse = _Problem(
        {name: [one.thinned(_COARSE) for one in curves] for name, curves in models.items()},
        law,
        tuple(shared),
    )
    noises = {key: FIRST_GUESS_OF_AVERAGES if key[1][1] else FIRST_GUESS for key in problem.kinds}
    best = min((coarse.solve(start, noises) for start in coarse.starts()), key=lambda found: found[1])[0]
    for _ in range(_ROUNDS - 1):
        noises = problem.noises(best)
        best = problem.solve(best, noises)[0]
    return problem.fits(best, problem.noises(best))


def check_curves(curves: Sequence[Curve], law: Law) -> None:
    """Raise `ValueError` if there are too few points to fit a law."""
    points = sum(curve.steps.size for curve in curves)
    if points < LEAST_POINTS:
        raise ValueError(
            f"losses: got {points}; at least {LEAST_POINTS} are needed to fit the {law.name} law. Train longer, or log "
            "more often"
        )
    last, first = max(curve.steps[-1] for curve in curves), min(curve.steps[0] for curve in curves)
    if last < 2 * first:
        raise ValueError(
            f"losses: they lie between steps {first:,} and {last:,}; a law needs a curve that grows at least twofold"
        )


_Key = tuple[str, Kind]
OFFSETS = (-0.2, 0.3)
"""The range of the offsets of averages."""


@dataclass(frozen=True, eq=False)
class _Observed:
    """A curve as residuals need it: its model and kind, what laws need, its log losses, the place of its offset."""

    key: _Key
    seen: Seen
    logs: Floats
    offset: int | None


def log_losses(
    law: Law, scale: Scale, seen: Seen, values: Floats, places: NDArray[np.intp], offset: int | None
) -> tuple[Floats, Floats]:
    """Log losses [n] of a curve, and their derivatives [n, values].

    Args:
        law, scale, seen: see `Law.losses`.
        values: more than the law's parameters.
        places: those of the law's parameters in them.
        offset: that of the average's offset; None for the weights.
    """
    losses, jacobian = law.losses(values[places], seen, scale)
    losses = np.maximum(losses, SMALLEST_LOSS)
    slopes = np.zeros((losses.size, values.size))
    slopes[:, places] = jacobian / losses[:, None]
    above = 0.0
    if offset is not None:
        above, slopes[:, offset] = values[offset], 1.0
    return np.log(losses) + above, slopes


class _Problem:
    """Residuals and derivatives of all curves over one vector: each model's L0s, then its other parameters."""

    def __init__(self, models: Mapping[str, Sequence[Curve]], law: Law, shared: tuple[str, ...]) -> None:
        self.law = law
        self.models = {name: list(curves) for name, curves in models.items()}
        self.scales = {name: scale_of(curves) for name, curves in self.models.items()}
        self.parameters: list[Parameter] = []
        self.places: dict[tuple[str, str], NDArray[np.intp]] = {}
        common = {name: self._add(self._parameter(name, None)) for name in shared}
        for model, curves in self.models.items():
            rest = [
                common[p.name] if p.name in common else self._add(self._parameter(p.name, model))
                for p in law.parameters[1:]
            ]
            for series in dict.fromkeys(curve.series for curve in curves):
                self.places[model, series] = np.array([self._add(FLOOR), *rest])
        self.offsets = {
            (model, name): self._add(
                Parameter(name=name, low=OFFSETS[0], high=OFFSETS[1], starts=(), prior=prior)
            )
            for model, curves in self.models.items()
            for name, prior in {
                curve.profile.name: equivalence(curve.profile, int(curve.steps[-1]))
                for curve in curves
                if curve.profile
            }.items()
        }
        self.curves = [
            _Observed(
                (model, curve.kind),
                see_curve(curve),
                np.log(curve.losses),
                self.offsets[model, curve.profile.name] if curve.profile else None,
            )
            for model, curves in self.models.items()
            for curve in curves
        ]
        self.kinds = list(dict.fromkeys(curve.key for curve in self.curves))
        self.low = np.array([p.low for p in self.parameters])
        self.high = np.array([p.high for p in self.parameters])
        self.priors = [(n, p.prior) for n, p in enumerate(self.parameters) if p.prior is not None]

    def _add(self, parameter: Parameter) -> int:
        self.parameters.append(parameter)
        return len(self.parameters) - 1

    def _parameter(self, name: str, model: str | None) -> Parameter:
        """A law's parameter, with the prior of the height, which is relative to the model's loss."""
        found = next(p for p in self.law.parameters if p.name == name)
        if name != "log B" or model is None:
            return found
        return height_prior(found, self.scales[model].loss)

    def starts(self) -> list[Floats]:
        """The law's starts, the first of all parameters and then the second, each with L0 far and a little below."""
        starts = []
        tried = [p.starts for p in self.law.parameters[2:]]
        for below in (0.7, 0.95):
            for number in range(max(map(len, tried))):
                start = np.zeros(len(self.parameters))
                for (model, series), places in self.places.items():
                    losses = np.concatenate([c.losses for c in self.models[model] if c.series == series])
                    start[places[0]] = below * losses.min()
                    start[places[1]] = np.log((1 - below) * losses.min())
                    start[places[2:]] = [values[number % len(values)] for values in tried]
                starts.append(start)
        return starts

    def residuals(self, values: Floats) -> tuple[list[Floats], list[Floats]]:
        """Per curve log(predicted / observed) [n] and its derivatives [n, all parameters]."""
        residuals, slopes = [], []
        for curve in self.curves:
            model, (series, _) = curve.key
            places = self.places[model, series]
            logs, slope = log_losses(self.law, self.scales[model], curve.seen, values, places, curve.offset)
            residuals.append(logs - curve.logs)
            slopes.append(slope)
        return residuals, slopes

    def solve(self, start: Floats, noises: Mapping[_Key, Noise]) -> tuple[Floats, float]:
        """The best parameters from a start, and half the sum that they bring down."""
        from scipy.optimize import least_squares

        each = [noises[curve.key] for curve in self.curves for _ in curve.logs]
        weights = np.array([1 / noise.effective for noise in each])
        limits = np.array([_threshold(noise) for noise in each]) * weights
        limits = np.append(limits, np.full(len(self.priors), np.inf))
        at = np.array([n for n, _ in self.priors], dtype=int)
        mean, sd = (np.array([getattr(prior, what) for _, prior in self.priors]) for what in ("mean", "sd"))

        def evaluate(values: Floats) -> tuple[Floats, Floats]:
            residuals, slopes = self.residuals(values)
            prior_slopes = np.zeros((at.size, values.size))
            prior_slopes[np.arange(at.size), at] = 1 / sd
            return (
                np.concatenate([weights * np.concatenate(residuals), (values[at] - mean) / sd]),
                np.concatenate([weights[:, None] * np.concatenate(slopes), prior_slopes]),
            )

        fun, jac = _once(evaluate)
        margin = 1e-9 * (self.high - self.low)
        found = least_squares(
            fun,
            np.clip(start, self.low + margin, self.high - margin),
            jac=jac,
            bounds=(self.low, self.high),
            loss=lambda squares: _huber(squares, limits),
            x_scale=0.3,
            max_nfev=300,
        )
        return found.x, float(found.cost)

    def noises(self, values: Floats) -> dict[_Key, Noise]:
        """The noise of every kind of curve around a solution."""
        residuals, _ = self.residuals(values)
        found: dict[_Key, list[Floats]] = {key: [] for key in self.kinds}
        for curve, one in zip(self.curves, residuals, strict=True):
            found[curve.key].append(one)
        # About half of the parameters are fixed by data, the others by priors; each point pays its part.
        paid = len(self.parameters) / 2 / sum(one.size for one in residuals)
        return {
            key: noise_of(
                ones, paid * sum(one.size for one in ones), MISFIT_OF_AVERAGES if key[1][1] else MISFIT
            )
            for key, ones in found.items()
        }

    def fits(self, values: Floats, noises: Mapping[_Key, Noise]) -> dict[str, Fit]:
        """The solution, model by model, with its covariance: the inverse of the curvature."""
        residuals, slopes = self.residuals(values)
        curvature = np.zeros((values.size, values.size))
        for curve, one, slope in zip(self.curves, residuals, slopes, strict=True):
            noise = noises[curve.key]
            counts = np.minimum(1.0, _threshold(noise) / np.maximum(np.abs(one), 1e-12)) / noise.effective**2
            curvature += (slope * counts[:, None]).T @ slope
        prior_precision = np.zeros(values.size)
        for place, prior in self.priors:
            prior_precision[place] = prior.sd**-2
        # A parameter that nothing fixes has the width of its range.
        weak = ((self.high - self.low) / 2) ** -2.0
        covariance = np.asarray(np.linalg.inv(curvature + np.diag(prior_precision + weak)), float)
        spread = np.diag(covariance)
        near = np.minimum(values - self.low, self.high - values) < 1e-3 * (self.high - self.low)
        fits = {}
        for model, curves in self.models.items():
            places = {series: at for (of, series), at in self.places.items() if of == model}
            first = next(iter(places.values()))
            names = self.law.names
            offsets = {name: at for (of, name), at in self.offsets.items() if of == model}
            joint = {series: [*at, *offsets.values()] for series, at in places.items()}
            fits[model] = Fit(
                law=self.law,
                scale=self.scales[model],
                values={series: values[at] for series, at in places.items()},
                noise={kind: noise for (of, kind), noise in noises.items() if of == model},
                covariance={series: covariance[np.ix_(at, at)] for series, at in joint.items()},
                known={
                    name: float(1 - spread[at] * prior_precision[at]) if prior_precision[at] else 1.0
                    for name, at in zip(names, first, strict=True)
                },
                at_edge=tuple(name for name, at in zip(names, first, strict=True) if near[at]),
                curves=tuple(curves),
                offsets={name: float(values[at]) for name, at in offsets.items()},
            )
        return fits


def height_prior(parameter: Parameter, loss: float) -> Parameter:
    """The prior of "log B" for a model of some loss: the peak LR holds up 3.5% of the loss, within a factor of two.

    The published fits have 3.3% to 6%, this package's small runs 2% to 9%.
    """
    return replace(parameter, prior=Prior(float(np.log(0.035 * loss)), 0.7))


def _threshold(noise: Noise) -> float:
    return max(HUBER, _HUBER_NOISES * noise.size, noise.misfit)


def _huber(squares: Floats, limits: Floats) -> NDArray[np.float64]:
    """Huber's loss and its first two derivatives by the squared residual, for scipy; the limit is each residual's."""
    root = np.sqrt(np.maximum(squares, 1e-60))
    inside = root <= limits
    linear = np.where(inside, 1.0, limits)  # an infinite limit is never needed outside
    value = np.where(inside, squares, 2 * linear * root - linear**2)
    first = np.where(inside, 1.0, linear / root)
    return np.stack([value, first, np.where(inside, 0.0, -0.5 * linear / root**3)])


def _once(
    evaluate: Callable[[Floats], tuple[Floats, Floats]],
) -> tuple[Callable[[Floats], Floats], Callable[[Floats], Floats]]:
    """Value and derivative as two functions for scipy, which asks for both at the same place one after the other."""
    last: dict[str, Any] = {"at": None}

    def at(values: Floats) -> dict[str, Any]:
        if last["at"] is None or not np.array_equal(values, last["at"]):
            found = evaluate(values)
            last.update(at=values.copy(), fun=found[0], jac=found[1])
        return last

    return (lambda values: at(values)["fun"]), (lambda values: at(values)["jac"])
