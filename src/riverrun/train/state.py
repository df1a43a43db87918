"""Everything that changes while training, under one name per tensor; what a checkpoint holds.

model.<parameter>             weights
optimizer.<parameter>.<key>   moments and counts
optimizer.schedule-free.<key> counters of Schedule-Free AdamW, float64
track.<average>.<parameter>   fp32 averages
rng.<device>                  torch's global generators (nothing in riverrun draws from them)

The blocks of a history are parts of the checkpoint (`saved_history`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from riverrun.averaging import History, Track
from riverrun.models import Decoder
from riverrun.ranks import Ranks
from riverrun.runs import checkpoint
from riverrun.runs.checkpoint import Checkpoint, Part
from riverrun.sharding import shard, shards, spread
from riverrun.train.optimizer import optimizer_tensors
from riverrun.train.parallel import Trainee
from riverrun.train.plan import Plan
from riverrun.train.saved_history import history_facts, history_parts, load_history, new_history, saved_facts
from riverrun.train.schedule_free import NAME as SCHEDULE_FREE
from riverrun.train.schedule_free import READOUT, counter_tensors, set_counters, solve_average
from riverrun.train.stopwatch import Stopwatch


@dataclass(frozen=True, kw_only=True)
class Snapshot:
    """A position as it goes into a checkpoint: tensors, counters, and the blocks of a history."""

    step: int
    tensors: dict[str, Tensor]
    counters: dict[str, Any]
    parts: list[Part]

    def write(self, folder: Path, ranks: Ranks) -> Checkpoint:
        """Write the checkpoint, with all other ranks."""
        return checkpoint.save(folder, self.step, self.tensors, self.counters, self.parts, ranks)


@dataclass
class State:
    """Model, optimizers, averages and position of one run; `folder` is on a disk with room for a history's blocks."""

    plan: Plan
    trainee: Trainee
    optimizers: list[torch.optim.Optimizer]
    tracks: dict[str, Track]
    history: History | None = None
    folder: Path | None = None
    step: int = 0
    skipped: int = 0
    saved: Checkpoint | None = None
    """The checkpoint that was saved or restored last; the next one shares the history's blocks with it."""

    @property
    def model(self) -> Decoder:
        """The decoder."""
        return self.trainee.decoder

    @cached_property
    def forward_time(self) -> Stopwatch:
        """What this rank spends in forward passes; from it slow ranks are known."""
        return Stopwatch(self.parameters[0].device)

    @cached_property
    def parameters(self) -> list[Tensor]:
        """The live weights, in the order of `model.named_parameters()`; DTensors where they are sharded."""
        return list(self.model.parameters())

    @cached_property
    def shards(self) -> list[Tensor]:
        """What this rank holds of them, in the same memory; averages are made of these."""
        return shards(self.parameters)

    @cached_property
    def names(self) -> list[str]:
        """Their names, in that order."""
        return [name for name, _ in self.model.named_parameters()]

    @property
    def schedule_free(self) -> torch.optim.Optimizer | None:
        """The optimizer that keeps an average of its own, where the recipe names it."""
        return self.optimizers[0] if self.plan.recipe.optimizer.name == SCHEDULE_FREE else None

    @property
    def gradients(self) -> list[Tensor]:
        """What this rank holds of the gradients."""
        return shards(parameter.grad for parameter in self.parameters if parameter.grad is not None)

    def update_averages(self) -> None:
        """Take the weights of this position into every average, and into the history."""
        for track in self.tracks.values():
            track.update(self.shards, self.step)
        if self.history is not None:
            self.history.update(self.shards, self.step)

    def tensors(self) -> dict[str, Tensor]:
        """Name -> tensor, for loading into: the live ones, but for what `restore` must take over from them."""
        found = {f"model.{name}": parameter.detach() for name, parameter in self.model.named_parameters()}
        for name, tensor in optimizer_tensors(self.model, self.optimizers):
            found[f"optimizer.{name}"] = tensor
        if self.schedule_free is not None:
            found |= counter_tensors(self.schedule_free)
        for track_name, track in self.tracks.items():
            for name, average, like in zip(self.names, track.average, self.parameters, strict=True):
                found[f"track.{track_name}.{name}"] = spread(average, like)
        found["rng.cpu"] = torch.get_rng_state()
        if self.parameters[0].is_cuda:
            found["rng.cuda"] = torch.cuda.get_rng_state()
        return found

    def weights(self) -> Iterator[tuple[str, list[Tensor] | None]]:
        """Name and shards of each readout of this position; None stands for the live weights, "raw"."""
        yield "raw", None
        if self.schedule_free is not None:
            iterates = shards(self.schedule_free.state[parameter]["z"] for parameter in self.parameters)
            yield READOUT, solve_average(self.shards, iterates, self.plan.recipe.optimizer)
        for name, track in self.tracks.items():
            if track.step:  # updated every k steps, it may hold nothing yet
                yield name, track.average

    def snapshot(self, data: Mapping[str, Any], copied: bool = False) -> Snapshot:
        """What the checkpoint of this position holds, with the fingerprint of the `data` it was trained on.

        `copied`, it stays as it is while training goes on.
        """
        counters: dict[str, Any] = {
            "samples": self.plan.sizes.samples(self.step),
            "tokens": self.plan.tokens(self.step),
            "skipped": self.skipped,
            "tracks": {name: track.step for name, track in self.tracks.items()},
            "data": data,
            "fork_point": self.plan.is_fork_point(self.step),
        }
        parts: list[Part] = []
        if self.history is not None:
            counters["history"] = history_facts(self.history)
            parts = history_parts(self.history, self.names, self.parameters, self.saved)
        tensors = self.tensors()
        if copied:
            tensors = _copied(tensors)
            parts = [
                Part(part.name, {} if part.is_saved else _copied(part.tensors), part.saved) for part in parts
            ]
        return Snapshot(step=self.step, tensors=tensors, counters=counters, parts=parts)

    def restore(self, saved: Checkpoint) -> None:
        """Become exactly what was saved. The plan stays this one: a checkpoint holds no schedule.

        A history that was saved goes on, whether the recipe asks for one or not; one that was not begins here.
        """
        tensors = self.tensors()
        saved.load(tensors)
        if self.schedule_free is not None:
            set_counters(self.schedule_free, tensors)
        torch.set_rng_state(tensors["rng.cpu"])
        if "rng.cuda" in tensors:
            torch.cuda.set_rng_state(tensors["rng.cuda"])
        for name, track in self.tracks.items():
            track.step = saved.manifest["tracks"][name]
        facts = saved_facts(saved)
        if self.history is None and facts is not None:
            self.history = new_history(self.shards, facts, self.folder)
        if self.history is not None:
            load_history(self.history, self.names, self.parameters, saved)
        self.step = saved.step
        self.skipped = saved.manifest["skipped"]
        self.saved = saved


def _copied(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Copies in the host's memory, page-locked and all under way at once where they come from a GPU."""
    copies = {}
    for name, tensor in tensors.items():
        part = shard(tensor)
        copy = torch.empty(part.shape, dtype=part.dtype, pin_memory=part.is_cuda)
        copies[name] = spread(copy.copy_(part, non_blocking=True), tensor)
    if any(shard(tensor).is_cuda for tensor in tensors.values()):
        torch.cuda.current_stream().synchronize()
    return copies
