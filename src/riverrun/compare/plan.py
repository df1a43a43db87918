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
from riverrun.train.recipe import Recipe, load_recipe, parse_recipe
from riverrun.train.settings import Count, DurationSetting, Fraction, Positive, parse_table, read_table
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
PER_BUDGET = ("cosine", "linear", "seesaw")
"""Kinds that train every budget from the start, each with settings of its own."""

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
    sweep: dict[str, tuple[Any, ...]] = field(default_factory=dict)
    offset: DurationSetting | None = None
    exponent: Fraction | None = None
    shape: str | None = None
    fraction: DecayFraction | None = None
    floor: Fraction | None = None
    rewarmup: DurationSetting | None = None
    factor: Annotated[float, Field(gt=1)] | None = None
    accounting: Literal["compute", "steps"] | None = None

    def __post_init__(self) -> None:
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

    recipe: str | dict[str, Any]
    budgets: tuple[DurationSetting, ...]
    arms: dict[str, Arm]
    seeds: tuple[Annotated[int, Field(ge=0, lt=2**63)], ...] = (0,)
    tuning_seeds: tuple[int, ...] | None = None
    sweep: dict[str, tuple[Any, ...]] = field(default_factory=dict)
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
        if self.baseline not in self.arms:
            raise ValueError(
                f"baseline: got {self.baseline!r}; must be an arm{nearest(self.baseline, self.arms)}"
            )
        for name, values in self.sweep.items():
            _check_axis(f"sweep.{name}", values)
        for arm_name, arm in self.arms.items():
            for name, values in arm.sweep.items():
                _check_axis(f"arms.{arm_name}.sweep.{name}", values)

    @property
    def tuned_on(self) -> tuple[int, ...]:
        """The seeds that every point of the sweep is run on."""
        return self.tuning_seeds or self.seeds

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
    """A plan from the content of a TOML file; `SettingError` names the first thing that is wrong."""
    plan = parse_table(ComparisonPlan, _ADAPTER, table, overrides, what="plan")
    base_recipe(plan)
    return plan


def base_recipe(plan: ComparisonPlan) -> Recipe:
    """The recipe that the arms share; its own schedule only gives the warm-up."""
    if isinstance(plan.recipe, str):
        return load_recipe(find_recipe(Path(plan.recipe)))
    try:
        return parse_recipe(plan.recipe)
    except SettingError as error:
        raise SettingError(f"recipe.{str(error).replace(' of the recipe', ' of the plan')}") from None


def increasing(budgets: tuple[Duration, ...], steps: tuple[int, ...]) -> None:
    """`SettingError` unless each budget, in steps, is above the one before."""
    for (before, first), (after, second) in pairwise(zip(budgets, steps, strict=True)):
        if second <= first:
            raise SettingError(f'budgets: got "{after}" after "{before}"; each must be above the one before')


def _check_axis(path: str, values: tuple[Any, ...]) -> None:
    if not values:
        raise ValueError(f"{path}: got no values; name one or more")
    if any(value in values[:number] for number, value in enumerate(values)):
        raise ValueError(f"{path}: got {list(values)}; each value may be named once")
