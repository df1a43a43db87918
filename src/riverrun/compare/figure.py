"""The figure of a comparison: held-out loss against tokens, differences to the baseline, learning rates."""

from __future__ import annotations

import io
import math
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
from matplotlib import style
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import NullLocator

from riverrun.compare.intervals import interval
from riverrun.compare.measured import HORIZON_FREE, Measured
from riverrun.compare.results import Method, Reading, Result
from riverrun.publish import publish_file
from riverrun.units import short_count

# Okabe and Ito's colours, which people with any common colour blindness can tell apart, the baseline in black;
# their yellow is too pale for a line on white. The last three are for plans of many arms. Markers tell the arms
# apart without colour.
_BASELINE = "#000000"
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#7F7F7F", "#882255", "#44AA99")
_MARKERS = "oDsv^P<>h"
_STYLE: dict[str, Any] = {
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#E6E6E6",
    "grid.linewidth": 0.6,
    "svg.hashsalt": "riverrun",  # element names of an SVG are random without it
    "svg.fonttype": "none",
}


@dataclass(frozen=True)
class _Look:
    """How a method is drawn: raw weights dotted and hollow where the arm's average is drawn as well."""

    colour: str
    marker: str
    hollow: bool

    def line(self) -> dict[str, Any]:
        return {"color": self.colour, "linewidth": 1.2, "linestyle": ":" if self.hollow else "-"}

    def mark(self) -> dict[str, Any]:
        face = "white" if self.hollow else self.colour
        edge = self.colour if self.hollow else "white"
        return {"marker": self.marker, "markersize": 5, "markerfacecolor": face, "markeredgecolor": edge}


def save_figure(path: Path, measured: Measured) -> None:
    """Draw and write the figure as PNG or SVG, by the suffix; the same results give the same bytes.

    Raises:
        ValueError: another suffix, or nothing to draw.
    """
    form = path.suffix.removeprefix(".")
    if form not in ("png", "svg"):
        raise ValueError(f"{path.name}: a figure is written as .png or .svg")
    content = io.BytesIO()
    with style.context(["default", _STYLE]):
        undated = {"Software": None} if form == "png" else {"Date": None}
        draw(measured).savefig(content, format=form, dpi=200, metadata=undated)
    publish_file(path, content.getvalue())


def draw(measured: Measured) -> Figure:
    """Three panels over the same tokens: losses, paired differences to the baseline, learning rates.

    Without a baseline there are no differences.

    Raises:
        ValueError: nothing was chosen, so there is nothing to draw.
    """
    drawn = drawn_methods(measured)
    if not drawn:
        raise ValueError("the comparison has no results to draw")
    looks = _looks(measured, drawn)
    heights = (3, 2, 1.2) if measured.baseline in drawn else (3, 1.2)
    figure = Figure(figsize=(7.2, 1.4 + 1.15 * sum(heights)), layout="constrained")
    panels = figure.subplots(len(heights), 1, sharex=True, height_ratios=heights)
    # The baseline lies below the others: it is what they are held against.
    for method in sorted(drawn, key=lambda method: method is not measured.baseline):
        _draw_losses(panels[0], measured, method, looks[method.name])
        _draw_rates(panels[-1], measured, method, looks[method.name])
    ticks = _ticks(measured, drawn)
    _set_losses(panels[0], measured, drawn)
    if measured.baseline in drawn:
        _draw_differences(panels[1], measured, measured.baseline, drawn, looks, ticks)
    furthest = max(result.tokens for method in drawn for result in _cells(measured, method)[-1].values())
    _set_tokens(panels[-1], ticks, furthest)
    figure.align_ylabels()
    figure.legend(
        handles=[
            Line2D([], [], **looks[method.name].line(), **looks[method.name].mark(), label=method.name)
            for method in drawn
        ],
        loc="outside lower center",
        ncols=3,
        frameon=False,
    )
    return figure


def drawn_methods(measured: Measured) -> list[Method]:
    """What every arm trains, and the best average, on the windows to choose by, of the horizon-free ones."""
    averages = [measured.best_average(arm) for arm in measured.arms(*HORIZON_FREE)]
    return [
        method
        for method in measured.methods
        if (method.plain or method in averages) and _cells(measured, method)
    ]


def _looks(measured: Measured, drawn: list[Method]) -> dict[str, _Look]:
    """One colour and marker per arm."""
    baseline = measured.baseline.arm if measured.baseline else None
    others = [arm for arm in dict.fromkeys(method.arm for method in drawn) if arm != baseline]
    numbers = {arm: number for number, arm in enumerate(others)}
    averaged = {method.arm for method in drawn if not method.plain}
    looks = {}
    for method in drawn:
        number = numbers.get(method.arm)
        colour = _BASELINE if number is None else _COLOURS[number % len(_COLOURS)]
        marker = "X" if number is None else _MARKERS[number % len(_MARKERS)]
        looks[method.name] = _Look(colour, marker, method.plain and method.arm in averaged)
    return looks


