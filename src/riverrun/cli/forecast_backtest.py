"""`riverrun forecast RUN --backtest`: how forecasts made in a run's past agree with what came then."""

from __future__ import annotations

from dataclasses import asdict

from rich.console import Console

from riverrun.cli.grids import print_folded_grid
from riverrun.errors import SettingError
from riverrun.forecast import law_named
from riverrun.forecast.backtest import backtest
from riverrun.grid import Grid
from riverrun.report.forecast_source import Source
from riverrun.runs.metrics import to_json


def print_backtest(source: Source, law: str, json: bool) -> None:
    """How forecasts made in the run's past agree with what came then."""
    try:
        found = backtest(source.curves, law_named(law))
    except ValueError as error:
        raise SettingError(f"--backtest: {error}") from None
    if json:
        tests = [
            {
                "share": one.share,
                "until": one.until,
                "points": one.points,
                "scores": {
                    f"{series}, averages" if averaged else series: asdict(score)
                    for (series, averaged), score in one.scores.items()
                },
                "longest": asdict(one.longest) if one.longest else None,
                "baseline": asdict(one.baseline) if one.baseline else None,
                "note": one.note,
            }
            for one in found
        ]
        print(to_json({"run": source.name, "law": law, "backtests": tests}))
        return
    rows, notes = [], []
    for one in found:
        if one.note:
            notes.append(one.note)
        named = [
            (f"{series}, averages" if averaged else series, score)
            for (series, averaged), score in one.scores.items()
        ]
        if one.longest is not None and one.baseline is not None:
            named += [
                (f"longest, by the {law} law", one.longest),
                ("longest, by the power law", one.baseline),
            ]
        rows += [
            (
                f"{100 * one.share:.0f}%, {source.label(one.until).removesuffix(' tokens')}",
                name,
                f"{score.points}",
                *(f"{100 * error:.2f}%" for error in (score.mean, score.worst)),
                f"{100 * score.last:+.2f}%",
                f"{100 * score.inside:.0f}%",
            )
            for name, score in named
        ]
    print_folded_grid(
        Console(highlight=False),
        Grid(
            title=f"{source.name}: the {law} law fitted to the first part, and its errors of what came after",
            headings=("up to", "of", "points", "mean", "worst", "last", "inside"),
            rows=tuple(rows),
            notes=(
                *notes,
                "Last: at the end; below 0 the forecast was too low. Inside: how many lay in the 90% intervals.",
                "Branches count as what came after where they did. The power law does not see the learning rate.",
                *source.notes,
            ),
        ),
    )
