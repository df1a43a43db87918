"""Recipes: what to train, as frozen dataclasses read from TOML.

Every table of the file is one dataclass here, except `[model]` (`riverrun.models.DecoderConfig`) and
`[schedule]` (a class of `riverrun.schedules`, chosen by `kind`). A wrong key or value is answered with its path,
the value seen, what is allowed, and the nearest name.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_type_hints

from pydantic import Field, PlainSerializer, PlainValidator, TypeAdapter, ValidationError, WithJsonSchema

from riverrun.averaging import Profile, parse_profile
from riverrun.errors import SettingError, nearest
from riverrun.models import DecoderConfig
from riverrun.train.schedule_table import check_schedule_table
from riverrun.units import Duration

DurationSetting = Annotated[
    Duration, PlainValidator(Duration.parse), PlainSerializer(str), WithJsonSchema({"type": "string"})
]
Count = Annotated[int, Field(ge=1, le=2**31)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NonNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Fraction = Annotated[float, Field(ge=0, lt=1)]
Ratio = Annotated[float, Field(ge=1.01, le=1e6)]
DeviceName = Literal["auto", "cpu", "cuda", "mps"]


@dataclass(frozen=True, kw_only=True)
class Source:
    """One corpus of a mixture and its weight; only the ratio of the weights counts."""

    corpus: str
    weight: Positive = 1.0


@dataclass(frozen=True, kw_only=True)
class Data:
    """`corpus`: "bundled", a directory made by `riverrun data ingest`, or a list of `{corpus, weight}`."""

    corpus: str | tuple[Source, ...] = "bundled"

    def __post_init__(self) -> None:
        if not self.corpus:
            raise ValueError(
                f"corpus: got {json.dumps(self.corpus)}; must name a corpus, or list one or more"
            )

    @property
    def sources(self) -> tuple[Source, ...]:
        """The mixture, of one source where a single corpus was named."""
        return (Source(corpus=self.corpus),) if isinstance(self.corpus, str) else self.corpus


@dataclass(frozen=True, kw_only=True)
class Ramp:
    """From the update after position `at` on, batches of `sequences`."""

    at: DurationSetting
    sequences: Count


@dataclass(frozen=True, kw_only=True)
class Batch:
    """Global batch in sequences, whatever the number of ranks; `microbatch` sequences per backward pass."""

    sequences: Count = 8
    microbatch: Count | None = None
    ramps: tuple[Ramp, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Optimizer:
    """AdamW for everything, or Muon for the hidden matrices and AdamW for the rest.

    `weight_decay` is decoupled, applies to matrices, and follows `weight_decay_schedule` where one is given (a
    table like `[schedule]`). `clip` bounds the gradient's global norm; 0 leaves it alone. `on_nonfinite` says what
    a loss or gradient that is not finite does: "stop" with a checkpoint, or "skip" the update and count it.
    """

    name: Literal["adamw", "muon"] = "adamw"
    peak_lr: Positive = 1e-3
    betas: tuple[Fraction, Fraction] = (0.9, 0.95)
    eps: Positive = 1e-8
    weight_decay: NonNegative = 0.1
    weight_decay_schedule: dict[str, Any] | None = None
    momentum: Fraction = 0.95
    clip: NonNegative = 1.0
    on_nonfinite: Literal["stop", "skip"] = "stop"

    def __post_init__(self) -> None:
        if self.weight_decay_schedule is not None:
            check_schedule_table(self.weight_decay_schedule, "optimizer.weight_decay_schedule")


@dataclass(frozen=True, kw_only=True)
class Averaging:
    """Averages kept during training ("half-life:25", "uniform:from=1000", "ema:0.999"), each `every` updates."""

    tracks: tuple[str, ...] = ("half-life:25",)
    every: Count = 1

    def __post_init__(self) -> None:
        profiles = [_profile(spec) for spec in self.tracks]
        if len({profile.name for profile in profiles}) < len(profiles):
            raise ValueError(f"tracks: got {list(self.tracks)}; each average may be named once")
        for profile in profiles:
            if not profile.nested:
                raise ValueError(
                    f"tracks: got {profile.spec!r}, which needs a history of the run; a track can be half-life, "
                    "uniform or ema"
                )


def _profile(spec: str) -> Profile:
    try:
        return parse_profile(spec)
    except ValueError as error:
        raise ValueError(f"tracks: {spec!r}: {str(error).removeprefix('profile: ')}") from None


@dataclass(frozen=True, kw_only=True)
class Readouts:
    """Evaluation at `first`, then each time the tokens have grown by `ratio`, on `sequences` fixed windows."""

    first: DurationSetting = Duration.parse("0.25x")
    ratio: Ratio = 2.0
    sequences: Count = 256


@dataclass(frozen=True, kw_only=True)
class Checkpoints:
    """Fork points at `first` and each time the tokens have grown by `ratio`: kept for good.

    Besides, one every `every`, of which the latest `keep` stay.
    """

    first: DurationSetting = Duration.parse("0.25x")
    ratio: Ratio = 1.5
    every: DurationSetting = Duration.parse("1000 steps")
    keep: Count = 2


@dataclass(frozen=True, kw_only=True)
class Metrics:
    """A line of metrics every `every` updates, and at every readout."""

    every: Count = 10


@dataclass(frozen=True, kw_only=True)
class Engine:
    """How the arithmetic is done; "auto" is settled when a run is created and kept from then on.

    The number of threads is among it: another number adds in another order, and the last bits differ.
    """

    device: DeviceName = "auto"
    precision: Literal["auto", "fp32", "medium", "bf16"] = "auto"
    compile: Literal["auto", "on", "off"] = "auto"
    threads: Literal["auto"] | Annotated[int, Field(ge=1, le=1024)] = "auto"


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Everything that a trunk depends on, except when it stops."""

    model: dict[str, Any]
    schedule: dict[str, Any]
    data: Data = field(default_factory=Data)
    batch: Batch = field(default_factory=Batch)
    optimizer: Optimizer = field(default_factory=Optimizer)
    averaging: Averaging = field(default_factory=Averaging)
    readouts: Readouts = field(default_factory=Readouts)
    checkpoints: Checkpoints = field(default_factory=Checkpoints)
    metrics: Metrics = field(default_factory=Metrics)
    engine: Engine = field(default_factory=Engine)
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    one_x: DurationSetting | None = None

    def __post_init__(self) -> None:
        check_schedule_table(self.schedule, "schedule")
        if "vocabulary" in self.model:
            raise ValueError(
                f"model.vocabulary: got {self.model['vocabulary']!r}; it is the corpus's and cannot be set. Take it out"
            )
        try:
            self.decoder(vocabulary=1)
        except ValueError as error:
            raise ValueError(f"model.{error}") from None

    def decoder(self, vocabulary: int) -> DecoderConfig:
        """The model for a corpus with so many tokens."""
        return DecoderConfig.from_dict({**self.model, "vocabulary": vocabulary})

    def to_dict(self) -> dict[str, Any]:
        """Plain data that `parse_recipe` reads back to an equal recipe."""
        plain = _ADAPTER.dump_python(self, mode="json", exclude_none=True)
        assert isinstance(plain, dict)
        return plain


