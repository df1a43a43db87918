"""Checkpoints: complete and verified, or not there.

A checkpoint is a folder named by its position, with the tensors in safetensors files (written by
`torch.distributed.checkpoint`, the same path for one process and many) and `manifest.json`: position, counters,
and the sha256 of every file. It is written aside, hashed, flushed and renamed. Nothing in it is pickled.

It may have parts: folders of tensors within it that change seldom. A part that an earlier checkpoint holds already is
not written again but linked: one file under two names, which goes when the last checkpoint that has it goes.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import warnings
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
import torch.distributed.checkpoint as dcp
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor
from torch.distributed.checkpoint import HuggingFaceStorageReader, HuggingFaceStorageWriter
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.metadata import TensorStorageMetadata

from riverrun.errors import CheckpointError
from riverrun.publish import published_directory

FORMAT = 2
_NAME = re.compile(r"\d{8,}")


@dataclass(frozen=True)
class Checkpoint:
    """A folder that is, or claims to be, a checkpoint at position `step`.

    `parts` says whether its parts count: without them it is whole where only those are damaged.
    """

    path: Path
    step: int
    parts: bool = True

    @cached_property
    def manifest(self) -> dict[str, Any]:
        """The manifest, checked against its own hash; `CheckpointError` when it is missing or damaged."""
        try:
            manifest: dict[str, Any] = json.loads((self.path / "manifest.json").read_bytes())
            claimed = manifest.pop("sha256")
        except (OSError, ValueError, KeyError, AttributeError, TypeError) as error:
            raise CheckpointError(f"{self.path}: manifest.json cannot be read ({error})") from None
        if claimed != _hash_of_json(manifest):
            raise CheckpointError(f"{self.path}: manifest.json does not match its own hash")
        if manifest["format"] != FORMAT:
            raise CheckpointError(
                f"{self.path}: format {manifest['format']}; this version reads format {FORMAT}"
            )
        if manifest["step"] != self.step:
            raise CheckpointError(
                f"{self.path}: holds position {manifest['step']}; name the folder {manifest['step']:08d}"
            )
        return manifest

    @property
    def hash(self) -> str:
        """sha256 that stands for everything in this folder; a branch records its fork point by it.

        It names a save, not a state: safetensors orders its header at random, so two saves of one state may differ.
        """
        return _hash_of_json(self.manifest)

    def verify(self) -> None:
        """Hash every file; `CheckpointError` names the first that is missing, cut short or changed."""
        for name, expected in self.manifest["files"].items():
            if "/" in name and not self.parts:
                continue
            file = self.path / name
            if not file.is_file():
                raise CheckpointError(f"{self.path}: {name} is missing")
            try:
                size = file.stat().st_size
                found = _hash_of_file(file) if size == expected["bytes"] else None
            except OSError as error:  # a bad disk, or whoever trains here let it go at this moment
                raise CheckpointError(f"{self.path}: {name} cannot be read ({error.strerror})") from error
            if found is None:
                raise CheckpointError(
                    f"{self.path}: {name} has {size} bytes, {expected['bytes']} were written"
                )
            if found != expected["sha256"]:
                raise CheckpointError(f"{self.path}: {name} does not match its sha256")

    def names(self, part: str = "") -> dict[str, tuple[torch.Size, torch.dtype]]:
        """Name -> (shape, dtype) of every tensor in the checkpoint outside its parts, or in one of them."""
        metadata = HuggingFaceStorageReader(str(self.path / part)).read_metadata().state_dict_metadata
        return {
            name: (entry.size, entry.properties.dtype)
            for name, entry in metadata.items()
            if isinstance(entry, TensorStorageMetadata)
        }

    def load(self, into: Mapping[str, Tensor]) -> None:
        """Fill the given tensors in place. They must be the checkpoint's, name for name and shape for shape."""
        stored = self.names()
        missing, foreign = sorted(into.keys() - stored.keys()), sorted(stored.keys() - into.keys())
        if missing or foreign:
            what = f"has no {missing[0]}" if missing else f"has {foreign[0]}, which this run does not know"
            raise CheckpointError(f"{self.path}: {what}; it belongs to another recipe")
        self._fill(into, stored)

    def load_some(self, into: Mapping[str, Tensor], part: str = "") -> None:
        """Fill the given tensors in place, from the checkpoint or from a part of it, leaving others aside."""
        self._fill(into, self.names(part), part)

    def _fill(
        self, into: Mapping[str, Tensor], stored: Mapping[str, tuple[torch.Size, torch.dtype]], part: str = ""
    ) -> None:
        for name, tensor in into.items():
            if name not in stored:
                raise CheckpointError(f"{self.path}: has no {name}")
            shape = stored[name][0]
            if shape != tensor.shape:
                raise CheckpointError(
                    f"{self.path}: {name} has shape {tuple(shape)}, this run's has {tuple(tensor.shape)}; "
                    "it belongs to another recipe"
                )
        with _without_remarks(), _own_errors():
            reader = HuggingFaceStorageReader(str(self.path / part))
            dcp.load(dict(into), storage_reader=reader, no_dist=True)


