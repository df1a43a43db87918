"""The figure of a probe: losses along lines, the plane, eigenvalues, and where moves go."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure

from riverrun.drawing import COLOURS, write_figure
from riverrun.landscape.probe.line import LineLosses
from riverrun.landscape.probe.measure import Probed, Sharpness
from riverrun.landscape.probe.move import Moved
from riverrun.landscape.probe.plane import PlaneLosses
from riverrun.landscape.probe.shape import difference

_PANEL = (3.2, 2.6)
_LEVELS = 20


def save_figure(path: Path, probed: Probed) -> None:
    """Draw and write the figure as PNG or SVG, by the suffix; the same probe gives the same bytes."""
    write_figure(path, lambda: draw(probed))


def draw(probed: Probed) -> Figure:
    """Up to six panels, two rows; what was left out of the probe has none."""
    panels = _panels(probed)
    columns = -(-len(panels) // 2)
    figure = Figure(figsize=(_PANEL[0] * columns, 2 * _PANEL[1]), layout="constrained")
    axes = list(figure.subplots(2, columns, squeeze=False).T.flat)
    for panel, draw_panel in zip(axes, panels, strict=False):
        draw_panel(panel)
    for left_over in axes[len(panels) :]:
        left_over.set_axis_off()
    return figure


def _panels(probed: Probed) -> list[Callable[[Axes], None]]:
    """Down the first column, then the next: lines, plane and eigenvalues, moves."""
    stable = [one for one in probed.lines if one.line.kind == "stable-stable"]
    others = [one for one in probed.lines if one.line.kind != "stable-stable"]
    panels: list[Callable[[Axes], None]] = [
        lambda axes: _draw_lines(axes, stable, "Between stable checkpoints")
    ]
    if others:
        end = "decayed" if probed.choice.decays else "averaged"
        panels.append(lambda axes: _draw_lines(axes, others, f"To {end} weights"))
    plane, sharpness = probed.plane, probed.sharpness
    if plane is not None:
        panels.append(lambda axes: _draw_plane(axes, plane))
    if sharpness is not None:
        panels.append(lambda axes: _draw_eigenvalues(axes, sharpness, probed.choice.origin.label))
    panels.append(lambda axes: _draw_speeds(axes, probed.moves))
    if sharpness is not None:
        panels.append(lambda axes: _draw_shares(axes, probed.moves, sharpness))
    return panels


def _draw_lines(axes: Axes, lines: Sequence[LineLosses], title: str) -> None:
    """Loss minus that of the first end, with bars of one paired standard error."""
    for colour, one in zip(COLOURS, lines, strict=False):
        against = [difference(one.losses[0], point) for point in one.losses]
        axes.errorbar(
            one.positions,
            [1000 * point.mean for point in against],
            yerr=[1000 * point.error for point in against],
            color=colour,
            marker="o",
            markersize=3,
            linewidth=1.2,
            capsize=2,
            elinewidth=0.8,
            label=one.line.label,
        )
    axes.axhline(0, color="#7F7F7F", linewidth=0.6)
    _set_title(axes, f"{title}, {lines[0].tokens:,} tokens")
    axes.set_xlabel("position on the line")
    axes.set_ylabel("loss - that at 0, 1/1000 nat")
    _put_legend_below(axes, columns=1)


def _draw_plane(axes: Axes, plane: PlaneLosses) -> None:
    """Contours over distances in the plane, dense where the loss is low: the banks would take most of even ones."""
    x, y = np.meshgrid(plane.coordinates, plane.coordinates)
    across, along = plane.drawn_at(x, y)
    lowest, highest = float(plane.losses.min()), float(plane.losses.max())
    levels = lowest + (highest - lowest) * np.linspace(0, 1, _LEVELS + 1) ** 2
    filled = axes.contourf(
        across, along, plane.losses, levels=levels, cmap="viridis_r", norm=PowerNorm(0.5, lowest, highest)
    )
    corners = plane.corners
    for place, at_x, at_y, mark in (
        (corners.origin, 0.0, 0.0, "o"),
        (corners.first, 1.0, 0.0, "s"),
        (corners.second, 0.0, 1.0, "^"),
    ):
        point = plane.drawn_at(np.array([at_x]), np.array([at_y]))
        axes.plot(*point, mark, color=COLOURS[1], markeredgecolor="white", markersize=7, label=place.label)
    axes.grid(visible=False)
    _set_title(axes, f"Loss over a plane, {plane.tokens:,} tokens")
    axes.set_xlabel("distance towards the second place")
    axes.set_ylabel("distance across")
    _put_legend_below(axes, columns=2)
    axes.figure.colorbar(filled, ax=axes, ticks=levels[[0, 6, 10, 14, 17, 20]], format="%.2f")


def _draw_eigenvalues(axes: Axes, sharpness: Sharpness, where: str) -> None:
    pairs = sharpness.eigenpairs
    numbers = np.arange(1, len(pairs.values) + 1)
    axes.errorbar(numbers, pairs.values, yerr=pairs.residuals, fmt="o", color=COLOURS[0], capsize=2)
    axes.set_ylim(0, 1.1 * float(pairs.values.max()))
    axes.set_xticks(numbers)
    _set_title(axes, f"Hessian at {where}, {sharpness.tokens:,} tokens")
    axes.set_xlabel("number")
    axes.set_ylabel("eigenvalue")


def _draw_speeds(axes: Axes, moves: Sequence[Moved]) -> None:
    drawn = [one for one in moves if one.speed is not None]
    _draw_bars(axes, drawn, [one.speed or 0.0 for one in drawn])
    axes.axvline(0, color="#7F7F7F", linewidth=0.6)
    _set_title(axes, "Along the river / summed LR")


def _draw_shares(axes: Axes, moves: Sequence[Moved], sharpness: Sharpness) -> None:
    _draw_bars(axes, moves, [one.share or 0.0 for one in moves])
    axes.set_xscale("log")
    axes.axvline(sharpness.random_share, color="black", linewidth=1, label="a random direction")
    count = len(sharpness.eigenpairs.values)
    _set_title(axes, f"Share in {count} eigenvectors")
    _put_legend_below(axes, columns=1)


def _set_title(axes: Axes, title: str) -> None:
    axes.set_title(title, fontsize=8)


def _put_legend_below(axes: Axes, columns: int) -> None:
    axes.legend(fontsize=6.5, loc="upper center", bbox_to_anchor=(0.5, -0.26), ncols=columns, frameon=False)


def _draw_bars(axes: Axes, moves: Sequence[Moved], values: Sequence[float]) -> None:
    """Horizontal bars from the top down, one colour for each thing that moved."""
    kinds = list(dict.fromkeys(one.move.what for one in moves))
    colours = [COLOURS[kinds.index(one.move.what)] for one in moves]
    axes.barh(range(len(moves)), values, color=colours)
    axes.set_yticks(range(len(moves)), [_short(one) for one in moves], fontsize=7)
    axes.invert_yaxis()
    axes.grid(axis="y", visible=False)


def _short(one: Moved) -> str:
    """The move without its readouts: "decay 6,163 to 7,125"."""
    move = one.move
    if move.first.step == move.last.step:
        return f"{move.what} {move.first.step:,}"
    return f"{move.what} {move.first.step:,} to {move.last.step:,}"
