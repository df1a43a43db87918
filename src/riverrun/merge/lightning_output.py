"""The output of a merge of Lightning checkpoints: a file that `load_from_checkpoint` reads, its tensors still to come.

torch.save writes everything but the contents of tensors, for which it leaves room; the merge then puts them there, so
that no tensor is ever in memory. The checksums in the archive are those of empty records; torch looks at none.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.serialization import skip_data

from riverrun.merge.headers import Stored
from riverrun.merge.inputs import Input
from riverrun.merge.layout import Shard
from riverrun.merge.torch_files import read_torch_file

_DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}


def write_without_contents(planned: Shard, inputs: Sequence[Input], folder: Path) -> Shard:
    """Write the file into `folder`, with room for the tensors, and return it with their places.

    What is no tensor is that of the last input. Tensors that are one in all inputs, as tied ones are, stay one.
    """
    names = _first_names(planned, inputs)
    entries = inputs[-1].entries
    assert entries is not None
    with FakeTensorMode():
        made = {
            name: torch.empty(stored.shape, dtype=_DTYPES[stored.dtype])
            for name, stored in planned.tensors.items()
            if names[name] == name
        }
    others = entries["state_dict"]
    state: OrderedDict[str, Any] = OrderedDict((name, made[names[name]]) for name in planned.tensors)
    state.update(others)
    vars(state).update(vars(others))
    with skip_data(materialize_fake_tensors=True):
        torch.save({**entries, "state_dict": state}, folder / planned.name)
    written: dict[str, Stored] = read_torch_file(folder / planned.name)["state_dict"]
    return Shard(planned.name, b"", {name: written[name] for name in made})


def _first_names(planned: Shard, inputs: Sequence[Input]) -> dict[str, str]:
    """For each tensor the first name that it has in all inputs."""
    first: dict[tuple[Stored, ...], str] = {}
    return {
        name: first.setdefault(tuple(source.tensors[name] for source in inputs), name)
        for name in planned.tensors
    }
