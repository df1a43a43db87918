"""How far to trust a forecast of a run: the same forecast made in its past, against what came then."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from riverrun.forecast.curve import Curve, Kind
from riverrun.forecast.fitting import Fit, check_curves, fit
from riverrun.forecast.laws import Law, PowerLaw, RiverLaw
from riverrun.forecast.scoring import Score, score_fit

SHARES = (0.25, 0.5, 0.75)


@dataclass(frozen=True, kw_only=True)
class Backtest:
    """A forecast from the first part of some curves.

    Attributes:
        share: that part, of the steps up to the longest curve's last position.
        until: where that part ends; the fit saw nothing later of any curve.
        points: how many losses the fit saw.
        scores: {(series, of averages or not): how the rest was predicted}; empty where nothing could be.
        longest: the score of the longest curve's rest alone.
        baseline: the same of the power law that does not see the LR, fitted to that curve's first part.
        note: why something was left out; empty if nothing was.
    """

    share: float
    until: int
    points: int
    scores: Mapping[Kind, Score] = field(default_factory=dict)
    longest: Score | None = None
    baseline: Score | None = None
    note: str = ""


def backtest(
    curves: Sequence[Curve], law: Law | None = None, shares: Sequence[float] = SHARES
) -> list[Backtest]:
    """Fit to the first part of the curves, and predict the rest from the LR that it had.

    All curves are cut at one position. Of a curve that begins after it nothing is fitted, and all is predicted.

    Args:
        curves: of one model, as `fit` takes them.
        law: the river law by default.
        shares: the parts, of the steps up to the longest curve's last position; between 0 and 1.

    Returns:
        One per share, in order. Where the first part is too short for a fit, ``note`` says so and there are no scores.

    Raises:
        ValueError: a share outside (0, 1), or first parts that are all too short.
    """
    law = law or RiverLaw()
    for share in shares:
        if not 0 < share < 1:
            raise ValueError(f"shares: got {share:g}; must be more than 0 and less than 1")
    found = [_backtest(curves, law, share) for share in shares]
    if not any(one.scores for one in found):
        raise ValueError(
            f"shares: nothing can be fitted to any part; {found[-1].note}" if found else "shares: none"
        )
    return found


def longest_of(curves: Sequence[Curve]) -> Curve:
    """The curve with the last position; of several the raw one, then that with most points."""
    return max(curves, key=lambda curve: (curve.steps[-1], curve.profile is None, curve.steps.size))


def _backtest(curves: Sequence[Curve], law: Law, share: float) -> Backtest:
    longest = longest_of(curves)
    steps = longest.steps
    until = max(1, round(share * int(steps[-1])))
    past = [curve.between(1, until) for curve in curves if curve.steps[0] <= until]
    rest = [curve.between(until + 1, int(curve.steps[-1])) for curve in curves if curve.steps[-1] > until]
    points = sum(curve.steps.size for curve in past)
    try:
        check_curves(past, law)
    except ValueError as error:
        return Backtest(share=share, until=until, points=points, note=str(error))
    fitted = fit(past, law)
    known = [curve for curve in rest if curve.series in fitted.values]
    unknown = dict.fromkeys(curve.series for curve in rest if curve.series not in fitted.values)
    kinds = dict.fromkeys(curve.kind for curve in known)
    after = [longest.between(until + 1, int(steps[-1]))] if longest.series in fitted.values else []
    return Backtest(
        share=share,
        until=until,
        points=points,
        scores={kind: score_fit(fitted, [one for one in known if one.kind == kind]) for kind in kinds},
        longest=score_fit(fitted, after) if after else None,
        baseline=_baseline(longest, until, after),
        note=f"no {' and '.join(unknown)} losses up to step {until:,}" if unknown else "",
    )


def _baseline(longest: Curve, until: int, after: list[Curve]) -> Score | None:
    if longest.steps[0] > until or not after:
        return None
    past = [longest.between(1, until)]
    try:
        fitted: Fit = fit(past, PowerLaw())
    except ValueError:
        return None
    return score_fit(fitted, after)
