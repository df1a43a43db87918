"""The figure of a page: held-out losses of all nodes and the envelope, and the learning rates below them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from riverrun.drawing import COLOURS, write_figure
from riverrun.report.schema import Curve, Node, Page
from riverrun.units import short_count

_RAW = "#4D4D4D"
_ENVELOPE = "black"
_AVERAGES, _BRANCHES = COLOURS[:3], COLOURS[3:]
_NAMED = 6
"""As many branches have a colour and a name; more are drawn alike."""
_MARKERS = ("s", "^", "v", "P", "X", "D")
"""So that black on white tells branches apart as colours do."""
_LINES = ("-", (0, (6, 1.5)), (0, (4, 1.2, 1, 1.2)))
_TRAINING_LOSS, _RAW_LOSS = "loss/train", "loss/raw"

Points = list[tuple[int, float]]


def save_figure(path: Path, page: Page) -> None:
    """Draw and write the figure as PNG or SVG, by the suffix; the same facts give the same bytes.

    Raises:
        ValueError: another suffix, or nothing to draw.
    """
    write_figure(path, lambda: draw(page))


def draw(page: Page) -> Figure:
    """Two panels over the same tokens: losses in nats per token, learning rates.

    The trunk's raw loss and its best averages, each branch from where it began, each merge as a point, and the best
    model at each budget as steps; before the first readout, the training loss. What lies before that is cut off.

    Raises:
        ValueError: no loss is recorded yet.
    """
    trained = [node for node in page["nodes"] if node["kind"] != "merge"]
    drawn = [tokens for node in trained for key, curve in _losses(node) for tokens, _ in _points(curve)]
    if not drawn:
        raise ValueError("no loss is recorded yet, so there is nothing to draw")
    figure = Figure(figsize=(7.2, 5.6), layout="constrained")
    losses, rates = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    branches = [node for node in trained if node["kind"] == "branch"]
    for node in trained:
        if node["kind"] == "trunk":
            _draw_trunk(losses, rates, node)
    by_name = {node["id"]: node for node in trained}
    for number, node in enumerate(branches):
        _draw_branch(losses, rates, node, by_name, _look(number, node, len(branches)))
    _draw_merges(losses, [node for node in page["nodes"] if node["kind"] == "merge"])
    _draw_envelope(losses, page, max(drawn))
    _set_axes(losses, rates, page, min(drawn), max(drawn))
    figure.align_ylabels()
    figure.legend(loc="outside lower center", ncols=3, frameon=False, fontsize=8)
    return figure


def _points(curve: Curve | None) -> Points:
    """(tokens, value) where there is one, in order."""
    if curve is None:
        return []
    pairs = zip(curve["tokens"], curve["values"], strict=True)
    return [(tokens, value) for tokens, value in pairs if value is not None]


def _losses(node: Node) -> Iterator[tuple[str, Curve]]:
    return ((key, curve) for key, curve in node["curves"].items() if key.startswith("loss/"))


def _averages(node: Node) -> list[tuple[str, Points]]:
    """(name, points) of its averages, the lowest at their last readout first."""
    named = [
        (key.removeprefix("loss/"), _points(curve))
        for key, curve in _losses(node)
        if key not in (_TRAINING_LOSS, _RAW_LOSS)
    ]
    return sorted((each for each in named if each[1]), key=lambda each: (each[1][-1][1], each[0]))


def _draw_trunk(losses: Axes, rates: Axes, node: Node) -> None:
    raw = _points(node["curves"].get(_RAW_LOSS))
    averages = _averages(node)
    if not raw and not averages:
        _plot(losses, _points(node["curves"].get(_TRAINING_LOSS)), color=_RAW, label="training loss")
    _plot(losses, raw, color=_RAW, marker="o", label=f"{node['id']}, raw")
    looks = zip(_AVERAGES, _LINES, strict=True)
    for (colour, line), (name, points) in zip(looks, averages, strict=False):
        _plot(losses, points, color=colour, linestyle=line, marker="o", label=f"{node['id']}, {name}")
    _plot(rates, _points(node["curves"].get("lr")), color=_RAW)


def _draw_branch(losses: Axes, rates: Axes, node: Node, nodes: dict[str, Node], look: dict[str, Any]) -> None:
    """The raw loss, joined to its parent's line where it forked; its averages are in the page."""
    points = _points(node["curves"].get(_RAW_LOSS))
    _plot(losses, [*_fork(node, nodes), *points] if points else [], markevery=[-1], zorder=3, **look)
    _plot(rates, _points(node["curves"].get("lr")), color=look["color"])


