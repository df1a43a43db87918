"""The tables of a comparison: losses, paired differences to the baseline, settings, costs."""

from __future__ import annotations

import math
from collections.abc import Iterable
from statistics import fmean

from riverrun.compare import footnotes
from riverrun.compare.footnotes import EDGE, setting_value
from riverrun.compare.intervals import Interval, in_mnats, interval
from riverrun.compare.measured import Measured
from riverrun.compare.results import Method
from riverrun.grid import Grid
from riverrun.units import short_count


def grids(measured: Measured) -> list[Grid]:
    """All tables in the order to read them; without a baseline there are no differences."""
    differences = [difference_grid(measured)] if measured.baseline else []
    return [loss_grid(measured), *differences, settings_grid(measured), cost_grid(measured)]


def loss_grid(measured: Measured) -> Grid:
    """Mean loss over seeds and half the width of its interval, by method and budget; the best is marked.

    Its notes tell what weakens the numbers: settings at an end of their sweep, losses that are not finite,
    methods without a choice, budgets with one seed.
    """
    cells = [
        [interval(measured.losses(method, budget).values()) for budget in measured.facts.budgets]
        for method in measured.methods
    ]
    return Grid(
        title="Held-out loss, nats per token",
        headings=("method", *measured.facts.budgets),
        rows=tuple(
            (
                method.name
                + ("" if method.per_budget else _mark(measured, method, measured.facts.budgets[0])),
                *(
                    _loss(cell) + (_mark(measured, method, budget) if method.per_budget else "")
                    for cell, budget in zip(row, measured.facts.budgets, strict=True)
                ),
            )
            for method, row in zip(measured.methods, cells, strict=True)
        ),
        marked=_best([[cell.mean for cell in row] for row in cells]),
        notes=(
            "Mean over seeds ± half of the 95% interval (Student's t).",
            *footnotes.edges(measured),
            *footnotes.single_seeds(measured),
            *footnotes.not_finite(measured),
            *footnotes.not_chosen(measured),
        ),
    )


def difference_grid(measured: Measured) -> Grid:
    """Paired difference to the baseline in thousandths of a nat, by method and budget; the best is marked."""
    baseline = measured.baseline
    if baseline is None:
        raise ValueError("difference_grid: the comparison has no baseline")
    others = [method for method in measured.methods if method is not baseline]
    cells = [
        [measured.difference(method, baseline, budget) for budget in measured.facts.budgets]
        for method in others
    ]
    return Grid(
        title=f"Difference to {baseline.name}, thousandths of a nat",
        headings=("method", *measured.facts.budgets),
        rows=tuple((method.name, *map(in_mnats, row)) for method, row in zip(others, cells, strict=True)),
        marked=_best([[cell.mean for cell in row] for row in cells]),
        notes=(
            "Paired by seed, ± half of the 95% interval; below zero is better.",
            *footnotes.unequal_tokens(measured, baseline, others),
        ),
    )


def settings_grid(measured: Measured) -> Grid:
    """Chosen settings, the mean LR that they gave, seeds; by budget where these differ."""
    settings = list(dict.fromkeys(setting for choice in measured.choices for setting, _ in choice.point))
    rows = []
    for method in measured.methods:
        cells = [list(measured.cell(method, budget).values()) for budget in measured.facts.budgets]
        rows.append(
            (
                method.name,
                *(_chosen_values(measured, method, setting) for setting in settings),
                _by_budget(f"{fmean(r.mean_lr for r in cell):.2g}" if cell else "-" for cell in cells),
                _by_budget(str(len(cell)) for cell in cells),
            )
        )
    return Grid(
        title=f"Settings chosen, by budget: {', '.join(measured.facts.budgets)}",
        headings=("method", *(_heading(name) for name in settings), "mean LR", "seeds"),
        rows=tuple(rows),
        notes=(footnotes.chosen_on(measured),),
    )


def cost_grid(measured: Measured) -> Grid:
    """Tokens of each model, and of all so far where those are more, by budget; arms that cost the same share a row."""
    costs = {
        (r.method, r.budget): (short_count(r.tokens), short_count(r.total_tokens)) for r in measured.results
    }
    arms: dict[tuple[str, ...], list[str]] = {}
    for method in measured.methods:
        found = [costs.get((method.name, budget), ("-", "-")) for budget in measured.facts.budgets]
        row = tuple(own if own == total else f"{own} / {total}" for own, total in found)
        if method.arm not in arms.setdefault(row, []):
            arms[row].append(method.arm)
    return Grid(
        title="Tokens of one model / of the models of all budgets so far",
        headings=("arms", *measured.facts.budgets),
        rows=tuple((", ".join(names), *row) for row, names in arms.items()),
        notes=(
            "Counted from the first step, stretches that models share once; one number where both are the same.",
        ),
    )


def _heading(setting: str) -> str:
    """The last part of a setting's path, for headings: "optimizer.peak_lr" -> "peak LR"."""
    return "peak LR" if setting == "optimizer.peak_lr" else setting.rpartition(".")[2]


def _loss(cell: Interval) -> str:
    if math.isnan(cell.mean):
        return "not finite" if cell.count else "-"
    return f"{cell.mean:.4f}" + (f" ± {cell.half_width:.4f}" if math.isfinite(cell.half_width) else "")


def _best(means: list[list[float]]) -> frozenset[tuple[int, int]]:
    """(row, column) of the lowest mean of each column; the first column of the printed table has the names."""
    marked = set()
    for column, values in enumerate(zip(*means, strict=True), start=1):
        finite = {row: value for row, value in enumerate(values) if math.isfinite(value)}
        if len(finite) > 1:
            marked.add((min(finite, key=finite.__getitem__), column))
    return frozenset(marked)


def _mark(measured: Measured, method: Method, budget: str) -> str:
    choice = measured.choice(method, budget)
    return EDGE if choice and choice.edges else ""


def _chosen_values(measured: Measured, method: Method, setting: str) -> str:
    values = []
    for choice in (measured.choice(method, budget) for budget in measured.facts.budgets):
        point = dict(choice.point) if choice else {}
        at_edge = choice and setting in {edge.setting for edge in choice.edges}
        values.append(setting_value(point[setting]) + (EDGE if at_edge else "") if setting in point else "-")
    return _by_budget(values)


def _by_budget(texts: Iterable[str]) -> str:
    """One text where all are equal, else one per budget."""
    listed = list(texts)
    return " / ".join(listed if len(set(listed)) > 1 else listed[:1])
