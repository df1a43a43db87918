"""A comparison after its runs: what every table, figure and claim is computed from."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from riverrun.compare.intervals import Interval, interval, paired_differences
from riverrun.compare.results import Method, Result
from riverrun.compare.selection import Choice, choose, chosen


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What a report needs of the plan.

    Attributes:
        name: the plan's.
        budgets: as the plan writes them, from small to large.
        baseline: the method that others are compared with, usually "cosine"; None compares with nothing.
        tolerance: how many nats above the baseline still "tracks" it.
        tuning_seeds: the seeds that settings are chosen on; None for all that have every point.
        hardware, command: one line each, how the numbers came about.
    """

    name: str
    budgets: tuple[str, ...]
    baseline: str | None = "cosine"
    tolerance: float = 0.03
    tuning_seeds: tuple[int, ...] | None = None
    hardware: str = ""
    command: str = ""


@dataclass(frozen=True)
class Measured:
    """Methods, all results of their sweeps, and the settings chosen from them.

    Attributes:
        facts: of the plan.
        methods: rows, in the plan's order.
        results: all points of all sweeps.
        choices: by method and budget; absent where nothing could be chosen.
    """

    facts: Facts
    methods: tuple[Method, ...]
    results: tuple[Result, ...]
    choices: tuple[Choice, ...]

    @cached_property
    def _cells(self) -> dict[tuple[str, str], dict[int, Result]]:
        cells: dict[tuple[str, str], dict[int, Result]] = {}
        for result in chosen(self.results, self.choices):
            cells.setdefault((result.method, result.budget), {})[result.seed] = result
        return {key: dict(sorted(cell.items())) for key, cell in cells.items()}

    @cached_property
    def _choices(self) -> dict[tuple[str, str], Choice]:
        return {(choice.method, choice.budget): choice for choice in self.choices}

    @cached_property
    def baseline(self) -> Method | None:
        """The method that others are compared with."""
        return next((method for method in self.methods if method.name == self.facts.baseline), None)

    def choice(self, method: Method, budget: str) -> Choice | None:
        """The settings chosen, if any."""
        return self._choices.get((method.name, budget))

    def cell(self, method: Method, budget: str) -> dict[int, Result]:
        """Seed -> result at the chosen settings, seeds in order; empty where nothing was chosen."""
        return self._cells.get((method.name, budget), {})

    def losses(self, method: Method, budget: str) -> dict[int, float]:
        """Seed -> held-out nats per token, at the chosen settings."""
        return {seed: result.loss for seed, result in self.cell(method, budget).items()}

    def at(self, method: Method, budget: str, point: Mapping[str, Any]) -> dict[int, Result]:
        """Seed -> result at any point of the sweep, seeds in order; empty where nothing was trained there."""
        found = {
            result.seed: result
            for result in self.results
            if (result.method, result.budget, dict(result.point)) == (method.name, budget, point)
        }
        return dict(sorted(found.items()))

    def difference(self, ours: Method, theirs: Method, budget: str) -> Interval:
        """The mean of our loss minus theirs at a budget, paired by seed, in nats per token."""
        return interval(paired_differences(self.losses(ours, budget), self.losses(theirs, budget)).values())

    def arms(self, *kinds: str) -> list[str]:
        """The arms of some kinds, in the plan's order."""
        return list(dict.fromkeys(method.arm for method in self.methods if method.kind in kinds))

    def raws(self, kind: str) -> list[Method]:
        """The methods that read raw weights, of the arms of a kind."""
        return [method for method in self.methods if (method.kind, method.readout) == (kind, "raw")]

    def raw(self, arm: str) -> Method | None:
        """The method that reads an arm's raw weights."""
        return next((method for method in self.methods if (method.arm, method.readout) == (arm, "raw")), None)

    def best_average(self, arm: str) -> Method | None:
        """The arm's average with the lowest mean over budgets, on the windows to choose by; None without one."""
        averages = [method for method in self.methods if method.arm == arm and method.readout != "raw"]
        return min(averages, key=self.mean_select, default=None)

    def mean_select(self, method: Method) -> float:
        """Mean over budgets of the loss to choose by, in nats per token; infinite where a budget has no choice."""
        choices = [self.choice(method, budget) for budget in self.facts.budgets]
        return sum(choice.select if choice else float("inf") for choice in choices) / len(choices)


def measure(methods: Iterable[Method], results: Iterable[Result], facts: Facts) -> Measured:
    """Choose the settings of every method.

    Raises:
        ValueError: a result that fits no method (see `choose`), or a baseline that is no method.
    """
    methods, results = tuple(methods), tuple(results)
    names = [method.name for method in methods]
    if facts.baseline is not None and facts.baseline not in names:
        raise ValueError(f"baseline: got {facts.baseline!r}; must be one of {', '.join(names)}")
    choices = choose(methods, results, facts.budgets, facts.tuning_seeds)
    return Measured(facts, methods, results, tuple(choices))
