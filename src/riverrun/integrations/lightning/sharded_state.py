"""Sharded averages in Lightning's checkpoints.

Lightning saves the states of callbacks from the first rank alone. What it saves from all ranks, by PyTorch's
distributed checkpoint, are weights and the states of optimizers; the averages go with the latter, behind all of them,
where nothing but this looks for them.
"""

import os
from collections.abc import Mapping
from typing import Any

import torch.distributed.checkpoint as dcp
from torch.distributed.tensor import DTensor

from riverrun.integrations.torch import Averager

_PLACE = "shards"


def place_shards(trainer: Any, checkpoint: dict[str, Any], state: Mapping[str, Any]) -> dict[str, Any]:
    """The state of the averages as it can be saved by the first rank; on all ranks.

    Args:
        trainer: its strategy says whether the checkpoint is sharded. If it is not, the averages are assembled as the
            weights are, one tensor at a time.
        checkpoint: Lightning's, that is to be saved; sharded averages are put into it.
        state: of the `Averager`.
    """
    averages = {name: track["average"] for name, track in state["tracks"].items()}
    if not any(isinstance(tensor, DTensor) for average in averages.values() for tensor in average.values()):
        return dict(state)
    if not trainer.strategy._save_distributed_checkpoint:
        whole = {name: _assembled(average, trainer.is_global_zero) for name, average in averages.items()}
        tracks = {name: {**track, "average": whole[name]} for name, track in state["tracks"].items()}
        return {**state, "tracks": tracks}
    states = checkpoint["optimizer_states"]
    tracks = {
        name: {key: value for key, value in track.items() if key != "average"}
        for name, track in state["tracks"].items()
    }
    placed = {**state, "tracks": tracks, _PLACE: f"optimizer_{len(states)}"}
    states.append(averages)
    return placed


def read_shards(averager: Averager, state: Mapping[str, Any], path: str | os.PathLike[str]) -> dict[str, Any]:
    """The state with the averages that `place_shards` put into the checkpoint at ``path``; on all ranks.

    Read into the averager's own memory, of any layout, by any number of ranks.
    """
    if _PLACE not in state:
        return dict(state)
    own = averager.state_dict()["tracks"]
    averages = {name: own[name]["average"] for name in state["tracks"] if name in own}
    dcp.load({state[_PLACE]: averages}, checkpoint_id=path)
    tracks = {name: {**track, "average": averages.get(name)} for name, track in state["tracks"].items()}
    return {**state, "tracks": tracks}


def _assembled(average: Mapping[str, Any], keep: bool) -> dict[str, Any]:
    whole = {}
    for name, tensor in average.items():
        full = tensor.full_tensor() if isinstance(tensor, DTensor) else tensor
        if keep:
            whole[name] = full.cpu()
    return whole
