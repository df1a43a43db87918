"""Recipes: what to train, as frozen dataclasses read from TOML.

Every table of the file is one dataclass here, except `[model]` (`riverrun.models.DecoderConfig`) and
`[schedule]` (a class of `riverrun.schedules`, chosen by `kind`). A wrong key or value is answered with its path,
the value seen, what is allowed, and the nearest name.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, TypeAdapter

from riverrun.averaging import BlockLayout, Profile, parse_profile
from riverrun.models import DecoderConfig
from riverrun.trackers import check_tracker
from riverrun.train.schedule_table import check_schedule_table
from riverrun.train.settings import (
    Count,
    DurationSetting,
    Fraction,
    NonNegative,
    Positive,
    Ratio,
    Share,
    flatten,
    parse_table,
    read_table,
)
from riverrun.units import Duration

DeviceName = Literal["auto", "cpu", "cuda", "mps"]


@dataclass(frozen=True, kw_only=True)
class Source:
    """One corpus of a mixture and its weight; only the ratio of the weights counts."""

    corpus: str
    weight: Positive = 1.0


@dataclass(frozen=True, kw_only=True)
class Feed:
    """From position `at` on, `corpus` gives the share `weight` of all samples; what was read before, the rest."""

    at: DurationSetting
    corpus: str
    weight: Share = 1.0


@dataclass(frozen=True, kw_only=True)
class Data:
    """`corpus`: "bundled", a directory made by `riverrun data ingest`, or a list of `{corpus, weight}`.

    `feeds` are corpora that join in later; none of them moves a sample before its own beginning.
    """

    corpus: str | tuple[Source, ...] = "bundled"
    feeds: tuple[Feed, ...] = ()

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
    """AdamW or Schedule-Free AdamW for everything, or Muon for the hidden matrices and AdamW for the rest.

    `weight_decay` is decoupled, applies to matrices, and follows `weight_decay_schedule` where one is given (a
    table like `[schedule]`). `clip` bounds the gradient's global norm; 0 leaves it alone. `on_nonfinite` says what
    a loss or gradient that is not finite does: "stop" with a checkpoint, or "skip" the update and count it.
    """

    name: Literal["adamw", "muon", "schedule-free-adamw"] = "adamw"
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
class History:
    """Block means of the weights, from which `riverrun average` makes any average later (see `BlockLayout`).

    `dtype` is that of the closed blocks; `spill` keeps them on the run's disk instead of in memory.
    """

    resolution: int = BlockLayout.resolution
    shortest: float = BlockLayout.shortest
    longest: float = BlockLayout.longest
    dtype: Literal["float32", "bfloat16"] = "float32"
    spill: bool = False

    def __post_init__(self) -> None:
        self.layout(every=1)

    def layout(self, every: int) -> BlockLayout:
        """The blocks where the weights are taken in each `every` updates; no block is narrower than that."""
        return BlockLayout(
            resolution=self.resolution, shortest=self.shortest, longest=self.longest, block=every
        )


@dataclass(frozen=True, kw_only=True)
class Averaging:
    """Averages kept during training, each `every` updates: "half-life:25", "uniform:from=1000", "ema:0.999".

    And a history, if one is asked for.
    """

    tracks: tuple[str, ...] = ("half-life:25",)
    every: Count = 1
    history: History | None = None

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
    """Evaluation at `first`, then each time the tokens have grown by `ratio`, on `sequences` fixed windows.

    `select` further windows, disjoint from those, are evaluated apart (`select/NAME`): to choose settings by, so that
    the reported losses have chosen nothing.
    """

    first: DurationSetting = Duration.parse("0.25x")
    ratio: Ratio = 2.0
    sequences: Count = 256
    select: Annotated[int, Field(ge=0, le=2**31)] = 0


@dataclass(frozen=True, kw_only=True)
class Checkpoints:
    """Fork points at `first`, each time the tokens have grown by `ratio`, and `at` named positions: kept for good.

    Besides, one every `every`, of which the latest `keep` stay. What a branch began from stays in any case.

    `background` writes them while training goes on ("auto": on GPUs); `on_error` says what a save does that fails, as
    on a full disk: "stop", or "go-on" to the next one that is due.
    """

    first: DurationSetting = Duration.parse("0.25x")
    ratio: Ratio = 1.5
    at: tuple[DurationSetting, ...] = ()
    every: DurationSetting = Duration.parse("1000 steps")
    keep: Count = 2
    background: Literal["auto", "on", "off"] = "auto"
    on_error: Literal["stop", "go-on"] = "stop"


@dataclass(frozen=True, kw_only=True)
class Metrics:
    """A line of metrics every `every` updates, and at every readout; `trackers` are fed from these lines."""

    every: Count = 10
    trackers: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for tracker in self.trackers:
            check_tracker("trackers", tracker)
        if len(set(self.trackers)) < len(self.trackers):
            raise ValueError(f"trackers: got {list(self.trackers)}; each may be named once")


@dataclass(frozen=True, kw_only=True)
class Engine:
    """How the arithmetic is done; "auto" is settled when a run is created and kept from then on.

    The number of threads is among it: another number adds in another order, and the last bits differ.

    Only for several ranks: `parallel` is "ddp" (each holds everything), "fsdp" (each holds its shard of everything), or
    "auto", which is ddp where that fits into the device's memory. `patience` is how many seconds a rank waits for the
    others before it takes them for lost. `recompute` holds only the blocks' inputs for the backward pass.
    """

    device: DeviceName = "auto"
    precision: Literal["auto", "fp32", "medium", "bf16"] = "auto"
    compile: Literal["auto", "on", "off"] = "auto"
    threads: Literal["auto"] | Annotated[int, Field(ge=1, le=1024)] = "auto"
    parallel: Literal["auto", "ddp", "fsdp"] = "auto"
    patience: Positive = 600.0
    recompute: bool = False


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
# not among them, for another grid would give up points that were kept for good; single ones may be added.
OPERATIONAL = (
    "averaging.history",
    "checkpoints.at",
    "checkpoints.background",
    "checkpoints.every",
    "checkpoints.keep",
    "checkpoints.on_error",
    "engine.parallel",
    "engine.patience",
    "engine.recompute",
    "metrics.trackers",
    "optimizer.on_nonfinite",
)


def load_recipe(path: Path, overrides: Iterable[str] = ()) -> Recipe:
    """Read a TOML recipe, or the one that a run recorded in its node.json, and apply overrides."""
    return parse_recipe(read_table(path, "recipe"), overrides)


def parse_recipe(table: Mapping[str, Any], overrides: Iterable[str] = ()) -> Recipe:
    """A recipe from the content of a TOML file; `SettingError` names the first thing that is wrong."""
    return parse_table(Recipe, _ADAPTER, table, overrides, tables={"model": DecoderConfig})


def differences(recorded: Recipe, asked: Recipe) -> list[str]:
    """One "path: was X, is Y" per setting that differs and matters to the trajectory."""
    before, after = flatten(recorded.to_dict()), flatten(asked.to_dict())
    return [
        f"{path} was {before.get(path, 'unset')!r}, is {after.get(path, 'unset')!r}"
        for path in sorted(before.keys() | after.keys())
        if before.get(path) != after.get(path) and not path.startswith(OPERATIONAL)
    ]
