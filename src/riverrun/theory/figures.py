"""The figures of the theory lab."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from riverrun.drawing import COLOURS
from riverrun.theory import rates
from riverrun.theory.comparison import Comparison
from riverrun.theory.figure3 import CHECKPOINTS, Panel
from riverrun.theory.slopes import Slopes


def draw_rates(capacity: float, source: float, found: Slopes) -> Figure:
    """Measured exponents over the predicted ones, averaged and last; both best gammas, and the minimax exponent."""
    figure = Figure(figsize=(5.4, 3.6), layout="constrained")
    axes = figure.subplots()
    fine = np.linspace(0, max(found.gammas), 400)
    for colour, name, law, measured in (
        (COLOURS[0], "average of the last half", rates.averaged_exponent, found.averaged),
        (COLOURS[1], "last iterate", rates.last_exponent, found.last),
    ):
        axes.plot(
            fine, [law(capacity, source, gamma) for gamma in fine], color=colour, label=f"{name}, predicted"
        )
        axes.plot(found.gammas, measured, "o", color=colour, markersize=4.5, label="measured")
    axes.axhline(
        rates.minimax_exponent(capacity, source), color="black", linewidth=1, label="minimax, (b-1)/b"
    )
    best, published = rates.best_gamma(capacity, source), rates.published_best_gamma(capacity, source)
    axes.axvline(best, color=COLOURS[2], linestyle="--", linewidth=1, label=f"best gamma {best:.3g}")
    if published != best:
        axes.axvline(
            published,
            color=COLOURS[6],
            linestyle=":",
            linewidth=1.2,
            label=f"published, 1 - a/b = {published:.3g}",
        )
    axes.set_xlabel("gamma, of a learning rate t^-gamma")
    axes.set_ylabel("exponent of the excess risk")
    axes.set_title(f"a = {capacity:g}, b = {source:g}, T from 2^32 to 2^44", fontsize=9)
    axes.set_ylim(bottom=-0.02)
    figure.legend(loc="outside right upper", frameon=False, fontsize=8)
    return figure


def draw_comparison(compared: Comparison) -> Figure:
    """Risk over the lower bound against the horizon: a colour for each schedule, dashed where tuned per horizon."""
    figure = Figure(figsize=(7.2, 4.2), layout="constrained")
    axes = figure.subplots()
    names = [method.name.partition(" + ")[0] for method in compared.methods]
    numbers = {name: number for number, name in enumerate(dict.fromkeys(names))}
    for name, method in zip(names, compared.methods, strict=True):
        colour, averaged = COLOURS[numbers[name]], name != method.name
        axes.plot(
            compared.horizons,
            method.risks / compared.bound,
            linestyle="-" if method.tuned == "once" else "--",
            label=f"{method.name}, {method.tuned}",
            color=colour,
            marker="osv^DP"[numbers[name]],
            markersize=4.5,
            markerfacecolor=colour if averaged or method.tuned == "per horizon" else "white",
        )
    axes.axhline(1, color="black", linewidth=1, label="lower bound")
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    _plain_ticks(axes, (1, 1.5, 2, 3, 5, 10, 20, 50))
    axes.set_xlabel("updates")
    axes.set_ylabel("excess risk over the lower bound")
    figure.legend(loc="outside right upper", frameon=False, fontsize=8, title="method, LR tuned")
    return figure


def draw_figure3(panels: Sequence[Panel]) -> Figure:
    """Excess risks at the checkpoints, a panel for each spectrum."""
    columns = len(panels) // 2
    figure = Figure(figsize=(2.6 * columns, 5.4), layout="constrained")
    for axes, panel in zip(figure.subplots(2, columns, sharex=True).T.ravel(), panels, strict=True):
        for number, (name, risks) in enumerate(panel.risks.items()):
            # An average and its last iterates share a colour.
            colour = COLOURS[number // 2]
            line = ":" if name in ("constant", "1/sqrt(t)") else "-"
            axes.plot(CHECKPOINTS, risks, line, marker="o", markersize=3, color=colour, label=name)
        axes.plot(CHECKPOINTS, panel.bound, color="black", linewidth=1, label="lower bound")
        axes.set_title(f"a = {panel.capacity:g}, b = {panel.source:g}", fontsize=9)
        if axes.get_subplotspec().is_last_row():
            axes.set_xlabel("updates")
        axes.set_xscale("log")
        axes.set_yscale("log")
    handles, labels = axes.get_legend_handles_labels()
    figure.supylabel("excess risk", fontsize=9)
    figure.legend(handles, labels, loc="outside lower center", ncols=3, frameon=False, fontsize=8)
    return figure


def _plain_ticks(axes: Axes, values: Sequence[float]) -> None:
    low, high = axes.get_ylim()
    shown = [value for value in values if low <= value <= high]
    axes.set_yticks(shown, [f"{value:g}" for value in shown])
    axes.minorticks_off()