_ADAPTER = TypeAdapter(Recipe)

# Settings that may differ when a run goes on: none of them changes a step that was taken. The grid of fork points is
# not among them, for another grid would give up points that were kept for good.
OPERATIONAL = ("checkpoints.every", "checkpoints.keep", "optimizer.on_nonfinite")


def load_recipe(path: Path, overrides: Iterable[str] = ()) -> Recipe:
    """Read a TOML recipe and apply overrides like `optimizer.peak_lr=2e-3`."""
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise SettingError(f"{path}: there is no such recipe") from None
    except IsADirectoryError:
        raise SettingError(f"{path}: is a directory; a recipe is a TOML file") from None
    except (OSError, UnicodeDecodeError) as error:
        raise SettingError(f"{path}: cannot be read ({error})") from None
    except tomllib.TOMLDecodeError as error:
        raise SettingError(f"{path}: is not valid TOML ({error})") from None
    return parse_recipe(table, overrides)


def parse_recipe(table: Mapping[str, Any], overrides: Iterable[str] = ()) -> Recipe:
    """A recipe from the content of a TOML file; `SettingError` names the first thing that is wrong."""
    merged = json.loads(json.dumps(table, default=str))  # a deep copy of plain data; TOML's dates become text
    for override in overrides:
        _apply_override(merged, override)
    _refuse_unknown_keys(Recipe, merged, "")
    try:
        return _ADAPTER.validate_json(json.dumps(merged, default=str), strict=True)
    except ValidationError as error:
        raise SettingError(_first_complaint(error, merged)) from None


def differences(recorded: Recipe, asked: Recipe) -> list[str]:
    """One "path: was X, is Y" per setting that differs and matters to the trajectory."""
    before, after = _flatten(recorded.to_dict()), _flatten(asked.to_dict())
    return [
        f"{path} was {before.get(path, 'unset')!r}, is {after.get(path, 'unset')!r}"
        for path in sorted(before.keys() | after.keys())
        if before.get(path) != after.get(path) and not path.startswith(OPERATIONAL)
    ]


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
    known = get_type_hints(cls)
    for key, value in table.items():
        if key not in known:
            names = [f.name for f in fields(cls)]
            raise SettingError(f"{path}{key}: is no setting of riverrun{nearest(key, names)}")
        for inner in _dataclasses_in(known[key]):
            for item in value if isinstance(value, list) else [value]:
                _refuse_unknown_keys(inner, item, f"{path}{key}.")
        if cls is Recipe and key == "model":
            _refuse_unknown_keys(DecoderConfig, value, "model.")


def _dataclasses_in(hint: Any) -> Iterator[type]:
    """The tables that a setting may hold: in `str | tuple[Source, ...]`, `Source`."""
    if isinstance(hint, type) and is_dataclass(hint):
        yield hint
    for inner in get_args(hint):
        yield from _dataclasses_in(inner)


def _first_complaint(error: ValidationError, table: Mapping[str, Any]) -> str:
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
    where = f"in [{section}] of the recipe" if section else "at the top of the recipe"
    return f"{text}. Set {key} {where}, or --set {path}=..."


def _path_within(table: Any, location: tuple[int | str, ...]) -> Iterator[str]:
    """The keys of a fault's location; where a setting has several types, pydantic names the type among them."""
    for part in location:
        if isinstance(table, dict | list):
            yield str(part)
            known = part in table if isinstance(table, dict) else isinstance(part, int)
            table = table[part] if known else None  # type: ignore[index]


def _flatten(table: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in table.items():
        flat |= _flatten(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return flat
