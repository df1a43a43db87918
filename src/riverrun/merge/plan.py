"""A merge thought through before a tensor is read: inputs that fit together, weights, and the output's files."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import combinations, pairwise
from pathlib import Path

from riverrun.errors import SettingError
from riverrun.merge.agreement import begin_all_alike, check_configurations, check_dtypes, common_tensors
from riverrun.merge.directories import MANIFEST, open_directory
from riverrun.merge.errors import MergeError
from riverrun.merge.inputs import RAW, Input, is_checkpoint
from riverrun.merge.layout import CHECKPOINT, Shard, lay_out, one_file
from riverrun.merge.lightning import is_lightning, open_lightning
from riverrun.merge.series import holds_series, read_series
from riverrun.merge.weights import Weights, by_order, by_position, error_bound, normalised, positional
from riverrun.schedules.shapes import SHAPES
from riverrun.units import short_bytes

DTYPES = {"float32": "F32", "bfloat16": "BF16", "float16": "F16"}
"""What can be asked for, and how safetensors names it."""

SHARD_BYTES = 5_000_000_000

_WORTH_TELLING = 0.0005  # of the weight


@dataclass(frozen=True, kw_only=True)
class MergePlan:
    """A merge that was checked.

    Attributes:
        inputs: oldest first; `path`, `position` and, for a checkpoint of riverrun, `checkpoint` (with its `hash`).
        shares: their weights, exactly.
        profile: the spec that gave the weights.
        readout: of the checkpoints; "raw" for Hugging Face directories.
        dtype: the one asked for, "float32", "bfloat16" or "float16"; None keeps each tensor's.
        shards: the files to write.
        notes: what a user should know, one line each.
        bound: total variation between the weights that iterates get, each checkpoint standing for those since the one
            before, and those of the profile; None where the weights do not go by positions.
    """

    inputs: tuple[Input, ...]
    shares: Weights
    profile: str
    readout: str
    dtype: str | None
    shards: tuple[Shard, ...]
    notes: tuple[str, ...]
    bound: float | None = None

    @property
    def weights(self) -> tuple[float, ...]:
        """One for each input; they sum to 1."""
        return self.shares.values

    @property
    def tensors(self) -> dict[str, tuple[int, ...]]:
        """Name -> shape of what is written, in that order."""
        return {name: stored.shape for shard in self.shards for name, stored in shard.tensors.items()}

    @cached_property
    def read(self) -> tuple[Input, ...]:
        """The inputs whose tensors are read: those whose weight is not 0."""
        return tuple(source for source, weight in zip(self.inputs, self.weights, strict=True) if weight)

    @cached_property
    def bytes_to_read(self) -> int:
        """Of tensors that are merged."""
        return sum(source.tensors[name].bytes for source in self.read for name in self.tensors)

    @cached_property
    def bytes_to_write(self) -> int:
        """Of safetensors files."""
        return sum(shard.bytes for shard in self.shards)


def plan_merge(
    inputs: Sequence[str | Path],
    profile: str = "uniform",
    *,
    positions: Sequence[int] | None = None,
    readout: str = RAW,
    dtype: str | None = None,
    shard_bytes: int = SHARD_BYTES,
) -> MergePlan:
    """Check everything that can be checked without reading tensors.

    Args:
        inputs: Hugging Face directories, checkpoints of Lightning or checkpoints of riverrun, one or more, oldest
            first; or one folder that holds the checkpoints of a run, as `read_series` takes it.
        profile: "uniform", "weights:0.2,0.3,0.5", a decay ("linear", "sqrt", "power:2", "inverse:floor=0.1"), or any
            profile of `riverrun.averaging` ("half-life:25", "tail:0.2"), which needs positions.
        positions: of the inputs in steps, increasing; those that the inputs tell if not given.
        readout: which weights of checkpoints: "raw", a track such as "ema-25", or, of Lightning, "averaged".
        dtype: of the floats in the output, "float32", "bfloat16" or "float16"; as stored if not given.
        shard_bytes: largest size of one safetensors file of the output, if it holds more than one tensor.

    Raises:
        SettingError: an argument is wrong.
        MergeError: an input is damaged, or inputs do not fit together.
        CheckpointError: a checkpoint is damaged or lies outside of its run.
    """
    if not inputs:
        raise SettingError("inputs: got none; name one directory or more, oldest first")
    check_output(dtype, shard_bytes)
    opened, found = _opened([Path(path).resolve() for path in inputs], readout)
    sources = _placed(opened, positions)
    shares, bound = _weights(profile, sources, given=positions is not None)
    notes = [*found]
    if bound and bound >= _WORTH_TELLING and sources[-1].checkpoint is None:
        notes.append(f"{bound:.1%} of the weight lies on other iterates than {profile} asks for")
    return planned(
        sources,
        shares,
        profile,
        readout=readout,
        dtype=dtype,
        shard_bytes=shard_bytes,
        notes=notes,
        bound=bound,
    )


def check_output(dtype: str | None, shard_bytes: int) -> None:
    """Refuse what cannot be written."""
    if dtype is not None and dtype not in DTYPES:
        raise SettingError(f"--dtype: got {dtype!r}; must be one of {', '.join(DTYPES)}")
    if shard_bytes < 1:
        raise SettingError(f"--shard-bytes: got {shard_bytes:,}; must be at least 1")


def planned(
    sources: Sequence[Input],
    shares: Weights,
    profile: str,
    *,
    readout: str,
    dtype: str | None,
    shard_bytes: int,
    notes: Sequence[str],
    bound: float | None,
) -> MergePlan:
    """The plan for inputs whose weights are known; `MergeError` where they do not fit together."""
    check_configurations(sources)
    names = common_tensors(sources)
    check_dtypes(sources, names, chosen=dtype is not None)
    if not names:
        raise MergeError(f"{sources[0].path}: holds no tensors")
    left_out = sorted({name for source in sources for name in source.tensors} - set(names))
    told = [*notes, *sources[-1].notes]
    told += [f"{name} is a copy of a tied tensor, and is left out" for name in left_out]
    if (note := normalised(profile)) is not None:
        told.append(note)
    order = next(source for source, weight in zip(sources, shares.values, strict=True) if weight)
    stored = ((name, order.tensors[name]) for name in order.tensors if name in set(names))
    outputs = [
        (name, DTYPES[dtype] if dtype and tensor.averaged else tensor.dtype, tensor.shape)
        for name, tensor in stored
    ]
    return MergePlan(
        inputs=tuple(sources),
        shares=shares,
        profile=profile,
        readout=readout,
        dtype=dtype,
        shards=lay_out(outputs, shard_bytes) if sources[-1].entries is None else (one_file(outputs),),
        notes=tuple(dict.fromkeys(told)),
        bound=bound,
    )


def check_target(plan: MergePlan, out: Path) -> None:
    """Refuse an output that exists, lies inside an input, or does not fit on its disk.

    Raises:
        SettingError: names the way out.
    """
    if out.exists() or out.is_symlink():
        raise SettingError(f"--out {out}: exists already; name another directory or remove it")
    if plan.inputs[-1].entries is not None and out.suffix == ".ckpt":
        raise SettingError(
            f"--out {out}: must be a folder, for {CHECKPOINT} and {MANIFEST}; name it {out.with_suffix('')}"
        )
    for source in plan.inputs:
        if out.resolve().is_relative_to(source.path):
            raise SettingError(f"--out {out}: lies inside the input {source.path}; name another directory")
    parent = next(folder for folder in out.absolute().parents if folder.exists())
    if not parent.is_dir():
        raise SettingError(f"--out {out}: {parent} is no directory; name another one")
    free = shutil.disk_usage(parent).free
    if free < plan.bytes_to_write:
        raise SettingError(
            f"--out {out}: needs {short_bytes(plan.bytes_to_write)}, and {short_bytes(free)} are free there; make "
            "room, or name another directory"
        )


def _opened(paths: Sequence[Path], readout: str) -> tuple[Sequence[Input], Sequence[str]]:
    """The inputs, and what to tell about those of a series."""
    if len(paths) == 1 and not is_checkpoint(paths[0]) and holds_series(paths[0]):
        series = read_series(paths[0], readout)
        return series.members, series.passed_over
    return _opened_alone(paths, readout), ()


def _opened_alone(paths: Sequence[Path], readout: str) -> list[Input]:
    lightning = [is_lightning(path) for path in paths]
    if all(lightning):
        opened = [open_lightning(path, readout) for path in paths]
        for first, again in combinations(opened, 2):
            # As last.ckpt is, which is easily named with the others.
            if first.position == again.position and begin_all_alike(first, again):
                raise MergeError(
                    f"{again.path}: is the checkpoint {first.path} again; name each once, or the folder alone"
                )
        return opened
    if any(lightning):
        one, other = paths[lightning.index(True)], paths[lightning.index(False)]
        raise MergeError(
            f"{one}: is a checkpoint of Lightning, and {other} is not; name such checkpoints alone"
        )
    kinds = [is_checkpoint(path) for path in paths]
    if any(kinds) != all(kinds):
        one, other = paths[kinds.index(True)], paths[kinds.index(False)]
        raise MergeError(
            f"{one}: is a checkpoint of riverrun, and {other} is not; export it first, or name checkpoints alone"
        )
    if all(kinds):
        from riverrun.merge.checkpoints import open_checkpoint

        return [open_checkpoint(path, readout) for path in paths]
    if readout != RAW:
        raise SettingError(
            f"--readout: got {readout!r}; Hugging Face directories hold one model, leave it out"
        )
    return [open_directory(path) for path in paths]


def _placed(sources: Sequence[Input], positions: Sequence[int] | None) -> tuple[Input, ...]:
    if positions is None:
        return tuple(sources)
    if len(positions) != len(sources):
        raise SettingError(
            f"--positions: got {len(positions)} for {len(sources)} inputs; give one for each, as in 1000,2000"
        )
    return tuple(replace(source, position=at) for source, at in zip(sources, positions, strict=True))


def _weights(profile: str, sources: Sequence[Input], given: bool) -> tuple[Weights, float | None]:
    """And the error bound, where they go by positions."""
    known = [source.position for source in sources]
    found = [position for position in known if position is not None]
    decays = profile.partition(":")[0] in (*SHAPES, "power")
    if given or (decays and len(found) == len(known)):
        _check_increasing(found, sources)
    shares = by_order(profile, len(sources))
    if shares is not None:
        return shares, None
    shape = positional(profile)
    for source in sources:
        if source.position is None:
            raise SettingError(
                f"--profile {profile}: goes by positions, and {source.path} does not tell its own; give them all "
                "with --positions, as in --positions 1000,2000"
            )
    _check_increasing(found, sources)
    return by_position(shape, found), error_bound(shape, found)


def _check_increasing(positions: Iterable[int], sources: Sequence[Input]) -> None:
    placed = list(zip(positions, sources, strict=True))
    for (before, _), (after, source) in pairwise(((0, None), *placed)):
        if after <= before:
            raise SettingError(
                f"--positions: got {after:,} for {source.path if source else ''} after {before:,}; name inputs oldest "
                "first, with positions from 1 that increase"
            )
