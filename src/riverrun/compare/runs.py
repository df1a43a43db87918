"""From models to runs: every stretch that models share is trained once, as one node of one tree."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import lru_cache

from riverrun.compare.arms import Model
from riverrun.schedules import Decayed
from riverrun.train.plan import Plan, build_plan
from riverrun.train.recipe import OPERATIONAL, Recipe, parse_recipe
from riverrun.units import Duration

Key = tuple[str, str]
"""A run's tree and node."""


@dataclass(frozen=True, kw_only=True)
class Run:
    """A node to train: where it lies, where it begins, and the positions at which it is evaluated, the last its end."""

    tree: str
    node: str
    recipe: Recipe
    parent: str | None
    fork: int
    stops: tuple[int, ...]

    @property
    def key(self) -> Key:
        """Its tree and node."""
        return self.tree, self.node

    @property
    def end(self) -> int:
        """Where it ends."""
        return self.stops[-1]


@dataclass(frozen=True)
class Stretch:
    """The part of a run that lies on the way to a model: the updates after `start` up to `end`."""

    key: Key
    recipe: Recipe
    start: int
    end: int


def way(model: Model) -> tuple[Stretch, ...]:
    """The runs by which a model is reached. Names depend on what is trained only, not on what else is in the plan."""
    stretches: list[Stretch] = []
    tree, node, start = "", "", 0
    for leg in model.legs:
        if not stretches:
            label = "-".join(f"{_short(value)}" for _, value in model.point)
            stem = "-".join(filter(None, (leg.recipe.schedule["kind"], label, f"seed{model.seed}")))
            tree, node = f"{stem}-{_digest(leg.recipe)}", "trunk"
        else:
            node = f"{_kind(leg.recipe)}-{start}-{_digest(leg.recipe, node, start)}"
        stretches.append(Stretch((tree, node), leg.recipe, start, leg.end))
        start = leg.end
    return tuple(stretches)


def runs_for(models: Iterable[Model]) -> list[Run]:
    """Every run that the models need, parents before their branches, the longest first among equals."""
    found: dict[Key, Run] = {}
    forks: dict[Key, set[int]] = {}
    for model in models:
        stretches = way(model)
        for above, stretch in zip((None, *stretches), stretches, strict=False):
            stops = {stretch.end}
            if model.decay_start is not None and stretch.start < model.decay_start <= stretch.end:
                stops.add(model.decay_start)
            known = found.get(stretch.key)
            found[stretch.key] = Run(
                tree=stretch.key[0],
                node=stretch.key[1],
                recipe=stretch.recipe,
                parent=above.key[1] if above else None,
                fork=stretch.start,
                stops=tuple(sorted(stops | set(known.stops if known else ()))),
            )
            if above:
                forks.setdefault(above.key, set()).add(stretch.start)
    return [_keeping(run, forks.get(run.key, set())) for run in found.values()]


def tokens_of(run: Run, vocabulary: int) -> int:
    """Tokens that the run trains on itself."""
    plan = plan_of(run.recipe, vocabulary)
    return plan.tokens(run.end) - plan.tokens(run.fork)


def union_tokens(models: Iterable[Model], vocabulary: int) -> int:
    """Tokens to train all these models, what they share counted once."""
    return sum(tokens_of(run, vocabulary) for run in runs_for(models))


def alone_tokens(models: Iterable[Model], vocabulary: int) -> int:
    """Tokens to train every model by itself from the start."""
    return sum(plan_of(model.legs[-1].recipe, vocabulary).tokens(model.end) for model in models)


def plan_of(recipe: Recipe, vocabulary: int) -> Plan:
    """The recipe resolved."""
    return _plan_of_text(json.dumps(recipe.to_dict()), vocabulary)


@lru_cache(maxsize=4096)
def _plan_of_text(recipe: str, vocabulary: int) -> Plan:
    return build_plan(parse_recipe(json.loads(recipe)), vocabulary)


def _keeping(run: Run, forks: set[int]) -> Run:
    """The run with its fork points kept."""
    at = tuple(Duration(Fraction(step), "steps") for step in sorted(forks))
    return replace(run, recipe=replace(run.recipe, checkpoints=replace(run.recipe.checkpoints, at=at)))


def _kind(recipe: Recipe) -> str:
    schedule = recipe.schedule
    return f"decay-{_short(schedule['shape'])}" if schedule["kind"] == Decayed.kind else "stable"


def _short(value: object) -> str:
    """A swept value within a name."""
    return re.sub(r"[^A-Za-z0-9.]+", "_", f"{value:g}" if isinstance(value, float) else str(value)).strip("_")


def _digest(recipe: Recipe, *place: object) -> str:
    """A few letters that stand for a recipe, without what may change when a run goes on, and a place in a tree."""
    table = recipe.to_dict()
    for setting in OPERATIONAL:
        section, _, key = setting.partition(".")
        table[section].pop(key, None)
    content = json.dumps([table, *place], sort_keys=True)
    return hashlib.sha256(content.encode()).hexdigest()[:8]
