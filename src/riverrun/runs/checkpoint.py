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
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cached_property, partial
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
from torch.distributed.tensor import DTensor

from riverrun.errors import CheckpointError
from riverrun.publish import flush, published_directory
from riverrun.ranks import ALONE, Ranks

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

    @property
    def is_saved(self) -> bool:
        """Whether that checkpoint is known to hold it."""
        return self.saved is not None and bool(_records(self.saved, self.name))


def save(
    folder: Path,
    step: int,
    tensors: Mapping[str, Tensor],
    counters: Mapping[str, Any],
    parts: Iterable[Part] = (),
    ranks: Ranks = ALONE,
) -> Checkpoint:
    """Write a checkpoint of position `step` under `folder`; one that is there already and whole is kept.

    Several ranks call this together, on one file system: each writes, flushes and hashes a file of its own shards, and
    the first one puts the folder in place when all are done. What goes wrong on one of them goes wrong on all.
    """
    checkpoint = Checkpoint(folder / f"{step:08d}", step)
    if ranks.once(lambda: _is_there(checkpoint)):
        return checkpoint
    checkpoint = Checkpoint(checkpoint.path, step)
    with _published(checkpoint.path, ranks) as aside:
        ranks.each(lambda: _write_shards(aside, tensors, ranks))
        linked: dict[str, dict[str, Any]] = {}
        for part in parts:
            found = ranks.once(partial(_link, part, aside))
            if found is None:
                ranks.each(partial(_write_part, aside / part.name, part.tensors, ranks))
            else:
                linked |= found
        written = ranks.each(lambda: _hashes(aside, linked, ranks))
        files = {name: record for records in (linked, *written) for name, record in records.items()}
        manifest = {"format": FORMAT, "step": step, **counters, "files": dict(sorted(files.items()))}
        manifest["sha256"] = _hash_of_json(manifest)
        content = json.dumps(manifest, indent=1)
        ranks.once(lambda: (aside / "manifest.json").write_text(content, encoding="utf-8"))
    return checkpoint


def _is_there(checkpoint: Checkpoint) -> bool:
    """Whether it is, and whole; a damaged one is removed."""
    if not checkpoint.path.exists():
        return False
    try:
        checkpoint.verify()
    except CheckpointError:
        shutil.rmtree(checkpoint.path)
        return False
    return True


@contextmanager
def _published(target: Path, ranks: Ranks) -> Iterator[Path]:
    """`published_directory`, made and put in place by the first rank, filled by all."""
    with ExitStack() as stack:
        yield ranks.once(lambda: stack.enter_context(published_directory(target)))
        ranks.once(stack.close)


def _write_shards(aside: Path, tensors: Mapping[str, Tensor], ranks: Ranks) -> None:
    writer = HuggingFaceStorageWriter(str(aside), save_distributed=True)
    with _without_remarks(), _own_errors():
        dcp.save(dict(tensors), storage_writer=writer, process_group=ranks.group, no_dist=ranks.size == 1)


def _write_part(folder: Path, tensors: Mapping[str, Tensor], ranks: Ranks) -> None:
    """Write this rank's shards as `torch.distributed.checkpoint` would; that takes ten times the writing for each.

    Of what every rank holds whole, the first one writes all.
    """
    folder.mkdir(parents=True, exist_ok=True)
    own: dict[str, Tensor] = {}
    offsets: dict[str, dict[str, list[int]]] = {}
    for name, tensor in tensors.items():
        if isinstance(tensor, DTensor):
            for chunk in tensor.__create_chunk_list__():  # none where the shard is empty
                if 0 not in chunk.sizes:
                    own[name], offsets[name] = tensor.to_local(), {"saved_offsets": list(chunk.offsets)}
        elif ranks.first:
            own[name], offsets[name] = tensor, {"saved_offsets": [0] * tensor.ndim}
    if own:
        name = "model" if ranks.size == 1 else _shard_name(ranks)
        _write_file(folder / f"{name}.safetensors", own, {"DCP_SHARDING_INFO": json.dumps(offsets)})


def _shard_name(ranks: Ranks) -> str:
    """How the names of the files begin that a rank writes, as torch has them."""
    return f"shard-{ranks.rank + 1:05d}"


def _hashes(aside: Path, linked: Mapping[str, Any], ranks: Ranks) -> dict[str, dict[str, Any]]:
    """Flush and hash the files that this rank wrote."""
    records = {}
    for file in sorted(aside.rglob("*.safetensors")):
        name = str(file.relative_to(aside))
        if name not in linked and (ranks.size == 1 or file.name.startswith(_shard_name(ranks))):
            flush(file)
            records[name] = {"bytes": file.stat().st_size, "sha256": _hash_of_file(file)}
    return records


def _write_file(path: Path, tensors: Mapping[str, Tensor], remarks: dict[str, str] | None = None) -> None:
    try:
        save_file(dict(tensors), path, remarks)
    except SafetensorError as error:  # a full disk, say, as text
        code = re.search(r"\(os error (\d+)\)", str(error))
        if code is None:
            raise
        raise OSError(int(code[1]), os.strerror(int(code[1])), str(path)) from error


def _link(part: Part, aside: Path) -> dict[str, dict[str, Any]] | None:
    """Link the files of a part that another checkpoint holds; their records in its manifest.

    None where they are not there any more, or the file system links nothing: then the part is written again.
    """
    if part.saved is None:
        return None
    try:
        within = _records(part.saved, part.name)
        for name in within:
            (aside / name).parent.mkdir(parents=True, exist_ok=True)
            os.link(part.saved.path / name, aside / name)
    except (OSError, CheckpointError):
        shutil.rmtree(aside / part.name, ignore_errors=True)
        if not part.tensors:
            raise
        return None
    return within or None


def _records(saved: Checkpoint, part: str) -> dict[str, dict[str, Any]]:
    """What a checkpoint's manifest says of the files of a part."""
    records: dict[str, dict[str, Any]] = saved.manifest["files"]
    return {name: record for name, record in records.items() if name.startswith(f"{part}/")}


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
