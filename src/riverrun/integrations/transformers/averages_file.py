"""Averages beside a Trainer's checkpoint: one safetensors file, its counters in the header."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor
from torch.distributed.tensor import DTensor

from riverrun.errors import CheckpointError
from riverrun.publish import UNFINISHED, flush

AVERAGES_FILE = "averages.safetensors"

# The entry of the header that holds the counters, as JSON; safetensors takes texts alone.
COUNTERS = "riverrun"


def save_averages(
    folder: Path, state: Mapping[str, Any], notes: Mapping[str, Any], *, writes: bool = True
) -> None:
    """Write an `Averager`'s state; the file appears whole or not at all.

    Args:
        folder: the checkpoint's, made where there is none.
        state: what `Averager.state_dict` gave, without a history.
        notes: what else is to be known of the checkpoint, for JSON.
        writes: False on the ranks that only take part in gathering what is sharded.
    """
    tensors: dict[str, Tensor] = {}
    for track, kept in state["tracks"].items():
        for name, average in kept["average"].items():
            whole = average.full_tensor() if isinstance(average, DTensor) else average
            if writes:
                tensors[f"{track}/{name}"] = whole.to("cpu").contiguous()
    if not writes:
        return
    tracks = {
        track: {"profile": kept["profile"], "step": kept["step"]} for track, kept in state["tracks"].items()
    }
    counters = {"step": state["step"], "tracks": tracks, "notes": dict(notes)}
    folder.mkdir(parents=True, exist_ok=True)
    aside = folder / f"{UNFINISHED}{AVERAGES_FILE}"
    save_file(tensors, aside, metadata={"format": "pt", COUNTERS: json.dumps(counters)})
    flush(aside)
    aside.replace(folder / AVERAGES_FILE)
    flush(folder)


def load_averages(folder: Path) -> tuple[dict[str, Any], dict[str, Any]] | None:
    """An `Averager`'s state and the notes; None where the checkpoint has no averages. Runs no pickled code.

    Raises:
        CheckpointError: the file is damaged.
    """
    path = folder / AVERAGES_FILE
    if not path.is_file():
        return None
    try:
        with safe_open(path, framework="pt") as file:
            counters = json.loads(file.metadata()[COUNTERS])
            tracks: dict[str, Any] = {
                track: {**kept, "average": {}} for track, kept in counters["tracks"].items()
            }
            for key in file.keys():  # noqa: SIM118  # it is no mapping
                track, _, name = key.partition("/")
                tracks[track]["average"][name] = file.get_tensor(key)
    except (OSError, KeyError, TypeError, ValueError, SafetensorError) as error:
        raise CheckpointError(
            f"{path}: cannot be read ({error}); go on from an earlier checkpoint."
        ) from error
    return {"step": counters["step"], "tracks": tracks}, counters["notes"]
