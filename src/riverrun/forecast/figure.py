"""The figure of a forecast: the past, the fans ahead, and what was observed since."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import cycle

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from riverrun.drawing import COLOURS
from riverrun.forecast.curve import Curve
from riverrun.forecast.prediction import Prediction
from riverrun.units import short_count

_LINES = ("-", (0, (6, 1.5)), (0, (4, 1.2, 1, 1.2)), (0, (1.2, 1.2)))
_MARKERS = ("D", "s", "^", "v", "P", "X")
"""So that black on white tells fans apart as colours do."""
_MEASURED = "#4D4D4D"
_ASIDE = 1.02
"""Points of several fans at one budget stand beside each other, by this factor."""
_PAST = 12
"""How many times less than now the figure begins at."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Fan:
    """A readout ahead: a line with its interval where one run gives it, points where each budget has its own run.

    `average` names the measured averages that it is the forecast of, and that have its colour.
    """

    name: str
    prediction: Prediction
    one_run: bool
    average: str | None = None


def draw_forecast(
    title: str,
    curves: Sequence[Curve],
    fans: Sequence[Fan],
    now: int,
    tokens_per_step: float | None,
    last: int | None = None,
) -> Figure:
    """The curves, small dots where the law was fitted and rings after it, and the fans; over tokens if a step has some.

    Args:
        title: above it.
        curves: raw losses of one series, and averages; of the series that is forecast.
        fans: the forecasts, in the order of their colours.
        now: the position that the run stands at.
        tokens_per_step: None draws over steps.
        last: the last position that the fit saw; `now` if not given.
    """
    columns = 2 if max((len(fan.name) for fan in fans), default=0) > 20 else 3
    rows = -(-(len(fans) + 3) // columns)
    figure = Figure(figsize=(6.8, 4.4 + 0.19 * rows), layout="constrained")
    axes = figure.subplots()
    unit = tokens_per_step or 1.0
    last = now if last is None else last
    colours = dict(zip(fans, cycle(COLOURS), strict=False))
    of_averages = {fan.average: colour for fan, colour in colours.items() if fan.average}
    for curve in curves:
        colour = of_averages.get(curve.profile.name, "#9A9A9A") if curve.profile else _MEASURED
        _dots(axes, curve, curve.steps <= last, unit, ".", colour)
        _dots(axes, curve, curve.steps > last, unit, "o", colour)
    lines = dict(zip((fan for fan in fans if fan.one_run), cycle(_LINES), strict=False))
    points = [fan for fan in fans if not fan.one_run]
    markers = dict(zip(points, cycle(_MARKERS), strict=False))
    for fan, colour in colours.items():
        one = fan.prediction
        if fan.one_run:
            at = one.steps * unit
            axes.fill_between(at, one.low, one.high, color=colour, alpha=0.15, linewidth=0)
            for edge in (one.low, one.high):
                axes.plot(at, edge, color=colour, linewidth=0.4, alpha=0.6)
            axes.plot(at, one.expected, color=colour, linewidth=1.5, linestyle=lines[fan], label=fan.name)
            continue
        aside = _ASIDE ** (points.index(fan) - (len(points) - 1) / 2)
        axes.errorbar(
            one.steps * unit * aside,
            one.expected,
            yerr=np.maximum([one.expected - one.low, one.high - one.expected], 0.0),
            fmt=markers[fan],
            color=colour,
            linestyle=(0, (1, 2)),
            linewidth=0.8,
            elinewidth=1.1,
            markersize=5,
            markeredgecolor="white",
            markeredgewidth=0.6,
            capsize=2.5,
            zorder=4,
            label=fan.name,
        )
    _limits(axes, curves, fans, now, unit)
    axes.set_xlabel("steps" if tokens_per_step is None else "tokens")
    axes.set_ylabel("nats per token")
    axes.set_title(title, fontsize=9, loc="left")
    axes.axvline(now * unit, color="black", linewidth=0.8, linestyle=":")
    axes.annotate(
        "now",
        (now * unit, 1),
        xycoords=("data", "axes fraction"),
        xytext=(-4, -2),
        textcoords="offset points",
        ha="right",
        va="top",
        fontsize=8,
    )
    handles, labels = axes.get_legend_handles_labels()
    marks = [(".", "measured"), *([("o", "measured since")] if _has_since(curves, last) else [])]
    figure.legend(
        [*handles, *(_mark(marker) for marker, _ in marks)],
        [*labels, *(name for _, name in marks)],
        loc="outside lower center",
        ncols=columns,
        frameon=False,
        fontsize=8,
    )
    return figure


def _has_since(curves: Sequence[Curve], last: int) -> bool:
    return any(bool((curve.steps > last).any()) for curve in curves)


def _limits(axes: Axes, curves: Sequence[Curve], fans: Sequence[Fan], now: int, unit: float) -> None:
    """From a twelfth of now to a little after the last forecast; ticks at 1, 2 and 5 where there are few decades."""
    first = max(now / _PAST, min((float(curve.steps[0]) for curve in curves), default=1.0))
    last = max([now, *(int(fan.prediction.steps[-1]) for fan in fans)]) * 1.06
    shown = [
        loss for curve in curves for loss in curve.losses[(curve.steps >= first) & (curve.steps <= last)]
    ]
    for fan in fans:
        ahead = fan.prediction.steps >= first
        shown += [*fan.prediction.low[ahead], *fan.prediction.high[ahead]]
    if shown:
        low, high = min(shown), max(shown)
        axes.set_ylim(low - 0.04 * (high - low), high + 0.04 * (high - low))
    axes.set_xscale("log")
    axes.set_xlim(first * unit * 0.97, last * unit)
    subs = (1.0, 2.0, 5.0) if last / first < 200 else (1.0,)
    axes.xaxis.set_major_locator(LogLocator(subs=subs, numticks=20))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: short_count(value)))
    axes.xaxis.set_minor_locator(NullLocator())


def _dots(axes: Axes, curve: Curve, which: np.ndarray, unit: float, marker: str, colour: str) -> None:
    axes.plot(
        curve.steps[which] * unit,
        curve.losses[which],
        linestyle="",
        marker=marker,
        color=colour,
        markersize=3 if marker == "." else 3.5,
        markerfacecolor=colour if marker == "." else "none",
        markeredgewidth=0.7,
        zorder=1.5 if marker == "." else 3,
    )


def _mark(marker: str) -> Line2D:
    filled = _MEASURED if marker == "." else "none"
    return Line2D([], [], linestyle="", marker=marker, color=_MEASURED, markerfacecolor=filled, markersize=4)
