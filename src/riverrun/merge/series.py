"""The checkpoints that another trainer left while it trained: in order of their steps, each step once."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np

from riverrun.errors import SettingError
from riverrun.merge.agreement import begin_all_alike, check_configurations, check_dtypes, common_tensors
from riverrun.merge.directories import INDEX, WEIGHTS, noted_position, open_directory
from riverrun.merge.errors import IncompleteError, MergeError
from riverrun.merge.floats import FORMATS, Array, widened
from riverrun.merge.inputs import RAW, Input
from riverrun.merge.lightning import CONSOLIDATED, is_lightning, open_lightning

_FOLDER = re.compile(r"checkpoint-\d+")


@dataclass(frozen=True, eq=False)
class Block:
    """A stretch of one tensor in all checkpoints of a series.

    Attributes:
        name: of the tensor.
        begin: the first of its elements that is here, counted through the tensor in row-major order.
        rows: (checkpoints, elements), fp32, or fp64 where the tensor is fp64 in a checkpoint.
    """

    name: str
    begin: int
    rows: Array = field(repr=False)


@dataclass(frozen=True, kw_only=True)
class Series:
    """Checkpoints of one run, oldest first; only their headers were read.

    Attributes:
        members: one for each step; `path`, `position` and `tensors`.
        readout: "raw", or "averaged" where the weights are what a callback of Lightning averaged.
        passed_over: what lay beside them and is not one of them, one line each.
    """

    members: tuple[Input, ...]
    readout: str
    passed_over: tuple[str, ...]

    @property
    def positions(self) -> tuple[int, ...]:
        """The steps, increasing."""
        return tuple(member.position for member in self.members if member.position is not None)

    @property
    def notes(self) -> tuple[str, ...]:
        """What was passed over, and which weights were read; one line each."""
        return (*self.passed_over, *self.members[-1].notes)

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Of the tensors of floats that all checkpoints have, but for second copies of tied ones."""
        first = self.members[0].tensors
        return tuple(name for name in common_tensors(self.members) if first[name].averaged)

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """The shape of each of these."""
        return {name: self.members[0].tensors[name].shape for name in self.names}

    def blocks(self, elements: int = 1 << 20) -> Iterator[Block]:
        """All of these, at most so many elements of a tensor at a time, read from disk when they are asked for."""
        for name in self.names:
            stored = [member.tensors[name] for member in self.members]
            for begin in range(0, stored[0].elements, elements):
                count = min(elements, stored[0].elements - begin)
                rows = [
                    widened(
                        np.fromfile(
                            each.file,
                            FORMATS[each.dtype].storage,
                            count,
                            offset=each.offset + begin * each.itemsize,
                        ),
                        each.dtype,
                    )
                    for each in stored
                ]
                yield Block(name, begin, np.stack(rows))


def holds_series(path: Path) -> bool:
    """Whether a folder holds checkpoints of Hugging Face's Trainer or of Lightning."""
    return path.is_dir() and bool(_members(path))


def read_series(path: str | Path | Sequence[str | Path], readout: str = RAW) -> Series:
    """The checkpoints in a folder, or those named one by one, in order of the steps that they note.

    Args:
        path: a folder with `checkpoint-STEP` folders of Hugging Face's Trainer, or with `*.ckpt` files of Lightning,
            or with a folder `checkpoints` that has these; or such checkpoints themselves, in any order.
        readout: "raw", or "averaged" for what a callback of Lightning averaged.

    Raises:
        MergeError: there are none, one is damaged, they do not fit together, or two of one step differ.
        SettingError: there is no such readout.
    """
    given = [path] if isinstance(path, str | Path) else list(path)
    if not given:
        raise SettingError("series: got no checkpoints; name one or more, or the folder that holds them")
    found = [Path(each).resolve() for each in given]
    if len(found) == 1 and (inside := _members(found[0])):
        opened, notes = _whole(inside, readout)
        if _holds_model(found[0]):
            notes.append(f"the model in {found[0]} itself is not one of them")
    else:
        opened, notes = [_opened(each, readout) for each in found], []
    members = _each_step_once(opened)
    if len({member.entries is None for member in members}) > 1:
        raise MergeError(
            f"{members[0].path}: is of another kind than {members[-1].path}; name those of one run"
        )
    check_configurations(members)
    check_dtypes(members, common_tensors(members), chosen=True)
    return Series(members=tuple(members), readout=readout, passed_over=tuple(notes))


def _members(path: Path) -> list[Path]:
    """What looks like a checkpoint in a folder; Lightning's may lie one folder deeper."""
    if not path.is_dir() or is_lightning(path):
        return []
    folders = [each for each in path.iterdir() if _FOLDER.fullmatch(each.name) and each.is_dir()]
    files = _lightning_files(path)
    if folders and files:
        raise MergeError(
            f"{path}: holds checkpoints of Hugging Face's Trainer ({folders[0].name}) and of Lightning "
            f"({files[0].name}); name those of one run"
        )
    deeper = path / "checkpoints"
    below = [] if folders or files or not deeper.is_dir() else _lightning_files(deeper)
    return sorted([*folders, *files, *below], key=_natural)


def _lightning_files(folder: Path) -> list[Path]:
    """Its checkpoints of Lightning, but for shards that a file was made of."""
    found = {path.name: path for path in folder.iterdir() if is_lightning(path)}
    return [path for name, path in found.items() if f"{name}{CONSOLIDATED}" not in found]


def _natural(path: Path) -> list[tuple[int, str]]:
    """An order of names that has 500 before 1000."""
    return [(int(part or 0), "") if part.isdecimal() else (0, part) for part in re.split(r"(\d+)", path.name)]


def _opened(path: Path, readout: str) -> Input:
    if is_lightning(path):
        return open_lightning(path, readout)
    if readout != RAW:
        raise SettingError(
            f"--readout: got {readout!r}; folders of Hugging Face hold one model, leave it out"
        )
    if _holds_model(path) and noted_position(path) is None:
        raise IncompleteError(
            f"{path}: has no trainer_state.json with a global_step, which the Trainer writes last; name checkpoints "
            "with riverrun merge and their steps with --positions, or leave this one out"
        )
    return open_directory(path)


def _holds_model(folder: Path) -> bool:
    """Whether there are weights, whole or not."""
    return (folder / WEIGHTS).exists() or (folder / INDEX).exists()


def _whole(paths: Sequence[Path], readout: str) -> tuple[list[Input], list[str]]:
    """The checkpoints of a folder that are complete, and a note about each other one."""
    whole: list[Input] = []
    passed_over: list[str] = []
    for path in dict.fromkeys(path.resolve() for path in paths):  # last.ckpt may be a link to another one
        try:
            whole.append(_opened(path, readout))
        except IncompleteError as error:
            passed_over.append(str(error))
    if not whole:
        raise MergeError(passed_over[0])
    return whole, [f"passed over: {reason}" for reason in passed_over]


def _each_step_once(members: Sequence[Input]) -> list[Input]:
    """In order of steps, one of those that are the same checkpoint, as last.ckpt is."""
    kept: dict[int | None, Input] = {}
    for member in members:
        first = kept.setdefault(member.position, member)
        if first is not member and not begin_all_alike(first, member):
            raise MergeError(
                f"{member.path}: is at step {member.position:,}, as is {first.path}, with other weights; a series is "
                "of one run: move the checkpoints of others away, or name those to take"
            )
    return [kept[position] for position in sorted(kept, key=lambda position: position or 0)]
