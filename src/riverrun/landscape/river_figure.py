"""The figure of a river view: one path, learning rates, losses over the river, lines between checkpoints."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from riverrun.drawing import COLOURS, write_figure
from riverrun.landscape.river_view import SHARES, RiverView
from riverrun.landscape.valley import Points

_BED = "#333333"


def save_river_figure(path: Path, view: RiverView) -> None:
    """Draw and write the figure as PNG or SVG, by the suffix; the same view gives the same bytes."""
    write_figure(path, lambda: draw_river(view))


def draw_river(view: RiverView) -> Figure:
    """Four panels."""
    figure = Figure(figsize=(7.6, 5.1), layout="constrained")
    (path, rates), (losses, lines) = figure.subplots(2, 2, width_ratios=(1.3, 1))
    _draw_path(path, view)
    _draw_rates(rates, view)
    _draw_losses(losses, view)
    _draw_lines(lines, view)
    return figure


def _draw_path(axes: Axes, view: RiverView) -> None:
    """The stable phase and the decay of one run, over contours of the loss."""
    (left, bottom), (right, top) = view.path.min(axis=0), view.path.max(axis=0)
    margin = 0.15 * (top - bottom)
    across = np.linspace(left, right, 241)
    up = np.linspace(bottom - margin, top + margin, 161)
    grid_x, grid_y = np.meshgrid(across, up)
    losses = view.plane.loss(Points(grid_x.ravel(), grid_y.reshape(-1, 1))).reshape(grid_x.shape)
    # The colours reach far below the least loss, so that the valley's floor is a light grey.
    darkest = losses.min() - 2 * (losses.max() - losses.min())
    axes.contourf(
        across, up, losses, levels=9, antialiased=False, cmap="Greys_r", vmin=darkest, vmax=losses.max()
    )
    bed = -view.plane.above_bed(Points(across, np.zeros((len(across), 1))))[:, 0]
    shown = np.append(np.arange(0, view.steps - 1, _stride(view, 200)), view.steps - 1)
    decaying = int(np.searchsorted(shown, view.stable_end - 1))
    stable, decay = view.path[shown[: decaying + 1]], view.path[shown[decaying:]]
    axes.plot(*stable.T, color=COLOURS[5], linewidth=0.6, label="stable phase")
    axes.plot(*decay.T, color=COLOURS[1], linewidth=0.8, label="decay")
    axes.plot(across, bed, color=_BED, linewidth=1, linestyle="--", label="river")
    axes.plot(
        *view.path[-1],
        color=COLOURS[1],
        marker="o",
        markersize=7,
        markeredgecolor="white",
        linestyle="",
        label="end",
    )
    axes.set_title(f"One WSD run in the plane, every {_stride(view, 200)} steps")
    axes.set_xlabel("x, along the river")
    axes.set_ylabel("y, across it")
    axes.grid(visible=False)
    axes.legend(loc="lower left", fontsize=7)


def _draw_rates(axes: Axes, view: RiverView) -> None:
    steps = np.arange(1, view.steps + 1)
    for colour, (name, ride) in zip(COLOURS, view.rides.items(), strict=False):
        axes.plot(steps, ride.rates, color=colour, linewidth=1.2, label=name)
    axes.set_title("Learning rates")
    axes.set_xlabel("step")
    axes.set_ylabel("learning rate")
    axes.set_ylim(bottom=0, top=1.3 * max(ride.rates.max() for ride in view.rides.values()))
    axes.legend(loc="upper center", ncols=4, fontsize=6, columnspacing=1, handlelength=1)


def _draw_losses(axes: Axes, view: RiverView) -> None:
    """Losses as lines, the river below each as a dashed line of its colour: between them is the elevation."""
    ends = np.append(view.budgets, view.stable_end)
    steps = np.union1d(np.arange(1, view.steps + 1, _stride(view, 200)), np.concatenate([ends, ends[:2] + 1]))
    for colour, (name, ride) in zip(COLOURS, view.rides.items(), strict=False):
        axes.plot(steps, ride.descent.loss[steps - 1], color=colour, linewidth=1.2, label=name)
        axes.plot(steps, ride.descent.river[steps - 1], color=colour, linewidth=0.9, linestyle="--")
    axes.plot([], [], color=_BED, linewidth=0.9, linestyle="--", label="river below")
    axes.set_title("Loss and the river below it, 40 hills")
    axes.set_xlabel("step")
    axes.set_ylabel("mean loss")
    axes.legend(fontsize=7)


def _draw_lines(axes: Axes, view: RiverView) -> None:
    for colour, (name, line) in zip(COLOURS[1:], view.lines.items(), strict=False):
        label = f"{name}, steps {line.start:,} to {line.end:,}"
        axes.plot(SHARES, line.losses, color=colour, linewidth=1.4, label=label)
        axes.plot(SHARES[[0, -1]], line.losses[[0, -1]], color=colour, marker="o", markersize=4, linestyle="")
    axes.set_title("Between WSD checkpoints, 40 hills")
    axes.set_xlabel("position on the line (0 first, 1 last)")
    axes.set_ylabel("mean loss")
    axes.margins(y=0.3)
    axes.legend(fontsize=6.5, loc="lower left")


def _stride(view: RiverView, points: int) -> int:
    """Steps between two points of a line that has about so many: more would only make it thick."""
    return max(1, view.steps // points)
