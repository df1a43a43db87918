"""A history in a checkpoint: every block is a part of its own, which later checkpoints share until it is merged.

history/00000000-00000400/   the mean of the iterates 1 .. 400, under the parameters' names
history/open/                the block that was still growing
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from riverrun.averaging import History, Mixture, combine
from riverrun.averaging.layout import BlockLayout, Span
from riverrun.runs.checkpoint import Checkpoint, Part
from riverrun.sharding import shard, spread

OPEN = "history/open"


def history_facts(history: History) -> dict[str, Any]:
    """What the checkpoint's manifest says of a history."""
    return {
        **asdict(history.layout),
        "dtype": str(history.dtype).removeprefix("torch."),
        "spill": history.spill is not None,
        "start": history.start,
        "spans": [list(span) for span in history.spans()],
    }


def history_parts(
    history: History, names: Sequence[str], parameters: Sequence[Tensor], saved: Checkpoint | None
) -> list[Part]:
    """The blocks as parts of a checkpoint; `saved` is the last one that this history was saved in or loaded from.

    A block is laid out on the ranks as the parameters are.
    """
    blocks = list(history.blocks())
    closed = [Part(_folder(span), _spread(names, means, parameters), saved) for span, means in blocks[:-1]]
    return [*closed, Part(OPEN, _spread(names, blocks[-1][1], parameters))]


def load_history(
    history: History, names: Sequence[str], parameters: Sequence[Tensor], saved: Checkpoint
) -> None:
    """Go on from a checkpoint; from one without a history, begin at its position."""
    facts = saved_facts(saved)
    if facts is None:
        history.begin(saved.step, [(saved.step, saved.step)])
        return
    history.begin(facts["start"], spans_of(facts))
    for folder, (_, means) in zip(_folders(facts), history.blocks(), strict=True):
        _fill(saved, folder, _spread(names, means, parameters))


def saved_facts(saved: Checkpoint) -> dict[str, Any] | None:
    """What the manifest says of the history; None for a checkpoint without one, or whose parts do not count."""
    facts: dict[str, Any] | None = saved.manifest.get("history")
    return facts if saved.parts else None


def spans_of(facts: Mapping[str, Any]) -> list[Span]:
    """The blocks, oldest first; the last one is open."""
    return [(begin, end) for begin, end in facts["spans"]]


def new_history(params: Sequence[Tensor], facts: Mapping[str, Any], folder: Path | None) -> History:
    """An empty history with the settings of a saved one; `folder` is where its blocks go if they were spilled."""
    return History(
        params,
        **{name: facts[name] for name in BlockLayout.__dataclass_fields__},
        dtype=getattr(torch, facts["dtype"]),
        spill=folder if facts["spill"] else None,
    )


def combine_saved(
    saved: Checkpoint, mixtures: Sequence[Mixture], shapes: Mapping[str, torch.Size]
) -> list[dict[str, Tensor]]:
    """The averages of several mixtures over the blocks of a checkpoint, each block read once, one in memory at a time.

    Args:
        saved: a checkpoint with a history.
        mixtures: over its blocks (`spans_of`).
        shapes: of the parameters by name.
    """
    facts = saved_facts(saved)
    assert facts is not None

    def means(folder: str) -> list[Tensor]:
        loaded = {name: torch.empty(shape) for name, shape in shapes.items()}
        _fill(saved, folder, loaded)
        return list(loaded.values())

    sums = combine(mixtures, [partial(means, folder) for folder in _folders(facts)], list(shapes.values()))
    return [dict(zip(shapes, tensors, strict=True)) for tensors in sums]


def _spread(names: Sequence[str], means: Sequence[Tensor], parameters: Sequence[Tensor]) -> dict[str, Tensor]:
    return {name: spread(mean, like) for name, mean, like in zip(names, means, parameters, strict=True)}


def _folder(span: Span) -> str:
    begin, end = span
    return f"history/{begin:08d}-{end:08d}"


def _folders(facts: Mapping[str, Any]) -> list[str]:
    return [*(_folder(span) for span in spans_of(facts)[:-1]), OPEN]


def _fill(saved: Checkpoint, folder: str, into: Mapping[str, Tensor]) -> None:
    """Load a block; where the saved dtype is another, by way of a tensor that has it."""
    stored = saved.names(folder)
    loaded = {name: torch.empty_like(tensor, dtype=stored[name][1]) for name, tensor in into.items()}
    saved.load_some(loaded, folder)
    for name, tensor in into.items():
        shard(tensor).copy_(shard(loaded[name]))
