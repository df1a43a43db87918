"""What to compare: a recipe, arms, budgets, seeds and a sweep, read from TOML."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import pairwise, product
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, TypeAdapter

from riverrun.compare.results import Point
from riverrun.errors import SettingError, nearest
from riverrun.train.recipe import Recipe, parse_recipe
from riverrun.train.settings import (
    Count,
    DurationSetting,
    Fraction,
    Positive,
    flatten,
    parse_table,
    read_table,
)
from riverrun.train.shipped import find_recipe
from riverrun.units import Duration

ArmKind = Literal[
    "constant",
    "inverse-sqrt",
    "power-decay",
    "wsd",
    "wsds",
    "cyclic-cosine",
    "cosine",
    "linear",
    "seesaw",
    "schedule-free",
]
DecayFraction = Annotated[float, Field(gt=0, lt=1)]
ANYTIME = ("constant", "inverse-sqrt", "power-decay")
"""Kinds whose learning rate asks for no end: there an average does what a decay does elsewhere."""
PER_BUDGET = ("cosine", "linear", "seesaw")
"""Kinds that train every budget from the start, each with settings of its own."""

# What an arm or a sweep may change of the recipe, and what of it the design writes itself. All else is held fixed:
# data, model, batch, seeds and held-out text are the same for every arm.
_OPEN = ("optimizer", "schedule")
_TAKEN = tuple(f"schedule.{name}" for name in ("kind", "total", "budget", "budgets", "base", "at", "steps"))


def _check_setting(path: str, setting: str) -> None:
    section, dot, key = setting.partition(".")
    if section not in _OPEN or not dot or not key:
        raise ValueError(
            f"{path}: got {setting!r}; all arms have the same {section}. An arm or a sweep may change "
            f"{' and '.join(f'{name}.*' for name in _OPEN)}"
        )
    if setting in _TAKEN:
        raise ValueError(f"{path}: got {setting!r}; the arm's kind and the budgets say that")


# What an arm of each kind may set besides its readouts, settings and sweep.
_OPTIONS: dict[str, tuple[str, ...]] = {
    "constant": (),
    "inverse-sqrt": ("offset",),
    "power-decay": ("exponent", "offset"),
    "wsd": ("shape", "floor", "fraction", "accounting"),
    "wsds": ("shape", "floor"),
    "cyclic-cosine": ("floor", "rewarmup"),
    "cosine": ("floor",),
    "linear": ("floor",),
    "seesaw": ("floor", "factor"),
    "schedule-free": (),
}


@dataclass(frozen=True, kw_only=True)
class Arm:
    """One way to have a model at every budget.

    `readouts` are the rows that it gives ("raw", "ema-25", ...): by default all of an anytime run, "schedule-free" of
    Schedule-Free AdamW, "raw" of the others. `settings` changes the recipe for this arm alone; `sweep` adds axes to
    the plan's, or replaces them. A WSD arm ends at the nominal budgets ("compute": the same total compute as WSD-S),
    or where the other arms end ("steps").
    """

    kind: ArmKind
    readouts: tuple[str, ...] | None = None
    settings: dict[str, Any] = field(default_factory=dict)
    sweep: dict[str, Any] = field(default_factory=dict)
    offset: DurationSetting | None = None
    exponent: Fraction | None = None
    shape: str | None = None
    fraction: DecayFraction | None = None
    floor: Fraction | None = None
    rewarmup: DurationSetting | None = None
    factor: Annotated[float, Field(gt=1)] | None = None
    accounting: Literal["compute", "steps"] | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "settings", flatten(self.settings))
        object.__setattr__(self, "sweep", _axes("sweep", self.sweep))
        for setting in self.settings:
            _check_setting("settings", setting)
        for names in _OPTIONS.values():
            for name in names:
                if getattr(self, name) is not None and name not in _OPTIONS[self.kind]:
                    raise ValueError(
                        f"{name}: got {getattr(self, name)!r}; is no option of an arm of kind {self.kind!r}"
                        f"{nearest(name, _OPTIONS[self.kind]) if _OPTIONS[self.kind] else '; it has none'}"
                    )


@dataclass(frozen=True, kw_only=True)
class Decays:
    """How arms decay for a budget: the share `fraction` of what `of` names (see `WSDS`), shape, floor.

    With "budget" the budgets are nominal: the decays before one come on top, and every arm but WSD ends there. With
    "cycle" or "cumulative" the budgets are the ends. The floor is also that of cosines and lines.
    """

    fraction: DecayFraction = 0.1
    of: Literal["budget", "cycle", "cumulative"] = "budget"
    shape: str = "linear"
    floor: Fraction = 0.1


@dataclass(frozen=True, kw_only=True)
class ComparisonPlan:
    """A comparison. The whole sweep is run on `tuning_seeds` (all, if not given), the chosen points on the others."""

    recipe: dict[str, Any]
    budgets: tuple[DurationSetting, ...]
    arms: dict[str, Arm]
    seeds: tuple[Annotated[int, Field(ge=0, lt=2**63)], ...] = (0,)
    tuning_seeds: tuple[int, ...] | None = None
    sweep: dict[str, Any] = field(default_factory=dict)
    decays: Decays = field(default_factory=Decays)
    baseline: str = "cosine"
    tolerance: Positive = 0.03
    workers: Literal["auto"] | Count = "auto"

    def __post_init__(self) -> None:
        for name in ("budgets", "seeds", "arms"):
            if not getattr(self, name):
                raise ValueError(f"{name}: got none; name one or more")
        for name in ("seeds", "tuning_seeds"):
            values = getattr(self, name) or ()
            if len(set(values)) < len(values):
                raise ValueError(f"{name}: got {list(values)}; each may be named once")
        if foreign := set(self.tuning_seeds or ()) - set(self.seeds):
            raise ValueError(f"tuning_seeds: got {sorted(foreign)}; must be among the seeds")
        object.__setattr__(self, "sweep", _axes("sweep", self.sweep))

    @property
    def tuned_on(self) -> tuple[int, ...]:
        """The seeds that every point of the sweep is run on."""
        return self.tuning_seeds or self.seeds

    @property
    def repeated_on(self) -> tuple[int, ...]:
        """The other seeds, that only the chosen points are run on."""
        return tuple(seed for seed in self.seeds if seed not in self.tuned_on)

    def axes(self, arm: str) -> dict[str, tuple[Any, ...]]:
        """Setting -> values swept, for an arm."""
        return {**self.sweep, **self.arms[arm].sweep}

    def points(self, arm: str) -> list[Point]:
        """Every point of an arm's sweep, in the plan's order."""
        axes = self.axes(arm)
        return [tuple(zip(axes, values, strict=True)) for values in product(*axes.values())]


_ADAPTER = TypeAdapter(ComparisonPlan)


def load_plan(path: Path, overrides: Iterable[str] = ()) -> ComparisonPlan:
    """Read a TOML plan and apply overrides like `seeds=[0,1]`."""
    return parse_plan(read_table(path, "plan"), overrides)


def parse_plan(table: Mapping[str, Any], overrides: Iterable[str] = ()) -> ComparisonPlan:
    """A plan from the content of a TOML file; `SettingError` names the first thing that is wrong.

    A recipe that is named is read first, so that overrides may change its settings.
    """
    table = dict(table)
    if isinstance(named := table.get("recipe"), str):
        table["recipe"] = read_table(find_recipe(Path(named)), "recipe")
    plan = parse_table(ComparisonPlan, _ADAPTER, table, overrides, what="plan")
    base_recipe(plan)
    return plan


def base_recipe(plan: ComparisonPlan) -> Recipe:
    """The recipe that the arms share; its own schedule only gives the warm-up."""
    try:
        return parse_recipe(plan.recipe)
    except SettingError as error:
        raise SettingError(f"recipe.{str(error).replace(' of the recipe', ' of the plan')}") from None


def increasing(budgets: tuple[Duration, ...], steps: tuple[int, ...]) -> None:
    """`SettingError` unless each budget, in steps, is above the one before."""
    for (before, first), (after, second) in pairwise(zip(budgets, steps, strict=True)):
        if second <= first:
            raise SettingError(f'budgets: got "{after}" after "{before}"; each must be above the one before')


def _axes(where: str, sweep: dict[str, Any]) -> dict[str, tuple[Any, ...]]:
    """Setting -> values, checked."""
    axes = {}
    for setting, values in flatten(sweep).items():
        path = f"{where}.{setting}"
        _check_setting(where, setting)
        if not isinstance(values, list | tuple) or not values:
            raise ValueError(f"{path}: got {values!r}; must be a list of one value or more")
        if any(value in values[:number] for number, value in enumerate(values)):
            raise ValueError(f"{path}: got {list(values)}; each value may be named once")
        axes[setting] = tuple(values)
    return axes
