"""The figure of a bigram view: losses by kind of context, shares of the progress, traces, top curvatures."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from riverrun.drawing import COLOURS, write_figure
from riverrun.landscape.bigram_formulas import remaining_certain, stationary_uncertain
from riverrun.landscape.bigram_tables import progress
from riverrun.landscape.bigram_view import BigramView

_CERTAIN, _UNCERTAIN = COLOURS[0], COLOURS[1]
_FORMULA = "#333333"


def save_bigram_figure(path: Path, view: BigramView) -> None:
    """Draw and write the figure as PNG or SVG, by the suffix; the same view gives the same bytes."""
    write_figure(path, lambda: draw_bigrams(view))


def draw_bigrams(view: BigramView) -> Figure:
    """Four panels."""
    figure = Figure(figsize=(9.6, 6.6), layout="constrained")
    (losses, shares), (traces, top) = figure.subplots(2, 2, width_ratios=(1.3, 1))
    _draw_losses(losses, view)
    _draw_shares(shares, view)
    _draw_traces(traces, view)
    _draw_top(top, view)
    return figure


def _draw_losses(axes: Axes, view: BigramView) -> None:
    """WSD as solid lines, a constant rate as dashed ones, the two formulas for the constant rate as dotted ones."""
    for kind, training, style in (("WSD", view.decayed, "-"), ("constant", view.constant, "--")):
        axes.plot(
            training.steps,
            training.uncertain,
            style,
            color=_UNCERTAIN,
            linewidth=1.4,
            label=f"uncertain, {kind}",
        )
        axes.plot(
            training.steps,
            training.certain,
            style,
            color=_CERTAIN,
            linewidth=1.4,
            label=f"certain, {kind}",
        )
    peak = float(view.rates.max())
    steps = view.constant.steps[view.constant.steps >= view.early]
    axes.plot(
        steps,
        [remaining_certain(view.bigrams, peak * float(step)) for step in steps],
        ":",
        color=_FORMULA,
        linewidth=1,
    )
    level = stationary_uncertain(view.bigrams, peak)
    axes.plot(steps[[0, -1]], [level, level], ":", color=_FORMULA, linewidth=1, label="formulas, constant")
    axes.axvline(view.stable_end, color="#7F7F7F", linewidth=0.6)
    axes.set_yscale("log")
    axes.set_title("Loss above the entropy, tabular model")
    axes.set_xlabel("step")
    axes.set_ylabel("excess loss, nats")
    axes.legend(fontsize=7, ncols=3, columnspacing=1)


def _draw_shares(axes: Axes, view: BigramView) -> None:
    """Of how far the loss fell in each stretch, the part of each kind; a loss that rose has no part."""
    rows = progress(view)
    places = np.arange(len(rows))[::-1]
    certain = np.array([max(row["certain"], 0.0) for row in rows])
    uncertain = np.array([max(row["uncertain"], 0.0) for row in rows])
    total = np.maximum(certain + uncertain, 1e-300)
    axes.barh(places, 100 * certain / total, color=_CERTAIN, label="certain")
    axes.barh(
        places, 100 * uncertain / total, left=100 * certain / total, color=_UNCERTAIN, label="uncertain"
    )
    labels = [f"{row['model']}, {row['stretch']}\n{row['from']:,} to {row['to']:,}" for row in rows]
    axes.set_yticks(places, labels, fontsize=7)
    axes.set_ylim(top=len(rows) + 0.1)
    axes.set_xlim(0, 100)
    axes.grid(visible=False)
    axes.set_title("Who makes the progress under WSD")
    axes.set_xlabel("% of the fall of the loss")
    axes.legend(fontsize=7, ncols=2, loc="upper center")


def _draw_traces(axes: Axes, view: BigramView) -> None:
    steps = list(view.traces)
    uncertain, certain = np.array(list(view.traces.values())).T
    axes.plot(steps, uncertain, color=_UNCERTAIN, linewidth=1.4, label="uncertain rows")
    axes.plot(steps, certain, color=_CERTAIN, linewidth=1.4, label="certain rows")
    axes.axvline(view.stable_end, color="#7F7F7F", linewidth=0.6)
    axes.set_yscale("log")
    axes.set_title("Trace of the Hessian, tabular model")
    axes.set_xlabel("step")
    axes.set_ylabel("trace")
    axes.legend(fontsize=7)


def _draw_top(axes: Axes, view: BigramView) -> None:
    ranks = np.arange(1, len(view.top.eigenvalues) + 1)
    certain = view.top.eigenvalues - view.top.uncertain
    axes.bar(ranks, view.top.uncertain, color=_UNCERTAIN, label="from uncertain contexts")
    axes.bar(ranks, certain, bottom=view.top.uncertain, color=_CERTAIN, label="from certain contexts")
    axes.set_title("Largest curvatures, embedding model")
    axes.set_xticks(ranks)
    axes.set_xlabel("eigenvalue of the Hessian at the stable end, by size")
    axes.set_ylabel("eigenvalue")
    axes.legend(fontsize=7)
