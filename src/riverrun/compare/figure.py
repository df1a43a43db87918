"""The figure of a comparison: held-out loss against tokens, differences to the baseline, learning rates."""

from __future__ import annotations

import math
from pathlib import Path
from statistics import fmean, median

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.markers import CARETDOWN, CARETUP
from matplotlib.ticker import NullLocator

from riverrun.compare.intervals import Interval, interval
from riverrun.compare.looks import BASELINE, Group, Look, draw_legend, looks_of
from riverrun.compare.measured import Measured
from riverrun.compare.plan import ANYTIME
from riverrun.compare.results import Method, Reading, Result
from riverrun.drawing import write_figure
from riverrun.units import short_count


def save_figure(path: Path, measured: Measured) -> None:
    """Draw and write the figure as PNG or SVG, by the suffix; the same results give the same bytes.

    Raises:
        ValueError: another suffix, or nothing to draw.
    """
    write_figure(path, lambda: draw(measured))


def draw(measured: Measured) -> Figure:
    """Three panels over the same tokens: losses, paired differences to the baseline, learning rates.

    Losses fall by far more than methods differ by, so the differences have the largest panel.
    Without a baseline there are no differences.

    Raises:
        ValueError: nothing was chosen, so there is nothing to draw.
    """
    drawn = drawn_methods(measured)
    if not drawn:
        raise ValueError("the comparison has no results to draw")
    looks = looks_of(measured, drawn)
    heights = (2.4, 3, 1.2) if measured.baseline in drawn else (3, 1.2)
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
    _set_tokens(panels[-1], ticks, furthest * math.exp(_width(ticks) / 2) * 1.05)
    figure.align_ylabels()
    draw_legend(figure, looks)
    return figure


def drawn_methods(measured: Measured) -> list[Method]:
    """What every arm trains, and the best average, on the windows to choose by, of the horizon-free ones."""
    averages = [measured.best_average(arm) for arm in measured.arms(*ANYTIME)]
    return [
        method
        for method in measured.methods
        if (method.plain or method in averages) and _cells(measured, method)
    ]


def _draw_losses(axes: Axes, measured: Measured, method: Method, look: Look) -> None:
    """A line through one run, or a faint line per budget, their ends joined; markers at budgets."""
    cells = _cells(measured, method)
    ends = [fmean(result.tokens for result in cell.values()) for cell in cells]
    means = [interval(result.loss for result in cell.values()).mean for cell in cells]
    one_run = _is_one_run(cells)
    for cell in cells[-1:] if one_run else cells:
        curve = _mean_over_seeds([result.curve for result in cell.values()])
        faint = {} if one_run else {"linestyle": "-", "linewidth": 0.7, "alpha": 0.45}
        axes.plot(*zip(*curve, strict=True), **look.line() | faint)
    axes.plot(ends, means, **look.line() | ({"linestyle": ""} if one_run else {}), **look.mark())


def _draw_differences(
    axes: Axes,
    measured: Measured,
    baseline: Method,
    drawn: list[Method],
    looks: dict[str, Look],
    ticks: dict[str, int],
) -> None:
    """Paired differences to the baseline with 95% intervals, methods side by side at every budget, group by group."""
    axes.axhline(0, color=BASELINE, linewidth=1)
    groups = list(Group)
    others = sorted(
        (method for method in drawn if method is not baseline),
        key=lambda method: groups.index(looks[method.name].group),
    )
    found = [[measured.difference(method, baseline, budget) for budget in ticks] for method in others]
    low, high = _set_differences(axes, [each for row in found for each in row])
    for place, method, row in zip(_places(_width(ticks), len(others)), others, found, strict=True):
        at = [tokens * math.exp(place) for tokens in ticks.values()]
        centre = [1000 * each.mean for each in row]
        half = [1000 * each.half_width if math.isfinite(each.half_width) else 0.0 for each in row]
        look = looks[method.name]
        axes.plot(at, centre, **look.line(), alpha=0.35)
        axes.errorbar(at, centre, half, linestyle="", ecolor=look.colour, elinewidth=1, **look.mark())
        for position, each, reach in zip(at, centre, half, strict=True):
            if each - reach < low:
                axes.plot(position, low, marker=CARETDOWN, markersize=6, color=look.colour)
            if each + reach > high:
                axes.plot(position, high, marker=CARETUP, markersize=6, color=look.colour)
    tolerance = 1000 * measured.facts.tolerance
    axes.axhline(tolerance, color=BASELINE, linewidth=0.7, linestyle=(0, (1, 3)))
    axes.annotate(
        "tolerance",
        (1, tolerance),
        (-2, 2),
        xycoords=axes.get_yaxis_transform(),
        textcoords="offset points",
        ha="right",
        fontsize=7,
        annotation_clip=True,
    )
    axes.set_ylabel(f"minus {baseline.name}\n(thousandths of a nat)")


def _set_differences(axes: Axes, differences: list[Interval]) -> tuple[float, float]:
    """Limits that hold every mean and, as far as they are no wider than the median one, the intervals.

    An interval of two seeds may be a hundred times wider than what the means differ by; it is cut off.
    """
    widths = [1000 * each.half_width for each in differences if math.isfinite(each.half_width)]
    usual = median(widths) if widths else 0.0
    means = [1000 * each.mean for each in differences if math.isfinite(each.mean)]
    low, high = min([0.0, *means]) - usual, max([0.0, *means]) + usual
    margin = 0.05 * (high - low or 1.0)
    axes.set_ylim(low - margin, high + margin)
    return low - margin, high + margin


def _width(ticks: dict[str, int]) -> float:
    """The space that all methods take side by side at one budget, in logarithms of tokens."""
    gaps = np.diff(np.log(list(ticks.values())))
    return 0.35 * float(gaps.min(initial=math.log(2)))


def _places(width: float, count: int) -> list[float]:
    return list(np.linspace(-width, width, count + 2)[1:-1] / 2)


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


def _draw_rates(axes: Axes, measured: Measured, method: Method, look: Look) -> None:
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


def _set_tokens(axes: Axes, ticks: dict[str, int], furthest: float) -> None:
    """A logarithmic axis from a little before the first budget to `furthest`, with a tick at every budget."""
    axes.set_ylim(bottom=0)
    axes.set_ylabel("learning rate")
    axes.set_xlabel("budget, tokens")
    axes.set_xscale("log")
    axes.set_xlim(min(ticks.values()) / 1.6, furthest)
    labels = [f"{budget}\n{short_count(tokens)}" for budget, tokens in ticks.items()]
    axes.set_xticks(list(ticks.values()), labels)
    axes.xaxis.set_minor_locator(NullLocator())
