"""What every question of `riverrun forecast` begins with: the run's curves, the fitted law, the decays asked for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from riverrun.cli.forecast_source import (
    FileOptions,
    is_run,
    source_of_files,
)
from riverrun.cli.profiles import parsed_profile
from riverrun.cli.schedule_spec import parse_family
from riverrun.errors import SettingError, nearest
from riverrun.forecast import Columns, Curve, DecayChoice, Fit, Law, doubts, fit, law_named
from riverrun.report.forecast_source import Source, source_of_run, steps_of_a_file
from riverrun.schedules import Constant, Schedule
from riverrun.schedules.shapes import check_floor, decay_shape
from riverrun.train.decay import parse_length
from riverrun.units import Duration


@dataclass(frozen=True, kw_only=True, eq=False)
class Request:
    """A source, the law to fit to its past, and the decay that forecasts speak of.

    The run stands at `now`; the fit sees losses up to `last`, later ones where branches or other runs came further.
    """

    source: Source
    law: Law
    fitted: tuple[Curve, ...]
    now: int
    last: int
    decay: DecayChoice

    @cached_property
    def fit(self) -> Fit:
        """The fitted law: some seconds of work, so what can be wrong with options is looked at before."""
        try:
            return fit(self.fitted, self.law)
        except ValueError as error:
            raise SettingError(f"{self.source.name}: {error}") from None

    @property
    def series(self) -> str:
        """What is forecast."""
        return self.fit.series()

    def facts(self) -> dict[str, Any]:
        """The fit, as plain data."""
        fit = self.fit
        return {
            "run": self.source.name,
            "law": fit.law.name,
            "series": self.series,
            "now": self.now,
            "curves": {curve.name: int(curve.steps.size) for curve in self.fitted},
            "constants": fit.law.natural(fit.values[self.series], fit.scale),
            "residuals": {
                f"{series}, averages" if averaged else series: noise.size
                for (series, averaged), noise in fit.noise.items()
            },
            "known": dict(fit.known),
            "doubts": doubts(fit),
            "notes": list(self.source.notes),
        }

    def notes(self) -> list[str]:
        """What stands below every table: what was fitted and how well, and what that leaves open."""
        fit = self.fit
        kinds = [
            f"{curve.name} ({curve.steps.size})"
            for curve in sorted(self.fitted, key=lambda one: -one.steps.size)
        ]
        more = len(kinds) - 4
        several = ", ".join(kinds[:4]) + (
            f" and {more} more {'curve' if more == 1 else 'curves'}" if more > 0 else ""
        )
        residuals = ", ".join(
            f"{100 * noise.size:.2g}% ({'averages' if averaged else series})"
            for (series, averaged), noise in fit.noise.items()
        )
        return [
            f"Fitted to {fit.points} losses up to {self.source.label(self.last)}: {several}.",
            f"Residuals, of the loss: {residuals}.",
            *doubts(fit),
            *self.source.notes,
        ]


def opened(
    run: Path,
    *,
    node: str,
    after: float,
    also: Sequence[Path],
    columns: Sequence[str],
    trained_with: str | None,
    peak_lr: float | None,
    profiles: Sequence[str],
) -> Source:
    """The curves that options name."""
    if not 0 <= after <= 0.5:
        raise SettingError(
            f"--after: got {after:g}; must be from 0 to 0.5, as a law needs a curve that grows at least twofold"
        )
    if peak_lr is not None and not peak_lr > 0:
        raise SettingError(f"--peak-lr: got {peak_lr:g}; must be a positive number")
    asked = [parsed_profile(spec) for spec in profiles]
    if is_run(run):
        for option, given in (
            ("--trained-with", trained_with),
            ("--peak-lr", peak_lr),
            ("--columns", columns and not also),
        ):
            if given:
                raise SettingError(f"{option}: is for files; {run} tells its own")
        source = source_of_run(run, node, after)
        plain = FileOptions(columns=_columns(columns), schedule=None, peak_lr=None)
        return source.also(source_of_files(also, plain, 0.0, ()) if also else None, asked)
    options = FileOptions(
        columns=_columns(columns),
        schedule=None if trained_with is None else _trained_with(trained_with),
        peak_lr=peak_lr,
    )
    if trained_with is not None and peak_lr is None:
        raise SettingError("--trained-with: needs the peak learning rate too, as in --peak-lr 3e-4")
    return source_of_files([run, *also], options, after, asked)


def requested(
    source: Source, law: str, fit_until: str | None, *, decay: str, length: str, floor: float
) -> Request:
    """A law to fit to what lies before a position."""
    choice = _decay(decay, length, floor)
    now = source.now if fit_until is None else _between(source, fit_until)
    # Branches and other runs may have come further than the run.
    last = now if fit_until is not None else max(int(curve.steps[-1]) for curve in source.curves)
    past = tuple(curve.between(1, last) for curve in source.curves if (curve.steps <= last).any())
    return Request(source=source, law=law_named(law), fitted=past, now=now, last=last, decay=choice)


def _between(source: Source, fit_until: str) -> int:
    """A position in the past."""
    step = source.position("--fit-until", fit_until)
    first = min(int(curve.steps[0]) for curve in source.curves)
    if not first <= step <= source.now:
        raise SettingError(
            f'--fit-until: got "{fit_until}", step {step:,}; must lie in what is fitted, from step {first:,} to '
            f"{source.now:,}"
        )
    return step


def _decay(shape: str, length: str, floor: float) -> DecayChoice:
    try:
        decay_shape(shape)
        check_floor(shape, floor)
    except ValueError as error:
        option = "decay" if str(error).startswith("shape") else "floor"
        raise SettingError(f"--{option}: {str(error).partition(': ')[2]}") from None
    if not 0 <= floor <= 1:
        raise SettingError(f"--floor: got {floor:g}; must be a fraction from 0 to 1")
    share = parse_length(length)
    if isinstance(share, Duration):
        raise SettingError(f'--length: got "{length}"; must be a share of each budget, such as 10%')
    return DecayChoice(shape=shape, share=float(share), floor=floor)


def _trained_with(spec: str) -> Schedule:
    family = parse_family("--trained-with", spec, Constant(), steps_of_a_file, (1,))
    if not family.one_run:
        raise SettingError(f"--trained-with: got {spec!r}; name its horizon, as in {spec}: total=24000 steps")
    return family.for_horizon(1)


def _columns(pairs: Sequence[str]) -> Columns:
    given: dict[str, str] = {}
    for pair in pairs:
        name, has_column, column = pair.partition("=")
        if name not in ("step", "loss", "lr") or not has_column:
            raise SettingError(
                f"--columns: got {pair!r}; is written step=COLUMN, loss=COLUMN or lr=COLUMN"
                + (nearest(name, ("step", "loss", "lr")) if has_column else "")
            )
        given[name] = column
    return Columns(**given)
