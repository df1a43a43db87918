"""Everything that changes while training, under one name per tensor; what a checkpoint holds.

model.<parameter>             weights
optimizer.<parameter>.<key>   moments and counts
track.<average>.<parameter>   fp32 averages
rng.<device>                  torch's global generators (nothing in riverrun draws from them)
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from riverrun.averaging import Track
from riverrun.models import Decoder
from riverrun.runs import checkpoint
from riverrun.runs.checkpoint import Checkpoint
from riverrun.train.optimizer import optimizer_tensors
from riverrun.train.plan import Plan


@dataclass
class State:
    """Model, optimizers, averages and position of one run."""

    plan: Plan
    model: Decoder
    optimizers: list[torch.optim.Optimizer]
    tracks: dict[str, Track]
    step: int = 0
    skipped: int = 0

    @cached_property
    def parameters(self) -> list[Tensor]:
        """The live weights, in the order of `model.named_parameters()`."""
        return list(self.model.parameters())

    def update_tracks(self) -> None:
        """Take the weights of this position into every average."""
        for track in self.tracks.values():
            track.update(self.parameters, self.step)

    def tensors(self) -> dict[str, Tensor]:
        """Name -> tensor; all but the generators' states are the live ones, for loading into."""
        names = [name for name, _ in self.model.named_parameters()]
        found = {f"model.{name}": parameter.detach() for name, parameter in self.model.named_parameters()}
        for name, tensor in optimizer_tensors(self.model, self.optimizers):
            found[f"optimizer.{name}"] = tensor
        for track_name, track in self.tracks.items():
            for name, average in zip(names, track.average, strict=True):
                found[f"track.{track_name}.{name}"] = average
        found["rng.cpu"] = torch.get_rng_state()
        if self.parameters[0].is_cuda:
            found["rng.cuda"] = torch.cuda.get_rng_state()
        return found

    def save(self, folder: Path, data_fingerprint: str) -> Checkpoint:
        """Write the checkpoint of this position."""
        counters: dict[str, Any] = {
            "samples": self.plan.sizes.samples(self.step),
            "tokens": self.plan.tokens(self.step),
            "skipped": self.skipped,
            "tracks": {name: track.step for name, track in self.tracks.items()},
            "data": data_fingerprint,
        }
        return checkpoint.save(folder, self.step, self.tensors(), counters)

    def restore(self, saved: Checkpoint) -> None:
        """Become exactly what was saved. The plan stays this one: a checkpoint holds no schedule."""
        tensors = self.tensors()
        saved.load(tensors)
        torch.set_rng_state(tensors["rng.cpu"])
        if "rng.cuda" in tensors:
            torch.cuda.set_rng_state(tensors["rng.cuda"])
        for name, track in self.tracks.items():
            track.step = saved.manifest["tracks"][name]
        self.step = saved.step
        self.skipped = saved.manifest["skipped"]
