"""From arms to models: the legs, one schedule each, by which an arm reaches its model for a budget."""

from __future__ import annotations

import copy
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from riverrun.averaging import parse_profile
from riverrun.compare.plan import ANYTIME, PER_BUDGET, Arm, ComparisonPlan, base_recipe, increasing
from riverrun.compare.results import Method, Point
from riverrun.errors import SettingError, nearest
from riverrun.schedules import WSDS, Decayed
from riverrun.train.plan import Plan, build_plan
from riverrun.train.recipe import Recipe, parse_recipe
from riverrun.train.schedule_free import READOUT as SCHEDULE_FREE
from riverrun.train.seesaw import seesaw


@dataclass(frozen=True)
class Leg:
    """A stretch on the way to a model, from where the leg before ended to position `end`."""

    recipe: Recipe
    end: int


@dataclass(frozen=True, kw_only=True)
class Model:
    """A model to train. Legs that two models have in common from the start are trained once."""

    arm: str
    budget: str
    seed: int
    point: Point
    legs: tuple[Leg, ...]
    decay_start: int | None

    @property
    def end(self) -> int:
        """Its position."""
        return self.legs[-1].end


@dataclass(frozen=True)
class Design:
    """A plan made concrete for a vocabulary."""

    plan: ComparisonPlan
    vocabulary: int

    @cached_property
    def recipe(self) -> Recipe:
        """What all arms share."""
        return base_recipe(self.plan)

    @cached_property
    def base(self) -> Plan:
        """The shared recipe, resolved."""
        return build_plan(self.recipe, self.vocabulary)

    @cached_property
    def budgets(self) -> tuple[int, ...]:
        """The budgets as the plan has them, in steps of the shared recipe."""
        steps = tuple(self.base.step_at(budget) for budget in self.plan.budgets)
        increasing(self.plan.budgets, steps)
        return steps

    @cached_property
    def boundaries(self) -> tuple[tuple[int, int], ...]:
        """Where WSD-S begins and ends its decay for each budget; the ends are those of all arms but WSD."""
        decays, budgets = self.plan.decays, self.budgets
        try:
            return WSDS(
                warmup=self.base.schedule.warmup,
                budgets=budgets,
                decay=decays.fraction,
                of=decays.of,
                shape=decays.shape,
                floor=decays.floor,
            ).boundaries
        except ValueError as error:
            raise SettingError(f"decays.{error}") from None

    def methods(self) -> list[Method]:
        """The rows of the table, in the plan's order."""
        return [
            Method(
                arm=name,
                readout=readout,
                kind=arm.kind,
                per_budget=arm.kind in PER_BUDGET,
                axes=self.plan.axes(name),
                shape=self._decay(arm)["shape"] if arm.kind in ("wsd", "wsds") else "",
            )
            for name, arm in self.plan.arms.items()
            for readout in self.readouts(name)
        ]

    def readouts(self, arm: str) -> tuple[str, ...]:
        """The readouts of an arm that the comparison looks at."""
        kind, named = self.plan.arms[arm].kind, self.plan.arms[arm].readouts
        tracks = tuple(parse_profile(spec).name for spec in self.recipe.averaging.tracks)
        known = ("raw", *([SCHEDULE_FREE] if kind == "schedule-free" else []), *tracks)
        for readout in named or ():
            if readout not in known:
                raise SettingError(
                    f"arms.{arm}.readouts: got {readout!r}, which no run of this arm has{nearest(readout, known)}"
                )
        if named is not None:
            return named
        return known if kind in ANYTIME else (SCHEDULE_FREE,) if kind == "schedule-free" else ("raw",)

    def models(self, arm: str, point: Point, seed: int) -> list[Model]:
        """An arm's model for each budget, built once; `SettingError` names the arm that cannot be."""
        key = arm, repr(point), seed
        if key not in self._built:
            self._built[key] = self._checked_models(arm, point, seed)
        return self._built[key]

    @cached_property
    def _built(self) -> dict[tuple[str, str, int], list[Model]]:
        return {}

    def _checked_models(self, arm: str, point: Point, seed: int) -> list[Model]:
        try:
            models = self._models(arm, point, seed)
            for model in models:
                for leg in model.legs:
                    build_plan(leg.recipe, self.vocabulary)
        except SettingError as error:
            told = re.split(r"\. (?:Set|Mend) ", str(error))[0]
            raise SettingError(told if told.startswith("arms.") else f"arms.{arm}: {told}") from None
        return models

    def _models(self, arm: str, point: Point, seed: int) -> list[Model]:
        wanted = self.plan.arms[arm]
        trunk = self._trunk(arm, point, seed)
        decay = self._decay(wanted)
        ends = [end for _, end in self.boundaries]
        starts: list[int | None] = []
        paths: list[tuple[Leg, ...]] = []
        match wanted.kind:
            case "constant" | "inverse-sqrt" | "power-decay" | "schedule-free":
                paths = [(Leg(trunk, end),) for end in ends]
            case "wsd":
                if wanted.accounting != "steps":
                    ends = list(self.budgets)
                for end in ends:
                    start = end - round(self._fraction(wanted) * end)
                    starts.append(start)
                    paths.append(self._decayed((), trunk, start, end, decay))
            case "wsds":
                legs: tuple[Leg, ...] = ()
                for start, end in self.boundaries:
                    starts.append(start)
                    legs = self._decayed(legs, trunk, start, end, decay)
                    paths.append(legs)
            case "cyclic-cosine":
                table = {**trunk.schedule, "budgets": [f"{end} steps" for end in ends]}
                paths = [(Leg(replace(trunk, schedule=table), end),) for end in ends]
            case "cosine" | "linear":
                paths = [
                    (Leg(replace(trunk, schedule={**trunk.schedule, "total": f"{end} steps"}), end),)
                    for end in ends
                ]
            case "seesaw":
                paths = [(self._seesaw(arm, wanted, trunk, end),) for end in ends]
        return [
            Model(arm=arm, budget=str(budget), seed=seed, point=point, legs=path, decay_start=start)
            for budget, path, start in zip(
                self.plan.budgets, paths, starts or [None] * len(paths), strict=True
            )
        ]

    def _trunk(self, arm: str, point: Point, seed: int) -> Recipe:
        """The recipe of an arm without its decays and ends."""
        wanted = self.plan.arms[arm]
        table = copy.deepcopy(self.recipe.to_dict())
        kind = {"wsd": "constant", "wsds": "constant", "schedule-free": "constant", "seesaw": "constant"}
        table["schedule"] = {
            "kind": kind.get(wanted.kind, wanted.kind),
            **{key: value for key, value in table["schedule"].items() if key.startswith("warmup")},
            **self._options(wanted),
        }
        table["seed"] = seed
        table["readouts"].setdefault("select", 0)
        table["readouts"]["select"] = table["readouts"]["select"] or table["readouts"]["sequences"]
        # Runs keep what their branches begin from, and their end.
        table["checkpoints"] |= {"first": "1000000x", "at": [], "keep": 1}
        if wanted.kind == "schedule-free":
            table["optimizer"]["name"] = "schedule-free-adamw"
        for setting, value in (*wanted.settings.items(), *point):
            _put(table, setting, value)
        return parse_recipe(table)

    def _options(self, arm: Arm) -> dict[str, Any]:
        """The fields of the arm's schedule that the plan sets."""
        options: dict[str, Any] = {}
        if arm.kind in ("cosine", "linear", "cyclic-cosine"):
            options["floor"] = self._floor(arm)
        for name, value in (("offset", arm.offset), ("rewarmup", arm.rewarmup)):
            if value is not None:
                options[name] = str(value)
        if arm.exponent is not None:
            options["exponent"] = arm.exponent
        return options

    def _decay(self, arm: Arm) -> dict[str, Any]:
        return {"shape": arm.shape or self.plan.decays.shape, "floor": self._floor(arm)}

    def _floor(self, arm: Arm) -> float:
        return self.plan.decays.floor if arm.floor is None else arm.floor

    def _fraction(self, arm: Arm) -> float:
        return self.plan.decays.fraction if arm.fraction is None else arm.fraction

    @staticmethod
    def _decayed(
        legs: tuple[Leg, ...], trunk: Recipe, start: int, end: int, decay: Mapping[str, Any]
    ) -> tuple[Leg, ...]:
        """The legs so far, then the trunk's schedule to `start`, then a decay to `end`."""
        span = {"at": f"{start} steps", "steps": f"{end - start} steps"}
        decayed = {"kind": Decayed.kind, "base": trunk.schedule, **span, **decay}
        return (*legs, Leg(trunk, start), Leg(replace(trunk, schedule=decayed), end))

    def _seesaw(self, name: str, arm: Arm, trunk: Recipe, end: int) -> Leg:
        if trunk.batch.ramps:
            raise SettingError(
                f"arms.{name}: a recipe with batch.ramps cannot ramp its batch instead of a decay"
            )
        parts = seesaw(
            sequences=trunk.batch.sequences,
            warmup=build_plan(trunk, self.vocabulary).schedule.warmup,
            total=self.base.sizes.samples(end),
            floor=self._floor(arm),
            factor=arm.factor or 1.1,
        )
        table = trunk.to_dict()
        table["schedule"] = {**table["schedule"], **parts.schedule}
        table["batch"]["ramps"] = parts.ramps
        return Leg(parse_recipe(table), parts.steps)


def _put(table: dict[str, Any], setting: str, value: Any) -> None:
    *sections, key = setting.split(".")
    for section in sections:
        table = table.setdefault(section, {})
    table[key] = list(value) if isinstance(value, tuple) else value