def _draw_losses(axes: Axes, measured: Measured, method: Method, look: _Look) -> None:
    """A line through one run, or a faint line per budget, their ends joined by dashes; markers and bands at budgets."""
    cells = _cells(measured, method)
    ends = [fmean(result.tokens for result in cell.values()) for cell in cells]
    spread = [interval(result.loss for result in cell.values()) for cell in cells]
    means = [each.mean for each in spread]
    one_run = _is_one_run(cells)
    for cell in cells[-1:] if one_run else cells:
        curve = _mean_over_seeds([result.curve for result in cell.values()])
        axes.plot(*zip(*curve, strict=True), **look.line(), alpha=1 if one_run else 0.35)
    joint = {"linestyle": ""} if one_run else {"linestyle": "--", "linewidth": 0.8}
    axes.plot(ends, means, **look.line() | joint, **look.mark())
    if all(math.isfinite(each.half_width) for each in spread):
        low, high = [each.low for each in spread], [each.high for each in spread]
        axes.fill_between(ends, low, high, color=look.colour, alpha=0.12, linewidth=0)


def _draw_differences(
    axes: Axes,
    measured: Measured,
    baseline: Method,
    drawn: list[Method],
    looks: dict[str, _Look],
    ticks: dict[str, int],
) -> None:
    """Paired differences to the baseline with 95% intervals, methods side by side at every budget."""
    axes.axhline(0, color=_BASELINE, linewidth=1)
    others = [method for method in drawn if method is not baseline]
    gaps = np.diff(np.log(list(ticks.values())))
    width = 0.5 * float(gaps.min(initial=math.log(2)))
    means = []
    for place, method in zip(np.linspace(-width, width, len(others) + 2)[1:-1] / 2, others, strict=True):
        points = [
            (tokens * math.exp(place), measured.difference(method, baseline, budget))
            for budget, tokens in ticks.items()
        ]
        at = [position for position, _ in points]
        centre = [1000 * each.mean for _, each in points]
        half = [1000 * each.half_width if math.isfinite(each.half_width) else 0.0 for _, each in points]
        look = looks[method.name]
        axes.plot(at, centre, **look.line() | {"linewidth": 0.8}, alpha=0.4)
        axes.errorbar(at, centre, half, linestyle="", ecolor=look.colour, elinewidth=1, **look.mark())
        means += [mean for mean in centre if math.isfinite(mean)]
    # An interval of two seeds may be a hundred times wider than what the means differ by.
    low, high = min([0.0, *means]), max([0.0, *means])
    margin = 0.15 * (high - low or 1.0)
    axes.set_ylim(low - margin, high + margin)
    axes.set_ylabel(f"minus {baseline.name}\n(thousandths of a nat)")


def _cells(measured: Measured, method: Method) -> list[dict[int, Result]]:
    """Seed -> result, for each budget that has any."""
    return [cell for budget in measured.facts.budgets if (cell := measured.cell(method, budget))]


def _is_one_run(cells: list[dict[int, Result]]) -> bool:
    """Whether the longest run's curve passes through the models of all smaller budgets."""
    longest = cells[-1]
    return all(
        Reading(result.step, result.tokens, result.loss) in longest[seed].curve
        for cell in cells[:-1]
        for seed, result in cell.items()
        if seed in longest
    )


def _mean_over_seeds(curves: list[tuple[Reading, ...]]) -> list[tuple[int, float]]:
    """(tokens, mean loss) at the positions that every curve has."""
    losses = [{reading.tokens: reading.loss for reading in curve} for curve in curves]
    common = sorted(set.intersection(*map(set, losses)))
    return [(tokens, fmean(each[tokens] for each in losses)) for tokens in common]


def _draw_rates(axes: Axes, measured: Measured, method: Method, look: _Look) -> None:
    """The learning rate of the longest run, or of every budget's; it is the same for all seeds."""
    cells = _cells(measured, method)
    one_run = _is_one_run(cells)
    for cell in cells[-1:] if one_run else cells:
        rates = next(iter(cell.values())).lrs
        axes.plot(*zip(*rates, strict=True), **look.line(), alpha=1 if one_run else 0.6)


def _ticks(measured: Measured, drawn: list[Method]) -> dict[str, int]:
    """Budget -> tokens of the baseline's models, or of the first method's."""
    reference = measured.baseline if measured.baseline in drawn else drawn[0]
    cells = {budget: measured.cell(reference, budget) for budget in measured.facts.budgets}
    return {budget: next(iter(cell.values())).tokens for budget, cell in cells.items() if cell}


def _set_losses(axes: Axes, measured: Measured, drawn: list[Method]) -> None:
    """Limits from the best loss at the last budget to the worst at the first: what comes before is cut off."""
    means = [
        [
            mean
            for method in drawn
            if math.isfinite(mean := interval(measured.losses(method, budget).values()).mean)
        ]
        for budget in measured.facts.budgets
    ]
    highest = max(next(filter(None, means), [1.0]))
    lowest = min(next(filter(None, reversed(means)), [0.0]))
    margin = 0.05 * (highest - lowest or 1.0)
    axes.set_ylim(lowest - margin, highest + margin)
    axes.set_ylabel("held-out loss\n(nats per token)")


def _set_tokens(axes: Axes, ticks: dict[str, int], furthest: int) -> None:
    """A logarithmic axis from a little before the first budget, with a tick at every budget."""
    axes.set_ylim(bottom=0)
    axes.set_ylabel("learning rate")
    axes.set_xlabel("budget, tokens")
    axes.set_xscale("log")
    axes.set_xlim(min(ticks.values()) / 1.6, furthest * 1.25)
    labels = [f"{budget}\n{short_count(tokens)}" for budget, tokens in ticks.items()]
    axes.set_xticks(list(ticks.values()), labels)
    axes.xaxis.set_minor_locator(NullLocator())
