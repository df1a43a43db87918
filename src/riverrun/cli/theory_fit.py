"""`riverrun theory fit`: which exponents a real run's losses imply."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from tyro.conf import Positional

if TYPE_CHECKING:
    from riverrun.theory.fitting import Curve, Fitted


def fit(run: Positional[Path], *, node: str = "trunk", after: float = 0.1, json: bool = False) -> None:
    """Estimate capacity, source and the gamma that follows from the losses of a run, if it were linear regression.

    Args:
        run: directory of the run.
        node: trunk, or the name of a branch.
        after: leave out what lies before this share of the run; the laws are about late training.
        json: print one JSON object.
    """
    from dataclasses import asdict

    from riverrun.cli.theory_curves import curves_of
    from riverrun.errors import SettingError
    from riverrun.extras import require_packages
    from riverrun.runs import Tree
    from riverrun.runs.metrics import to_json
    from riverrun.theory.fitting import fit_exponents

    require_packages("theory fit", "labs", {"scipy": "the fit"})
    if not 0 <= after < 1:
        raise SettingError(f"--after: got {after:g}; must be at least 0 and less than 1")
    curves = curves_of(Tree.open(run).node(node), after)
    try:
        fitted = fit_exponents(curves)
    except ValueError as error:
        raise SettingError(f"{run}: {error}; train longer, or lower --after") from None
    if json:
        print(to_json(asdict(fitted) | {"curves": {curve.name: len(curve.losses) for curve in curves}}))
        return
    _print(curves, fitted)


def _print(curves: Sequence[Curve], fitted: Fitted) -> None:
    names = ", ".join(f"{curve.name} ({len(curve.losses)})" for curve in curves)
    print(
        f"From {fitted.points} losses: {names}; residuals {fitted.error:.2g} nats. In brackets, 90% intervals."
    )
    for title, estimate in (
        ("(b-1)/a, how fast the bias falls", fitted.bias_exponent),
        ("capacity a", fitted.capacity),
        ("source b", fitted.source),
        ("best gamma of t^-gamma", fitted.gamma),
    ):
        if estimate is not None:
            print(f"{title:34s} {estimate.value:.3g}  ({estimate.low:.3g} to {estimate.high:.3g})")
    if fitted.capacity is None:
        print("The run has no average with readouts enough to tell capacity and source.")
    for name in fitted.at_edge:
        print(f"The estimate of {name} lies at the edge of what was tried: these losses do not tell it.")
    print(
        "The intervals hold if the laws do, which language models need not follow: a hint for what to try, no more "
        "(docs/theory.md)."
    )
