"""Places in weight space: what a run holds to probe, where each lies on disk, and the learning rates that led there."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils import parameters_to_vector

from riverrun.errors import CheckpointError
from riverrun.runs import Checkpoint, Node, Tree
from riverrun.train.costs import legible, recorded_plan
from riverrun.train.decay import decays_of
from riverrun.train.restore import restore_readout

PlaceKind = Literal["stable", "decayed", "average"]


@dataclass(frozen=True)
class Place:
    """The weights of one readout of one checkpoint.

    Attributes:
        node: the run that holds the checkpoint.
        step: its position.
        readout: "raw", or the name of a track.
        kind: "stable" for raw weights outside every decay, "decayed" for raw weights at the end of one, "average" for
            a track outside every decay.
        summed_lr: the learning rates of all updates that led there, added up.
    """

    node: Node
    step: int
    readout: str
    kind: PlaceKind
    summed_lr: float

    @property
    def label(self) -> str:
        """In a few words, for tables and figures."""
        position = f"{self.node.id} {self.step:,}" if self.kind != "decayed" else f"{self.node.id}"
        return position if self.readout == "raw" else f"{self.readout} of {position}"


@dataclass(frozen=True)
class DecayedEnd:
    """The end of a decay, and the stable place that it fell from."""

    fork: Place
    end: Place


def stable_places(tree: Tree) -> list[Place]:
    """The checkpoints of the trunk outside every decay, by position.

    Raises:
        CheckpointError: there are fewer than two.
    """
    spans = list(decays_of(recorded_plan(tree.trunk).schedule))
    found = [
        place_of(tree, tree.trunk, saved.step, "stable")
        for saved in tree.trunk.checkpoints()
        if not any(start < saved.step <= end for start, end in spans)
    ]
    if len(found) < 2:
        raise CheckpointError(
            f"{tree.trunk.path}: a probe needs two checkpoints outside decays, and there are {len(found)}; train the "
            'run further, or keep more with --set checkpoints.every="100 steps" --set checkpoints.keep=10'
        )
    return found


def decayed_ends(tree: Tree, note: Callable[[str], None]) -> list[DecayedEnd]:
    """Every decay whose beginning and end are both kept, in order of its end.

    A branch that stands within its decay is left out, as is one whose fork point is gone; `note` is told of those.
    """
    found = []
    for node in legible(tree.nodes(), note):
        own = {saved.step for saved in node.checkpoints()}
        above = tree.lineage(node)[-2] if node.parent else None
        kept_above = {saved.step for saved in above.checkpoints()} if above else set()
        for start, end in decays_of(recorded_plan(node).schedule):
            if node.parent and end <= node.parent.step:
                continue  # a decay of a node above
            holder = node if start in own else above if above and start in kept_above else None
            if end not in own or holder is None:
                note(
                    f"{node.id}: its decay from step {start:,} to {end:,} is not kept whole, and is left out"
                )
                continue
            fork = place_of(tree, holder, start, "stable")
            found.append(DecayedEnd(fork, place_of(tree, node, end, "decayed")))
    return sorted(found, key=lambda one: (one.end.step, one.end.node.id))


def place_of(tree: Tree, node: Node, step: int, kind: PlaceKind, readout: str = "raw") -> Place:
    """A place, with the learning rates that led to it added up."""
    return Place(node, step, readout, kind, summed_lr(tree, node, step))


def summed_lr(tree: Tree, node: Node, step: int) -> float:
    """Sum of the learning rates of updates 1 to `step` on the way to a position, each by the node that took it."""
    lineage = tree.lineage(node)
    forks = [below.parent.step for below in lineage[1:] if below.parent]
    total = 0.0
    for above, first, last in zip(lineage, [0, *forks], [*forks, step], strict=True):
        plan = recorded_plan(above)
        taken = np.arange(first + 1, last + 1)
        total += plan.recipe.optimizer.peak_lr * float(np.sum(plan.schedule(taken)))
    return total


def common_track(first: Place, last: Place) -> str | None:
    """The first track of the recipe that holds something at both checkpoints; None where there is none."""
    kept = [_tracks(place) for place in (first, last)]
    return next((name for name, step in kept[0].items() if step and kept[1].get(name)), None)


def weights_of(place: Place) -> Tensor:
    """All parameters of a place as one vector, fp32, in the order of `model.named_parameters()`."""
    model = restore_readout(place.node, place.readout, place.step, note=lambda text: None).model
    with torch.no_grad():
        return parameters_to_vector(model.parameters()).clone()


def checkpoint_of(place: Place) -> Checkpoint:
    """Where the place lies on disk, unread."""
    return next(saved for saved in place.node.checkpoints() if saved.step == place.step)


def _tracks(place: Place) -> dict[str, int]:
    tracks: dict[str, int] = checkpoint_of(place).manifest["tracks"]
    return tracks
