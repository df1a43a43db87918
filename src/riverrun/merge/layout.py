"""How the output lies on disk: which tensor in which file, and at which offset."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from riverrun.merge.directories import INDEX, WEIGHTS
from riverrun.merge.headers import Stored

CHECKPOINT = "model.ckpt"
"""The file that a merge of Lightning's checkpoints gives."""


@dataclass(frozen=True)
class Shard:
    """One safetensors file, or a checkpoint of Lightning.

    Attributes:
        name: of the file.
        header: its first bytes: the length, and the JSON padded to a multiple of 8; empty for a checkpoint, of which
            all but the contents of tensors is written at once.
        tensors: name -> place, in the order of the data.
    """

    name: str
    header: bytes
    tensors: dict[str, Stored]

    @property
    def bytes(self) -> int:
        """The size of the file."""
        return len(self.header) + sum(tensor.bytes for tensor in self.tensors.values())


def lay_out(tensors: Sequence[tuple[str, str, tuple[int, ...]]], shard_bytes: int) -> tuple[Shard, ...]:
    """One file, or numbered shards of `shard_bytes` of data or one larger tensor.

    Args:
        tensors: name, dtype as safetensors names it, and shape; their order is kept but for narrower dtypes, which
            come last in their file, so that all are aligned.
        shard_bytes: largest size of the data of one file.
    """
    groups: list[dict[str, Stored]] = [{}]
    size = 0
    for name, dtype, shape in tensors:
        stored = Stored(dtype, shape, Path(), 0)
        if groups[-1] and size + stored.bytes > shard_bytes:
            groups.append({})
            size = 0
        groups[-1][name] = stored
        size += stored.bytes
    if len(groups) == 1:
        return (_shard(WEIGHTS, groups[0]),)
    count = len(groups)
    return tuple(
        _shard(f"model-{number:05}-of-{count:05}.safetensors", group)
        for number, group in enumerate(groups, 1)
    )


def one_file(tensors: Sequence[tuple[str, str, tuple[int, ...]]]) -> Shard:
    """A checkpoint of Lightning; where its tensors lie is known when it is written."""
    return Shard(CHECKPOINT, b"", {name: Stored(dtype, shape, Path(), 0) for name, dtype, shape in tensors})


def write_index(folder: Path, shards: Sequence[Shard]) -> None:
    """Write the index that several shards need."""
    if len(shards) == 1:
        return
    total = sum(tensor.bytes for shard in shards for tensor in shard.tensors.values())
    places = {name: shard.name for shard in shards for name in shard.tensors}
    content = {"metadata": {"total_size": total}, "weight_map": places}
    (folder / INDEX).write_text(json.dumps(content, indent=2) + "\n")


def _shard(file: str, group: dict[str, Stored]) -> Shard:
    ordered = sorted(group.items(), key=lambda item: -item[1].itemsize)
    entries: dict[str, object] = {
        "__metadata__": {"format": "pt"}
    }  # transformers refuses a file without this mark
    end = 0
    for name, stored in ordered:
        entries[name] = {
            "dtype": stored.dtype,
            "shape": list(stored.shape),
            "data_offsets": [end, end + stored.bytes],
        }
        end += stored.bytes
    text = json.dumps(entries, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    header = len(text).to_bytes(8, "little") + text
    placed: dict[str, Stored] = {}
    begin = len(header)
    for name, stored in ordered:
        placed[name] = Stored(stored.dtype, stored.shape, Path(file), begin)
        begin += stored.bytes
    return Shard(file, header, placed)
