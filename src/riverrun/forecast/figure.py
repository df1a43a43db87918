"""The figure of a forecast: the past, the fans ahead, and what was observed since."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from riverrun.drawing import COLOURS
from riverrun.forecast.curve import Curve
from riverrun.forecast.prediction import Prediction


@dataclass(frozen=True, kw_only=True, eq=False)
class Fan:
    """A readout ahead: a line with its interval where one run gives it, points where each budget has its own run."""

    name: str
    prediction: Prediction
    one_run: bool


def draw_forecast(
    title: str, curves: Sequence[Curve], fans: Sequence[Fan], now: int, tokens_per_step: float | None
) -> Figure:
    """The curves, small dots up to `now` and rings after it, and the fans; over tokens where a step has some.

    Args:
        title: above it.
        curves: raw losses of one series, and averages; of the series that is forecast.
        fans: the forecasts, in the order of their colours.
        now: the position up to which the law was fitted.
        tokens_per_step: None draws over steps.
    """
    figure = Figure(figsize=(7.2, 4.4), layout="constrained")
    axes = figure.subplots()
    unit = tokens_per_step or 1.0
    averaged = [curve for curve in curves if curve.profile is not None]
    for curve in curves:
        colour = "#9A9A9A" if curve.profile is None else "#C9B26B"
        _dots(axes, curve, curve.steps <= now, unit, ".", colour)
        _dots(axes, curve, curve.steps > now, unit, "o", colour)
    for fan, colour in zip(fans, np.resize(COLOURS, len(fans)), strict=True):
        one = fan.prediction
        at = one.steps * unit
        if fan.one_run:
            axes.plot(at, one.expected, color=colour, linewidth=1.4, label=fan.name)
            axes.fill_between(at, one.low, one.high, color=colour, alpha=0.16, linewidth=0)
        else:
            errors = np.maximum([one.expected - one.low, one.high - one.expected], 0.0)
            axes.errorbar(
                at,
                one.expected,
                yerr=errors,
                fmt="D",
                color=colour,
                markersize=4,
                capsize=2.5,
                label=fan.name,
            )
    axes.axvline(now * unit, color="black", linewidth=0.8, linestyle=":")
    axes.set_xscale("log")
    axes.set_xlabel("steps" if tokens_per_step is None else "tokens")
    axes.set_ylabel(f"{curves[0].series} loss, nats per token" if curves else "loss, nats per token")
    axes.set_title(title, fontsize=9)
    shown = [one for curve in curves for one in curve.losses[curve.steps >= now / 12]]
    ahead = [edge for fan in fans for edge in (*fan.prediction.low, *fan.prediction.high)]
    if shown or ahead:
        low, high = min([*shown, *ahead]), max([*shown, *ahead])
        axes.set_ylim(low - 0.04 * (high - low), high + 0.04 * (high - low))
    if curves:
        axes.set_xlim(left=max(now / 12, float(min(curve.steps[0] for curve in curves))) * unit)
    handles, labels = axes.get_legend_handles_labels()
    marks = [(".", "#9A9A9A", "measured"), *([(".", "#C9B26B", "measured averages")] if averaged else [])]
    if any((curve.steps > now).any() for curve in curves):
        marks.append(("o", "#9A9A9A", "measured since"))
    handles += [_mark(marker, colour) for marker, colour, _ in marks]
    figure.legend(
        handles,
        [*labels, *(name for *_, name in marks)],
        loc="outside right upper",
        frameon=False,
        fontsize=8,
    )
    return figure


def _dots(axes: Axes, curve: Curve, which: np.ndarray, unit: float, marker: str, colour: str) -> None:
    axes.plot(
        curve.steps[which] * unit,
        curve.losses[which],
        marker,
        color=colour,
        markersize=3 if marker == "." else 3.5,
        markerfacecolor=colour if marker == "." else "none",
        zorder=1.5 if marker == "." else 3,
    )


def _mark(marker: str, colour: str) -> Line2D:
    filled = colour if marker == "." else "none"
    return Line2D([], [], linestyle="", marker=marker, color=colour, markerfacecolor=filled, markersize=4)
