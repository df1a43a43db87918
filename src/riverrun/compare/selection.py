"""Choosing a point of the sweep for each method, on the windows to choose by, never on those reported."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from itertools import product
from statistics import fmean
from typing import Any

from riverrun.compare.results import Method, Point, Result
from riverrun.errors import SettingError
from riverrun.units import Duration


@dataclass(frozen=True)
class Edge:
    """A chosen value at an end of its axis: the sweep does not show that the optimum lies inside.

    Attributes:
        setting: such as "optimizer.peak_lr".
        value: the chosen one.
        end: "lowest" or "highest".
    """

    setting: str
    value: Any
    end: str


@dataclass(frozen=True, kw_only=True)
class Choice:
    """The settings of a method for a budget.

    Attributes:
        method: `Method.name`.
        budget: as the plan writes it.
        point: the settings chosen.
        select: mean loss over the tuning seeds at this budget, in nats per token, on the windows to choose by.
        edges: the settings whose chosen value lies at an end of what was tried.
    """

    method: str
    budget: str
    point: Point
    select: float
    edges: tuple[Edge, ...]


def choose(
    methods: Iterable[Method],
    results: Iterable[Result],
    budgets: Sequence[str],
    tuning_seeds: Collection[int] | None = None,
) -> list[Choice]:
    """One choice per method and budget, the lowest mean of `Result.select`; of equals, the first in the plan.

    A method with `per_budget` chooses for each budget; any other has one run for all budgets, and so one point,
    by the mean over budgets. Only seeds that have every point count, so that every point is judged on the same
    data; a plan may try all points on some seeds and run the others at the chosen point only. Losses that are
    not finite never win.

    Args:
        methods: in the order of the choices returned.
        results: any number of seeds, points and budgets.
        budgets: all budgets, in the plan's order.
        tuning_seeds: the seeds that may count; default, all of them.

    Returns:
        Choices by method, then budget. A method or budget is absent where no seed has every point, or where
        no point has a finite mean.

    Raises:
        ValueError: a result of an unknown method or budget, at a point not in its sweep, or given twice.
    """
    methods, results = list(methods), list(results)
    found = _selects(methods, results, budgets)
    choices = []
    for method in methods:
        groups = [[budget] for budget in budgets] if method.per_budget else [list(budgets)]
        for group in groups:
            choices += _choose_for(method, group, found[method.name], tuning_seeds)
    return choices


def chosen(results: Iterable[Result], choices: Iterable[Choice]) -> list[Result]:
    """The results at the chosen points, of all seeds, in the order given."""
    points = {(choice.method, choice.budget): choice.point for choice in choices}
    return [
        result
        for result in results
        if (result.method, result.budget) in points
        and dict(result.point) == dict(points[result.method, result.budget])
    ]


_Key = tuple[int, str, int]
"""Number of the point in the sweep, budget, seed."""


def _sweep(method: Method) -> list[dict[str, Any]]:
    """All points of a method in the plan's order."""
    return [dict(zip(method.axes, values, strict=True)) for values in product(*method.axes.values())]


def _selects(
    methods: list[Method], results: list[Result], budgets: Sequence[str]
) -> dict[str, dict[_Key, tuple[Point, float]]]:
    """Method -> key -> its point and loss to choose by."""
    sweeps = {method.name: _sweep(method) for method in methods}
    found: dict[str, dict[_Key, tuple[Point, float]]] = {name: {} for name in sweeps}
    for result in results:
        where = f"a result of {result.method!r} at {result.budget}, seed {result.seed}, {dict(result.point)}"
        if result.method not in sweeps or result.budget not in budgets:
            raise ValueError(f"{where}: no such method or budget in the plan")
        settings = dict(result.point)
        numbers = [
            number
            for number, point in enumerate(sweeps[result.method])
            if all(setting in settings and settings[setting] == value for setting, value in point.items())
        ]
        if not numbers:
            raise ValueError(f"{where}: not a point of the method's sweep")
        key = (numbers[0], result.budget, result.seed)
        if key in found[result.method]:
            raise ValueError(f"{where}: given twice")
        found[result.method][key] = (result.point, result.select)
    return found


def _choose_for(
    method: Method,
    budgets: list[str],
    found: dict[_Key, tuple[Point, float]],
    tuning_seeds: Collection[int] | None,
) -> list[Choice]:
    """The choices of one point for all of `budgets`; none where nothing can be chosen."""
    points = range(len(_sweep(method)))
    seeds = [
        seed
        for seed in sorted({seed for _, _, seed in found})
        if (tuning_seeds is None or seed in tuning_seeds)
        and all((point, budget, seed) in found for point in points for budget in budgets)
    ]
    if not seeds:
        return []

    def mean_select(point: int, budgets: list[str]) -> float:
        return fmean(found[point, budget, seed][1] for budget in budgets for seed in seeds)

    finite = [point for point in points if math.isfinite(mean_select(point, budgets))]
    if not finite:
        return []
    best = min(finite, key=lambda point: mean_select(point, budgets))
    return [
        Choice(
            method=method.name,
            budget=budget,
            point=found[best, budget, seeds[0]][0],
            select=mean_select(best, [budget]),
            edges=tuple(_edges(method, _sweep(method)[best])),
        )
        for budget in budgets
    ]


def _edges(method: Method, point: dict[str, Any]) -> Iterable[Edge]:
    for setting, values in method.axes.items():
        ranks = _ranks(values)
        if ranks is None or len(values) < 2:
            continue
        rank = ranks[values.index(point[setting])]
        if rank in (min(ranks), max(ranks)):
            yield Edge(setting, point[setting], "lowest" if rank == min(ranks) else "highest")


def _ranks(values: tuple[Any, ...]) -> list[tuple[float, ...]] | None:
    """What the values of an axis are ordered by: numbers, lists of numbers, or durations of one unit.

    None for anything else: names, such as the shapes of a decay, have no order and so no ends.
    """
    if all(isinstance(value, str) for value in values):
        try:
            durations = [Duration.parse(value) for value in values]
        except SettingError:
            return None
        same_unit = len({duration.unit for duration in durations}) == 1
        return [(float(duration.amount),) for duration in durations] if same_unit else None
    lists = [value if isinstance(value, list | tuple) else (value,) for value in values]
    numbers = all(type(item) in (int, float) for items in lists for item in items)
    return [tuple(map(float, items)) for items in lists] if numbers else None