def _fork(node: Node, nodes: dict[str, Node]) -> Points:
    """The place on the parent's line, as it is drawn over the logarithm of tokens; none where that has no line."""
    fork = node["fork"]
    parent = nodes.get(fork["node"]) if fork else None
    points = _points(parent["curves"].get(_RAW_LOSS)) if parent else []
    if fork is None or not points or not points[0][0] <= fork["tokens"] <= points[-1][0]:
        return []
    tokens, values = zip(*points, strict=True)
    return [(fork["tokens"], float(np.interp(np.log(fork["tokens"]), np.log(tokens), values)))]


def _look(number: int, branch: Node, count: int) -> dict[str, Any]:
    if count > _NAMED:
        return {"color": _BRANCHES[0], "marker": "s", "label": "" if number else f"{count} branches"}
    return {"color": _BRANCHES[number], "marker": _MARKERS[number], "label": branch["id"]}


def _draw_merges(axes: Axes, merges: list[Node]) -> None:
    points = [(node["best"]["tokens"], node["best"]["loss"]) for node in merges if node["best"]]
    _plot(axes, points, color="black", linestyle="", marker="*", markersize=9, label="merges", zorder=4)


def _draw_envelope(axes: Axes, page: Page, furthest: int) -> None:
    points = [(point["readout"]["cost"], point["readout"]["loss"]) for point in page["envelope"]]
    if points:
        points.append((max(furthest, points[-1][0]), points[-1][1]))
    look: dict[str, Any] = {
        "color": _ENVELOPE,
        "linewidth": 0.9,
        "linestyle": (0, (1, 1.5)),
        "drawstyle": "steps-post",
    }
    _plot(axes, points, label="best model at each budget", zorder=2.5, **look)


def _plot(axes: Axes, points: Points, **look: Any) -> None:
    """A line; what has no points has no name in the legend either."""
    if points:
        usual: dict[str, Any] = {
            "linewidth": 1.3,
            "markersize": 3.5,
            "markeredgecolor": "white",
            "markeredgewidth": 0.5,
        }
        axes.plot(*zip(*points, strict=True), **usual | look)


def _set_axes(losses: Axes, rates: Axes, page: Page, first: int, last: int) -> None:
    """From a little before the first readout; losses from the lowest readout to the highest."""
    shown = [
        point
        for node in page["nodes"]
        for key, curve in _losses(node)
        if key != _TRAINING_LOSS
        for point in _points(curve)
    ]
    shown += [(node["best"]["tokens"], node["best"]["loss"]) for node in page["nodes"] if node["best"]]
    if shown:
        first, last = min(shown)[0], max(last, max(shown)[0])
        low, high = min(loss for _, loss in shown), max(loss for _, loss in shown)
        margin = 0.05 * (high - low or 1.0)
        losses.set_ylim(low - margin, high + margin)
    losses.set_ylabel(f"{'held-out' if shown else 'training'} loss\n(nats per token)")
    rates.set_ylabel("learning rate")
    rates.set_ylim(bottom=0)
    rates.set_xlabel("tokens")
    rates.set_xscale("log")
    rates.set_xlim(max(first, 1) / 1.1, last * 1.1)
    rates.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0) if last < 200 * max(first, 1) else (1.0,)))
    rates.xaxis.set_major_formatter(FuncFormatter(lambda value, _: short_count(value)))
    rates.xaxis.set_minor_locator(NullLocator())
