"""A comparison from plan to report: the sweep on the tuning seeds, the chosen points on the others."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from riverrun.compare.arms import Design, Model
from riverrun.compare.collection import collect
from riverrun.compare.execution import Workers, execute
from riverrun.compare.results import Result
from riverrun.compare.runs import Key, Run, alone_tokens, runs_for, union_tokens
from riverrun.compare.selection import choose


@dataclass(frozen=True, kw_only=True)
class Compared:
    """What a comparison has by now.

    Attributes:
        results: of every model; a loss that was never measured is NaN.
        tokens: trained on in all.
        alone: what they would have been with every model trained by itself.
        failures, retries: runs that failed, or failed at first, and why.
        complete: whether nothing failed but what diverged, so that the table is that of the plan.
        exit_code: 0, or 128 + the number of the signal that broke it off.
    """

    results: list[Result]
    tokens: int
    alone: int
    failures: dict[Key, str]
    retries: dict[Key, str]
    complete: bool
    exit_code: int


def sweep_models(design: Design) -> list[Model]:
    """Every point of every arm on the tuning seeds."""
    plan = design.plan
    return [
        model
        for arm in plan.arms
        for point in plan.points(arm)
        for seed in plan.tuned_on
        for model in design.models(arm, point, seed)
    ]


def repeated_models(design: Design, results: list[Result]) -> list[Model]:
    """The chosen points on the seeds that the sweep was not run on."""
    plan = design.plan
    budgets = [str(budget) for budget in plan.budgets]
    wanted: dict[str, set[tuple[str, str]]] = {arm: set() for arm in plan.arms}
    methods = {method.name: method for method in design.methods()}
    for choice in choose(methods.values(), results, budgets, plan.tuned_on):
        method = methods[choice.method]
        wanted[method.arm].add((choice.budget, repr(choice.point)))
        if method.kind == "wsd":  # how far its trunk would have fallen without the decay
            for arm in (name for name in plan.arms if plan.arms[name].kind == "constant"):
                wanted[arm].add((choice.budget, repr(choice.point)))
    return [
        model
        for arm in plan.arms
        for point in plan.points(arm)
        for seed in plan.repeated_on
        for model in design.models(arm, point, seed)
        if (model.budget, repr(point)) in wanted[arm]
    ]


def first_points(design: Design) -> list[Model]:
    """What stands for `repeated_models` before anything is chosen: the first point of each arm."""
    plan = design.plan
    return [
        model
        for arm in plan.arms
        for seed in plan.repeated_on
        for model in design.models(arm, plan.points(arm)[0], seed)
    ]


def expected_tokens(design: Design) -> int:
    """What the whole comparison will train on, taken that each arm chooses one point."""
    return union_tokens([*sweep_models(design), *first_points(design)], design.vocabulary)


def compare(design: Design, folder: Path, workers: Workers, told: Callable[[Run, str], None]) -> Compared:
    """Train all that a plan needs and is not there yet; the same call goes on after any interruption.

    Args:
        design: what to compare.
        folder: where its trees lie.
        workers: train the runs.
        told: about each run, see `execute`.
    """
    models = sweep_models(design)
    ended = execute(runs_for(models), folder, workers, told)
    failures, retries, results = ended.failures, ended.retries, collect(design, models, folder)
    # A choice made without what failed by accident could be another one when the same command mends it.
    if ended.complete and design.plan.repeated_on:
        repeated = repeated_models(design, results)
        ended = execute(runs_for(repeated), folder, workers, told)
        models += repeated
        failures, retries = failures | ended.failures, retries | ended.retries
        results += collect(design, repeated, folder)
    return Compared(
        results=results,
        tokens=union_tokens(models, design.vocabulary),
        alone=alone_tokens(models, design.vocabulary),
        failures=failures,
        retries=retries,
        complete=ended.complete,
        exit_code=ended.exit_code,
    )
