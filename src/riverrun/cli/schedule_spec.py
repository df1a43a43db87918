"""Schedules as options name them: `"wsd: budget=8x, decay=0.2, shape=sqrt"`, a TOML file, or `trunk`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import MISSING, Field, dataclass, fields
from pathlib import Path
from typing import Any

from riverrun.errors import SettingError, nearest
from riverrun.schedules import Schedule, kinds
from riverrun.train.schedule_table import check_schedule_table, resolve_schedule
from riverrun.train.settings import read_table
from riverrun.units import Duration

TRUNK = "trunk"
"""The run's own schedule."""


@dataclass(frozen=True, kw_only=True)
class Family:
    """What an option names: one schedule, or one for each horizon.

    Attributes:
        name: as it was written.
        for_horizon: the schedule of a run that ends at a position.
        one_run: whether all horizons have the same schedule, so that one run gives the losses of all budgets.
    """

    name: str
    for_horizon: Callable[[int], Schedule]
    one_run: bool


def parse_family(
    option: str, spec: str, own: Schedule, to_steps: Callable[[str, Duration], int], budgets: tuple[int, ...]
) -> Family:
    """What a spec names.

    Args:
        option: for errors.
        spec: "trunk"; a TOML file or node.json with a table [schedule]; or a kind with settings, "kind: name=value,
            ...". Lists are written with slashes, "budgets=1x/2x". A warm-up that is not named is the run's; a horizon
            that is not named (cosine's total, wsd's budget) is each budget in turn.
        own: the run's own schedule.
        to_steps: turns a duration into a position.
        budgets: positions that wsds and cyclic-cosine decay at unless they are named.

    Raises:
        SettingError: no such kind or setting (the nearest is offered), or a value that cannot be.
    """
    if spec == TRUNK:
        return Family(name=TRUNK, for_horizon=lambda _: own, one_run=True)

    def resolve(table: Mapping[str, Any]) -> Schedule:
        check_schedule_table(table, "schedule")
        return resolve_schedule(
            table, "schedule", lambda duration: to_steps(option, duration), mend="Name another"
        )

    try:
        if spec.endswith((".toml", ".json")):
            found = read_table(Path(spec), "schedule").get("schedule")
            if not isinstance(found, Mapping):
                raise SettingError(f"{spec} has no table [schedule]")
            schedule = resolve(found)
            return Family(name=Path(spec).stem, for_horizon=lambda _: schedule, one_run=True)
        table = _table(spec)
        kind = kinds().get(table["kind"])
        if kind is None:
            raise SettingError(f"there is no such schedule{nearest(table['kind'], [TRUNK, *kinds()])}")
        names = [field.name for field in fields(kind) if field.init]
        if "warmup" in names and "warmup" not in table:
            table |= {"warmup": f"{own.warmup} steps", "warmup_start": own.warmup_start}
        horizon = next((name for name in ("total", "budget") if name in names and name not in table), None)
        needed = {field.name for field in fields(kind) if field.init and _is_needed(field)}
        if missing := sorted(needed - table.keys() - {horizon, "budgets"}):
            raise SettingError(
                f'{kind.kind} needs {" and ".join(missing)}, as in "{kind.kind}: {missing[0]}=..."'
            )
        if horizon is not None:
            resolve(table | {horizon: f"{max(budgets)} steps"})  # raises now what every horizon would raise
            return Family(
                name=spec, for_horizon=lambda step: resolve(table | {horizon: f"{step} steps"}), one_run=False
            )
        if "budgets" in names and "budgets" not in table:
            # With the ends as budgets, whatever decays came before.
            table |= {"budgets": [f"{step} steps" for step in budgets]}
            table |= {"of": "cumulative"} if "of" in names and "of" not in table else {}
        schedule = resolve(table)
    except SettingError as error:
        raise SettingError(f"{option}: got {spec!r}; {error}") from None
    return Family(name=spec, for_horizon=lambda _: schedule, one_run=True)


def _is_needed(field: Field[Any]) -> bool:
    return field.default is MISSING and field.default_factory is MISSING


def _table(spec: str) -> dict[str, Any]:
    """The table of a recipe that a spec amounts to."""
    kind, _, rest = spec.partition(":")
    table: dict[str, Any] = {"kind": kind.strip()}
    known = kinds().get(table["kind"])
    in_steps = known.step_fields() if known else ()
    names = [field.name for field in fields(known)] if known else []
    lists = ["budgets", "values", *(["at"] if "values" in names else [])]
    for setting in filter(None, (part.strip() for part in rest.split(","))):
        name, has_value, text = (part.strip() for part in setting.partition("="))
        if not has_value:
            raise SettingError(f"a setting is written name=value, and this is {setting!r}")
        values = [_value(part.strip(), name in in_steps) for part in text.split("/")]
        table[name] = values if len(values) > 1 or name in lists else values[0]
    return table


def _value(text: str, is_steps: bool) -> Any:
    """A duration for a setting in steps, where a bare number counts steps; else a number or a word."""
    if is_steps:
        return f"{text} steps" if text.isdecimal() else text
    for number in (int, float):
        try:
            return number(text)
        except ValueError:
            continue
    return text
