"""Averages out of torchtitan's checkpoints, without torchtitan."""

import re
import warnings
from os import PathLike

import torch
import torch.distributed.checkpoint as dcp
from torch import Tensor
from torch.distributed.checkpoint.metadata import TensorStorageMetadata

from riverrun.errors import CheckpointError
from riverrun.schedules.fields import unknown_name

# How a checkpoint names what `Averages.state_dict` gave: {"tracks": {NAME: {"average": {PARAMETER: ...}}}}
_SAVED = re.compile(r"averages\.tracks\.(?P<name>.+?)\.average\.(?P<parameter>.+)")


def read_average(checkpoint: str | PathLike[str], name: str) -> dict[str, Tensor]:
    """An average out of a checkpoint of torchtitan: whole tensors by parameter name, fp32, on the CPU.

    One process reads it, whatever the number that saved it. Like all that loads torchtitan's checkpoints it unpickles
    the file ``.metadata`` in them.

    Args:
        checkpoint: a folder such as ``outputs/checkpoint/step-1000``.
        name: of the average, such as "ema-25".

    Raises:
        CheckpointError: no checkpoint of torchtitan, or one without averages.
        ValueError: an unknown name.
    """
    reader = dcp.FileSystemReader(checkpoint)
    try:
        saved = reader.read_metadata().state_dict_metadata
    except FileNotFoundError:
        raise CheckpointError(
            f"checkpoint: got {checkpoint}; must be a folder that torchtitan saved, such as .../step-1000"
        ) from None
    keys: dict[str, dict[str, str]] = {}
    for key in saved:
        if found := _SAVED.fullmatch(key):
            keys.setdefault(found["name"], {})[found["parameter"]] = key
    if not keys:
        raise CheckpointError(
            f"checkpoint: got {checkpoint}, which has no averages; must be of a run with them, not its model alone"
        )
    if name not in keys:
        raise unknown_name("average", name, keys)
    average = {}
    for key in keys[name].values():
        entry = saved[key]
        assert isinstance(entry, TensorStorageMetadata)
        average[key] = torch.empty(entry.size, dtype=entry.properties.dtype)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="torch.distributed is disabled", category=UserWarning)
        dcp.load(average, storage_reader=reader, no_dist=True)
    return {parameter: average[key] for parameter, key in keys[name].items()}
