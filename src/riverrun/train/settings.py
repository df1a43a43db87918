"""From a table of plain data to a checked dataclass, every fault told with its path, value, and what is allowed."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import fields, is_dataclass
from functools import cache
from pathlib import Path
from typing import Annotated, Any, TypeVar, get_args, get_origin, get_type_hints

from pydantic import Field, PlainSerializer, PlainValidator, TypeAdapter, ValidationError, WithJsonSchema

from riverrun.errors import SettingError, nearest
from riverrun.units import Duration

DurationSetting = Annotated[
    Duration, PlainValidator(Duration.parse), PlainSerializer(str), WithJsonSchema({"type": "string"})
]
Count = Annotated[int, Field(ge=1, le=2**31)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NonNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Fraction = Annotated[float, Field(ge=0, lt=1)]
Share = Annotated[float, Field(gt=0, le=1)]
Ratio = Annotated[float, Field(ge=1.01, le=1e6)]

Settings = TypeVar("Settings")


def read_table(path: Path, what: str) -> dict[str, Any]:
    """The content of a TOML file, or the recipe recorded in a node.json; `what` it is stands in the errors."""
    try:
        text = path.read_text(encoding="utf-8")
        table: dict[str, Any] = (
            json.loads(text)["recipe"] if path.name == "node.json" else tomllib.loads(text)
        )
    except FileNotFoundError:
        raise SettingError(f"{path}: there is no such {what}") from None
    except IsADirectoryError:
        raise SettingError(f"{path}: is a directory; a {what} is a TOML file") from None
    except tomllib.TOMLDecodeError as error:
        raise SettingError(f"{path}: is not valid TOML ({error})") from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise SettingError(f"{path}: cannot be read ({error})") from None
    return table


def parse_table(
    cls: type[Settings],
    adapter: TypeAdapter[Settings],
    table: Mapping[str, Any],
    overrides: Iterable[str] = (),
    tables: Mapping[str, type] | None = None,
    what: str = "recipe",
) -> Settings:
    """An instance of the dataclass `cls` from plain data; `SettingError` names the first thing that is wrong.

    Args:
        cls: its fields are the known keys; dataclasses among their types are tables of their own.
        adapter: validates and builds it.
        table: as TOML or JSON gives it.
        overrides: `path=value` each, written over the table first.
        tables: keys whose value is a plain table with the fields of another dataclass.
        what: the file is, for the errors.
    """
    merged = json.loads(json.dumps(table, default=str))  # a deep copy of plain data; TOML's dates become text
    for override in overrides:
        _apply_override(merged, override)
    _refuse_unknown_keys(cls, merged, "")
    for key, inner in (tables or {}).items():
        _refuse_unknown_keys(inner, merged.get(key), f"{key}.")
    try:
        return adapter.validate_json(json.dumps(merged, default=str), strict=True)
    except ValidationError as error:
        raise SettingError(_first_complaint(error, merged, what)) from None


def flatten(table: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Settings by dotted path, however the tables are nested: {"optimizer": {"eps": 1}} is {"optimizer.eps": 1}."""
    flat: dict[str, Any] = {}
    for key, value in table.items():
        flat |= flatten(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return flat


def _apply_override(table: dict[str, Any], override: str) -> None:
    path, equals, text = override.partition("=")
    if not equals or not path.strip():
        raise SettingError(f"--set {override}: must be PATH=VALUE, as in --set optimizer.peak_lr=2e-3")
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        value = text  # a bare word needs no quotes on a command line
    *sections, key = path.strip().split(".")
    for section in sections:
        table = table.setdefault(section, {})
        if not isinstance(table, dict):
            raise SettingError(f"--set {override}: {section} is a value, not a table")
    table[key] = value


def _refuse_unknown_keys(cls: type, table: Any, path: str) -> None:
    """Compare the keys of nested tables with the dataclass fields they are for."""
    if not isinstance(table, dict):
        return
    known = _hints(cls)
    for key, value in table.items():
        if key not in known:
            names = [f.name for f in fields(cls)]
            raise SettingError(f"{path}{key}: is no setting of riverrun{nearest(key, names)}")
        for inner in _dataclasses_in(known[key]):
            for name, item in _tables_of(known[key], key, value):
                _refuse_unknown_keys(inner, item, f"{path}{name}.")


@cache
def _hints(cls: type) -> dict[str, Any]:
    return get_type_hints(cls)


def _tables_of(hint: Any, key: str, value: Any) -> Iterator[tuple[str, Any]]:
    """The tables in a setting, with their paths: itself, each of a list, or each of a table of named ones."""
    if get_origin(hint) is dict and isinstance(value, dict):
        yield from ((f"{key}.{name}", item) for name, item in value.items())
    else:
        yield from ((key, item) for item in (value if isinstance(value, list) else [value]))


def _dataclasses_in(hint: Any) -> Iterator[type]:
    """The tables that a setting may hold: in `str | tuple[Source, ...]`, `Source`."""
    if isinstance(hint, type) and is_dataclass(hint):
        yield hint
    for inner in get_args(hint):
        yield from _dataclasses_in(inner)


def _first_complaint(error: ValidationError, table: Mapping[str, Any], what: str) -> str:
    """The first fault as one line: path, value, what is allowed, where to set it."""
    faults = error.errors(include_url=False)
    fault = faults[0]
    path = ".".join(_path_within(table, fault["loc"]))
    message = fault["msg"].removeprefix("Value error, ").removesuffix(".")
    head, _, rest = message.partition(": ")
    if isinstance(fault.get("ctx", {}).get("error"), SettingError) and not message.startswith("got "):
        return message  # it names its path already
    if fault["type"] == "missing":
        text = f"{path}: is missing"
    elif rest and head.replace(".", "").isidentifier():
        path = f"{path}.{head}" if path else head
        text = f"{path}: {rest}"
    elif message.startswith("got "):
        text = f"{path}: {message}"
    else:
        text = f"{path}: got {fault['input']!r}; {message[0].lower()}{message[1:]}"
    section, _, key = path.rpartition(".")
    where = f"in [{section}] of the {what}" if section else f"at the top of the {what}"
    stop = "" if text.endswith("?") else "."
    return f"{text}{stop} Set {key} {where}, or --set {path}=..."


def _path_within(table: Any, location: tuple[int | str, ...]) -> Iterator[str]:
    """The keys of a fault's location; where a setting has several types, pydantic names the type among them."""
    for part in location:
        if isinstance(table, dict | list):
            yield str(part)
            known = part in table if isinstance(table, dict) else isinstance(part, int)
            table = table[part] if known else None  # type: ignore[index]