@dataclass(frozen=True)
class Part:
    """A folder of tensors within a checkpoint.

    Attributes:
        name: of the folder, with slashes.
        tensors: what goes into it.
        saved: a checkpoint that holds the very same, if there is one.
    """

    name: str
    tensors: Mapping[str, Tensor]
    saved: Checkpoint | None = None


def save(
    folder: Path,
    step: int,
    tensors: Mapping[str, Tensor],
    counters: Mapping[str, Any],
    parts: Iterable[Part] = (),
) -> Checkpoint:
    """Write a checkpoint of position `step` under `folder`; one that is there already and whole is kept."""
    checkpoint = Checkpoint(folder / f"{step:08d}", step)
    if checkpoint.path.exists():
        try:
            checkpoint.verify()
        except CheckpointError:
            shutil.rmtree(checkpoint.path)
            checkpoint = Checkpoint(checkpoint.path, step)
        else:
            return checkpoint
    with published_directory(checkpoint.path) as aside:
        writer = HuggingFaceStorageWriter(str(aside), save_distributed=True)
        with _without_remarks(), _own_errors():
            dcp.save(dict(tensors), storage_writer=writer, no_dist=True)
        linked: dict[str, dict[str, Any]] = {}
        for part in parts:
            try:
                linked |= _link(part, aside)
            except (OSError, CheckpointError):  # the other is gone, or the file system links nothing
                shutil.rmtree(aside / part.name, ignore_errors=True)
                (aside / part.name).mkdir(parents=True)
                _write_file(aside / part.name / "model.safetensors", part.tensors)
        files = {
            name: linked.get(name) or {"bytes": file.stat().st_size, "sha256": _hash_of_file(file)}
            for file in sorted(aside.rglob("*"))
            if file.is_file() and (name := str(file.relative_to(aside)))
        }
        manifest = {"format": FORMAT, "step": step, **counters, "files": files}
        manifest["sha256"] = _hash_of_json(manifest)
        (aside / "manifest.json").write_text(json.dumps(manifest, indent=1), encoding="utf-8")
    return checkpoint


def _write_file(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Write tensors as `torch.distributed.checkpoint` would; what that does for each takes ten times the writing."""
    try:
        save_file(dict(tensors), path)
    except SafetensorError as error:  # a full disk, say, as text
        code = re.search(r"\(os error (\d+)\)", str(error))
        if code is None:
            raise
        raise OSError(int(code[1]), os.strerror(int(code[1])), str(path)) from error


def _link(part: Part, aside: Path) -> dict[str, dict[str, Any]]:
    """Link the files of a part that another checkpoint holds; their records in its manifest."""
    if part.saved is None:
        raise FileNotFoundError(part.name)
    records: dict[str, dict[str, Any]] = part.saved.manifest["files"]
    within = {name: record for name, record in records.items() if name.startswith(f"{part.name}/")}
    if not within:
        raise FileNotFoundError(part.name)
    (aside / part.name).mkdir(parents=True)
    for name in within:
        os.link(part.saved.path / name, aside / name)
    return within


def list_checkpoints(folder: Path) -> list[Checkpoint]:
    """Every folder that is named like a checkpoint, by position; none of them is read yet."""
    if not folder.is_dir():
        return []
    found = (path for path in folder.iterdir() if path.is_dir() and _NAME.fullmatch(path.name))
    return sorted((Checkpoint(path, int(path.name)) for path in found), key=lambda c: c.step)


@contextmanager
def _without_remarks() -> Iterator[None]:
    """Torch remarks on every save and load that one process does alone; that is what was asked for."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="torch.distributed is disabled", category=UserWarning)
        yield


@contextmanager
def _own_errors() -> Iterator[None]:
    """Raise what went wrong itself, such as the full disk, not torch's collection of what went wrong on all ranks."""
    try:
        yield
    except CheckpointException as error:
        raise next(iter(error.failures.values()))[0] from error


def _hash_of_file(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _hash_of_json(content: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
