"""Whether intervals hold what they promise: curves made by a known law, fitted, and other schedules predicted.

Parameters are drawn from the law's priors, and losses scatter by a noise whose neighbours err alike. Then the share of
measurements within their intervals should be that of the intervals' level. This tests the fit and its intervals; that
real curves follow the law, it cannot tell (`riverrun.forecast.backtest`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike

from riverrun.averaging import HalfLife, Profile, Tail
from riverrun.forecast.curve import Curve, Floats, Steps, rates_of
from riverrun.forecast.equivalence import equivalence
from riverrun.forecast.fitting import fit, height_prior
from riverrun.forecast.laws import Law, RiverLaw, Scale
from riverrun.forecast.scoring import Score, mean_score, score_fit
from riverrun.forecast.seen import see_curve
from riverrun.schedules import WSDS, Constant, Cosine, InverseSqrt, Schedule

PEAK_LR = 1e-3
WARMUP = 100
LENGTH = 8000
"""Updates of the full runs; forecasts reach to twice as many."""
_SCALE = Scale(lr=PEAK_LR, summed=PEAK_LR * LENGTH, step=LENGTH, loss=3.0)
_FLOORS = (1.5, 2.5)
_DESCENTS = (0.3, 0.6)
"""Where L0 and A lie, in nats: they have no priors."""


@dataclass(frozen=True, kw_only=True)
class Run:
    """A curve to be made: its schedule, where it is measured, and of which average."""

    name: str
    schedule: Schedule
    steps: Steps
    profile: Profile | None = None


@dataclass(frozen=True, kw_only=True)
class Design:
    """What is fitted and what is predicted from it."""

    name: str
    fitted: tuple[Run, ...]
    predicted: tuple[Run, ...]


@dataclass(frozen=True, kw_only=True)
class Scatter:
    """Noise relative to the loss: its standard deviation, and the correlation of neighbouring points."""

    size: float
    correlation: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Coverage:
    """What came of a design.

    Attributes:
        design, scatter, trials: what was simulated.
        scores: {predicted run: the mean over trials of its score}.
    """

    design: Design
    scatter: Scatter
    trials: int
    scores: Mapping[str, Score]

    @property
    def inside(self) -> float:
        """The share of all measurements within their intervals."""
        scores = self.scores.values()
        return sum(one.inside * one.points for one in scores) / sum(one.points for one in scores)

    @property
    def points(self) -> int:
        """How many measurements that is the share of."""
        return sum(one.points for one in self.scores.values())


def coverage(
    design: Design, scatter: Scatter, trials: int = 20, *, law: Law | None = None, seed: int = 0
) -> Coverage:
    """Simulate, fit and predict a number of times, each with other parameters and other noise.

    The same seed gives the same result.
    """
    law = law or RiverLaw()
    found: dict[str, list[Score]] = {run.name: [] for run in design.predicted}
    for number in range(trials):
        random = np.random.default_rng((seed, number))
        values = drawn_truth(law, random)
        priors = {profile.name: equivalence(profile, LENGTH) for profile in _profiles(design)}
        offsets = {name: random.normal(prior.mean, prior.sd) for name, prior in priors.items()}

        def made(run: Run) -> Curve:
            return simulated(run, law, values, scatter, random, offsets)  # noqa: B023  # called in this round only

        fitted = fit([made(run) for run in design.fitted], law)
        for run in design.predicted:
            found[run.name].append(score_fit(fitted, [made(run)]))
    return Coverage(
        design=design,
        scatter=scatter,
        trials=trials,
        scores={name: mean_score(scores) for name, scores in found.items()},
    )


def drawn_truth(law: Law, random: np.random.Generator) -> Floats:
    """Parameters of a law: L0 and log A of language models, the others from their priors."""
    floor, descent = random.uniform(*_FLOORS), random.uniform(*_DESCENTS)
    values = [floor, np.log(descent)]
    for parameter in law.parameters[2:]:
        if parameter.name == "log B":
            parameter = height_prior(parameter, floor + descent)
        if parameter.prior is None:
            raise ValueError(f"law: {law.name} has no prior of {parameter.name} to draw it from")
        drawn = random.normal(parameter.prior.mean, parameter.prior.sd)
        values.append(np.clip(drawn, parameter.low, parameter.high))
    return np.array(values)


def simulated(
    run: Run,
    law: Law,
    values: Floats,
    scatter: Scatter,
    random: np.random.Generator,
    offsets: Mapping[str, float],
) -> Curve:
    """The losses that a law with these parameters gives a run, with noise.

    Offsets are by how much averages are off from the decays that they amount to, as in `riverrun.forecast.fitting.Fit`.
    """
    rates = rates_of(run.schedule, PEAK_LR, int(run.steps[-1]))
    curve = Curve(run.name, run.steps, np.ones(run.steps.size), rates, profile=run.profile)
    above = noise(scatter, run.steps.size, random)
    if run.profile is not None:
        above += offsets[run.profile.name]
    return replace(curve, losses=law.losses(values, see_curve(curve), _SCALE)[0] * np.exp(above))


def _profiles(design: Design) -> list[Profile]:
    runs = (*design.fitted, *design.predicted)
    return list({run.profile.name: run.profile for run in runs if run.profile is not None}.values())


def noise(scatter: Scatter, points: int, random: np.random.Generator) -> Floats:
    """[points], each the part ``correlation`` of the one before, and new noise."""
    made = random.standard_normal(points)
    fresh = np.sqrt(1 - scatter.correlation**2)
    for place in range(1, points):
        made[place] = scatter.correlation * made[place - 1] + fresh * made[place]
    return scatter.size * made


def _spaced(first: int, last: int, points: int) -> Steps:
    return np.unique(np.geomspace(first, last, points).astype(np.int64))


def _at(steps: ArrayLike) -> Steps:
    return np.asarray(steps, dtype=np.int64)


_TRUNK = Constant(warmup=WARMUP)
_COSINE = Cosine(warmup=WARMUP, total=LENGTH)
_PREDICTED = (
    Run(name="constant", schedule=_TRUNK, steps=_spaced(LENGTH // 2 + 100, 2 * LENGTH, 12)),
    Run(name="cosine", schedule=_COSINE, steps=_spaced(1000, LENGTH, 12)),
    Run(
        name="wsd",
        schedule=_TRUNK.decay(at=LENGTH * 9 // 10, steps=LENGTH // 10),
        steps=_at(np.linspace(LENGTH * 9 // 10 + 50, LENGTH, 11)),
    ),
    Run(
        name="wsd-s",
        schedule=WSDS(warmup=WARMUP, budgets=(2000, 4000, 8000)),
        steps=_spaced(500, LENGTH, 12),
    ),
    Run(
        name="inverse-sqrt",
        schedule=InverseSqrt(warmup=WARMUP, offset=800),
        steps=_spaced(500, 2 * LENGTH, 12),
    ),
)
_AVERAGES = (HalfLife(25), Tail(0.3))

DESIGNS: dict[str, Design] = {
    design.name: design
    for design in (
        Design(
            name="three schedules",
            fitted=(
                Run(name="constant", schedule=_TRUNK, steps=_spaced(400, LENGTH, 80)),
                Run(name="cosine", schedule=_COSINE, steps=_spaced(400, LENGTH, 80)),
                Run(
                    name="drop",
                    schedule=_TRUNK.decay(at=3000, steps=0, floor=0.3),
                    steps=_spaced(400, 5000, 60),
                ),
            ),
            predicted=_PREDICTED,
        ),
        Design(
            name="a trunk and a short decay",
            fitted=(
                Run(name="constant", schedule=_TRUNK, steps=_spaced(400, LENGTH // 2, 60)),
                Run(name="short", schedule=_TRUNK.decay(at=2000, steps=400), steps=np.arange(2025, 2401, 25)),
            ),
            predicted=_PREDICTED,
        ),
        Design(
            name="a trunk and its averages",
            fitted=(
                Run(name="constant", schedule=_TRUNK, steps=_spaced(400, LENGTH // 2, 60)),
                *(
                    Run(name=one.name, schedule=_TRUNK, steps=_spaced(400, LENGTH // 2, 20), profile=one)
                    for one in _AVERAGES
                ),
            ),
            predicted=(
                *_PREDICTED,
                *(
                    Run(
                        name=one.name,
                        schedule=_TRUNK,
                        steps=_spaced(LENGTH // 2 + 100, 2 * LENGTH, 12),
                        profile=one,
                    )
                    for one in _AVERAGES
                ),
            ),
        ),
    )
}
