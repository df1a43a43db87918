"""Checkpoints of a plan on a shared disk: how large, how long to write, how many are kept."""

from __future__ import annotations

import re
from dataclasses import dataclass

from riverrun.averaging.layout import Span
from riverrun.errors import SettingError
from riverrun.train.device_memory import Spreading, shard
from riverrun.train.estimate import kept_positions as kept_positions
from riverrun.train.memory import block_bytes, memory_of
from riverrun.train.plan import Plan

_UNITS = {"B": 1, "bit": 1 / 8}
_DECIMAL = {"": 1, "k": 10**3, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}
_MULTIPLES = _DECIMAL | {"Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40}
_BANDWIDTH = re.compile(r"(?P<number>\d+(?:\.\d+)?|\.\d+) ?(?P<multiple>[kKMGT]i?|)(?P<unit>B|bit)/s")


@dataclass(frozen=True, kw_only=True)
class Storage:
    """Bytes and seconds.

    Attributes:
        checkpoint: tensors of a checkpoint, but for the closed blocks of a history, which checkpoints share.
        per_rank: what the fullest rank writes of it; under "ddp" the first writes all.
        new_blocks: closed blocks that the last checkpoint up to the position writes besides, in all.
        write_seconds: to write both.
        between_seconds: from one checkpoint to the next, at the largest batch.
        kept: checkpoints at the position.
        blocks: closed blocks that those share.
        spilled: buffers of a history that lives on the disk.
    """

    checkpoint: int
    per_rank: int
    new_blocks: int
    write_seconds: float
    between_seconds: float
    kept: int
    blocks: int
    spilled: int

    @property
    def disk(self) -> int:
        """All that lies on the disk at the position."""
        return self.checkpoint * self.kept + self.blocks + self.spilled

    @property
    def keeps_up(self) -> bool:
        """Whether a checkpoint is written before the next one is due."""
        return self.write_seconds <= self.between_seconds


def storage_of(
    plan: Plan,
    step: int,
    spreading: Spreading,
    gpus: int,
    nodes: int,
    bandwidth: float,
    step_seconds: float,
) -> Storage:
    """The checkpoints of `plan` at the position `step`; nodes that write have `bandwidth` bytes a second each."""
    memory = memory_of(plan)
    positions = kept_positions(plan, step)
    closed = {span for position in positions for span in _closed(plan, position)}
    last = step // plan.checkpoint_every * plan.checkpoint_every
    new = _closed(plan, last) - _closed(plan, last - plan.checkpoint_every)
    new_blocks = _bytes(plan, new)
    writers = nodes if spreading == "fsdp" else 1
    history = plan.recipe.averaging.history
    return Storage(
        checkpoint=memory.checkpoint,
        per_rank=memory.checkpoint if spreading == "ddp" else shard(memory.checkpoint, plan.decoder, gpus),
        new_blocks=new_blocks,
        write_seconds=(memory.checkpoint + new_blocks) / (bandwidth * writers),
        between_seconds=plan.checkpoint_every * step_seconds,
        kept=len(positions),
        blocks=_bytes(plan, closed),
        spilled=memory.blocks if history is not None and history.spill else 0,
    )


def parse_bandwidth(text: str) -> float:
    """Bytes a second of "2 GB/s", "1.5GiB/s" or "100 Gbit/s"; decimal multiples unless they say "i".

    Raises:
        SettingError: it is not written so, or is 0.
    """
    match = _BANDWIDTH.fullmatch(text.strip())
    value = float(match["number"]) * _MULTIPLES[match["multiple"]] * _UNITS[match["unit"]] if match else 0.0
    if not value:
        raise SettingError(
            f'--storage-bandwidth: got {text!r}; must be above 0 and written "2 GB/s", "500 MB/s" or "100 Gbit/s"'
        )
    return value


def _closed(plan: Plan, position: int) -> set[Span]:
    """The history's closed blocks at a position."""
    return set(plan.history.spans(position)[:-1]) if plan.history and position > 0 else set()


def _bytes(plan: Plan, spans: set[Span]) -> int:
    return sum(block_bytes(plan, oldest=begin == 0) for begin, _ in spans)
