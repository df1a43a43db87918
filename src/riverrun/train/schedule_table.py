"""The tables of a recipe that describe a schedule: `kind`, and that schedule's fields with durations in words."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import fields
from typing import Any

from riverrun.errors import SettingError, nearest
from riverrun.schedules import Schedule, kinds
from riverrun.schedules.on_base import OnBase
from riverrun.units import Duration

ToSteps = Callable[[Duration], int]


def resolve_schedule(
    table: Mapping[str, Any], path: str, to_steps: ToSteps, mend: str | None = None
) -> Schedule:
    """The schedule that a table describes.

    Args:
        table: `kind` and fields; a field in steps is a duration like "500 steps", "65M tokens" or "2x".
        path: where the table stands in the recipe, for errors.
        to_steps: turns a duration into a position.
        mend: what to do about a wrong field, for errors; None says where it stands in a recipe.

    Raises:
        SettingError: a duration that cannot be read, or whatever the schedule says of its fields.
    """
    try:
        return Schedule.from_dict(_in_steps(table, path, to_steps))
    except SettingError:
        raise
    except ValueError as error:
        way_out = mend or f"Mend it in [{path}] of the recipe, or with --set {path}.…"
        raise SettingError(f"{path}.{error}. {way_out}") from None


def table_of(schedule: Schedule) -> dict[str, Any]:
    """The table that describes a schedule, every duration in steps; `resolve_schedule` makes it again."""

    def words(steps: int | list[int]) -> str | list[str]:
        return [f"{position} steps" for position in steps] if isinstance(steps, list) else f"{steps} steps"

    in_steps = schedule.step_fields()
    table = {name: words(value) if name in in_steps else value for name, value in schedule.to_dict().items()}
    return table | {"base": table_of(schedule.base)} if isinstance(schedule, OnBase) else table


def check_schedule_table(table: Mapping[str, Any], path: str) -> None:
    """Raise what can be known before a model and a batch give durations their length: kind, keys, wording."""
    kind = kinds().get(str(table.get("kind")))
    if kind is None:
        raise SettingError(f"{path}.kind: got {table.get('kind')!r}; must be one of {', '.join(kinds())}")
    names = [field.name for field in fields(kind) if field.init]
    for key in table.keys() - {"kind"}:
        if key not in names:
            raise SettingError(
                f"{path}.{key}: is no setting of the schedule {kind.kind!r}{nearest(key, names)}"
            )
    _in_steps(table, path, lambda duration: int(duration.amount))
    if isinstance(table.get("base"), Mapping):
        check_schedule_table(table["base"], f"{path}.base")


def _in_steps(table: Mapping[str, Any], path: str, to_steps: ToSteps) -> dict[str, Any]:
    kind = kinds().get(str(table.get("kind")))
    in_steps = kind.step_fields() if kind else ()

    def convert(name: str, value: Any) -> int:
        try:
            return to_steps(Duration.parse(value))
        except SettingError as error:
            raise SettingError(f"{path}.{name}: {error}") from None

    converted: dict[str, Any] = {}
    for name, value in table.items():
        if name in in_steps:
            many = isinstance(value, list | tuple)
            converted[name] = [convert(name, item) for item in value] if many else convert(name, value)
        elif name == "base" and isinstance(value, Mapping):
            converted[name] = _in_steps(value, f"{path}.base", to_steps)
        else:
            converted[name] = value
    return converted
