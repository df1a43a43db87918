"""Checkpoints: complete and verified, or not there.

A checkpoint is a folder named by its position, with the tensors in safetensors files (written by
`torch.distributed.checkpoint`, the same path for one process and many) and `manifest.json`: position, counters,
and the sha256 of every file. It is written aside, hashed, flushed and renamed. Nothing in it is pickled.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
import torch.distributed.checkpoint as dcp
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
    """A folder that is, or claims to be, a checkpoint at position `step`."""

    path: Path
    step: int

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

        It names a save, not a state: safetensors orders its header at random, so two saves of one state differ.
        """
        return _hash_of_json(self.manifest)

    def verify(self) -> None:
        """Hash every file; `CheckpointError` names the first that is missing, cut short or changed."""
        for name, expected in self.manifest["files"].items():
            file = self.path / name
            if not file.is_file():
                raise CheckpointError(f"{self.path}: {name} is missing")
            if file.stat().st_size != expected["bytes"]:
                raise CheckpointError(
                    f"{self.path}: {name} has {file.stat().st_size} bytes, {expected['bytes']} were written"
                )
            if _hash_of_file(file) != expected["sha256"]:
                raise CheckpointError(f"{self.path}: {name} does not match its sha256")

    def names(self) -> dict[str, tuple[torch.Size, torch.dtype]]:
        """Name -> (shape, dtype) of every tensor in the checkpoint."""
        metadata = HuggingFaceStorageReader(str(self.path)).read_metadata().state_dict_metadata
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

    def load_part(self, into: Mapping[str, Tensor]) -> None:
        """Fill the given tensors in place, leaving others of the checkpoint aside."""
        self._fill(into, self.names())

    def _fill(self, into: Mapping[str, Tensor], stored: Mapping[str, tuple[torch.Size, torch.dtype]]) -> None:
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
            dcp.load(dict(into), storage_reader=HuggingFaceStorageReader(str(self.path)), no_dist=True)


def save(folder: Path, step: int, tensors: Mapping[str, Tensor], counters: Mapping[str, Any]) -> Checkpoint:
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
        files = {
            str(file.relative_to(aside)): {"bytes": file.stat().st_size, "sha256": _hash_of_file(file)}
            for file in sorted(aside.rglob("*"))
            if file.is_file()
        }
        manifest = {"format": FORMAT, "step": step, **counters, "files": files}
        manifest["sha256"] = _hash_of_json(manifest)
        (aside / "manifest.json").write_text(json.dumps(manifest, indent=1), encoding="utf-8")
    return checkpoint


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
