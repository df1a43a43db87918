"""The answer of `riverrun forecast RUN`: a table of budgets, and a figure of the past and the fans ahead."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from rich.console import Console

from riverrun.cli.forecast_request import Request
from riverrun.cli.grids import print_folded_grid
from riverrun.cli.schedule_spec import TRUNK, Family, parse_family
from riverrun.errors import SettingError
from riverrun.extras import require_packages
from riverrun.forecast import Outlook, Prediction, outlook
from riverrun.forecast.curve import LONGEST
from riverrun.forecast.outlook import RAW
from riverrun.grid import Grid
from riverrun.runs.metrics import to_json

_MOST_BUDGETS = 6
_LINE = 80
"""Positions of a fan's line."""


def print_outlook(
    request: Request, specs: Sequence[str], until: str | None, figure: Path | None, json: bool
) -> None:
    """Forecast schedules, print a table, draw."""
    budgets = budgets_of(request, until)
    families = families_of(request, specs or [TRUNK], budgets)
    outlooks = [
        outlook(
            request.fit,
            family.name,
            family.for_horizon,
            request.source.peak_lr,
            budgets,
            one_run=family.one_run,
            profiles=request.source.profiles,
            decay=request.decay if can_decay(request, family, budgets[-1]) else None,
        )
        for family in families
    ]
    if figure is not None:
        _draw(request, families, outlooks, budgets, figure)
    if json:
        plain = {"budgets": list(budgets), "outlooks": [_plain(one) for one in outlooks]}
        print(to_json(request.facts() | plain))
        return
    print_folded_grid(Console(highlight=False), _grid(request, budgets, outlooks))
    if figure is not None:
        print(f"Figure: {figure}")


def budgets_of(request: Request, until: str | None) -> tuple[int, ...]:
    """Now, then the last budget and its halves, as far as they lie ahead."""
    source = request.source
    last = min(4 * request.now, LONGEST) if until is None else source.position("--until", until)
    if last <= request.now:
        raise SettingError(
            f"--until: got {until}, which is step {last:,}; must lie after step {request.now:,}, where the run stands"
        )
    ahead = [last]
    while len(ahead) < _MOST_BUDGETS - 1 and ahead[-1] // 2 > request.now * 1.05:
        ahead.append(ahead[-1] // 2)
    return (request.now, *reversed(ahead))


def families_of(request: Request, specs: Sequence[str], budgets: tuple[int, ...]) -> list[Family]:
    """The schedules that options name."""
    source = request.source
    return [
        parse_family("--schedule", spec, source.schedule, source.step_at, budgets)
        for spec in dict.fromkeys(specs)
    ]


def can_decay(request: Request, family: Family, last: int) -> bool:
    """Whether a schedule has no decay of its own; what a file logged goes on at its last learning rate."""
    logged = request.source.plan is None and family.name == TRUNK
    return logged or family.for_horizon(last).horizon_free


def interval_of(found: Prediction) -> str:
    """The loss at the first position."""
    return interval(*(float(edge[0]) for edge in (found.expected, found.low, found.high)))


def interval(expected: float, low: float, high: float) -> str:
    """ "1.073 ± .004", half the interval's width."""
    return f"{expected:.4f} ±{(high - low) / 2:.4f}"


def _grid(request: Request, budgets: Sequence[int], outlooks: Sequence[Outlook]) -> Grid:
    source = request.source
    rows = [
        (
            f"{one.name}: {name}" if len(outlooks) > 1 else name,
            *(interval(*values) for values in zip(found.expected, found.low, found.high, strict=True)),
        )
        for one in outlooks
        for name, found in one.readouts.items()
    ]
    expected = np.array([found.expected for one in outlooks for found in one.readouts.values()])
    marked = frozenset((int(row), column + 1) for column, row in enumerate(expected.argmin(axis=0)))
    alone = f" under {outlooks[0].name}" if len(outlooks) == 1 and outlooks[0].name != TRUNK else ""
    labels = [source.label(step).removesuffix(" tokens") for step in budgets]
    headings = [f"now, {labels[0]}", *labels[1:]]
    unit = "" if source.plan is None else " after so many tokens"
    return Grid(
        title=f"{source.name}{alone}: {request.series} loss{unit} by the {request.fit.law.name} law, 90% intervals",
        headings=("readout", *headings),
        rows=tuple(rows),
        marked=marked,
        notes=(*request.notes(), "How far to trust it: riverrun forecast RUN --backtest."),
    )


def _draw(
    request: Request,
    families: Sequence[Family],
    outlooks: Sequence[Outlook],
    budgets: Sequence[int],
    path: Path,
) -> None:
    require_packages("forecast", "forecast", {"matplotlib": "the figure"})
    from riverrun.drawing import write_figure
    from riverrun.forecast.figure import Fan, draw_forecast

    source = request.source
    fans: list[Fan] = []
    line = np.unique(np.geomspace(max(1, request.now // 12), budgets[-1], _LINE).round().astype(int))
    for family, one in zip(families, outlooks, strict=True):
        whole = one is outlooks[0]  # of the others raw weights alone: the table has them all
        fine: dict[str, Prediction] = {}
        if family.one_run:
            along = outlook(
                request.fit,
                one.name,
                family.for_horizon,
                source.peak_lr,
                line.tolist(),
                one_run=True,
                profiles=source.profiles if whole else (),
            )
            fine = dict(along.readouts)
        for name in one.readouts if whole else (RAW,):
            label = name if len(outlooks) == 1 else one.name if name == RAW else f"{one.name}: {name}"
            fan = fine.get(name, one.readouts[name])
            average = None if name == RAW else name
            fans.append(Fan(name=label, prediction=fan, one_run=name in fine, average=average))
    shown = [curve for curve in source.curves if curve.series == request.series]
    tokens = source.tokens(budgets[-1])
    title = f"{source.name}: {request.series} loss, forecast from {source.label(request.now)} on with 90% intervals"
    path.parent.mkdir(parents=True, exist_ok=True)
    write_figure(
        path,
        lambda: draw_forecast(
            title, shown, fans, request.now, tokens / budgets[-1] if tokens else None, request.last
        ),
    )


def _plain(one: Outlook) -> dict[str, object]:
    return {
        "schedule": one.name,
        "readouts": {name: plain_prediction(found) for name, found in one.readouts.items()},
    }


def plain_prediction(found: Prediction) -> dict[str, list[float]]:
    """As plain data: a list for each of the steps, the expected losses, and the edges of the intervals."""
    return {name: getattr(found, name).tolist() for name in ("steps", "expected", "low", "high")}
