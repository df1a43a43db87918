"""Averages after the fact: any profile at any position, from the histories that checkpoints hold."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from riverrun.averaging import HalfLife, Mixture, Profile, Tail, Uniform, mixture
from riverrun.averaging.decay_like import DecayLike
from riverrun.errors import CheckpointError, SettingError
from riverrun.runs import Checkpoint, Node, Tree
from riverrun.train.saved_history import combine_saved, saved_facts, spans_of

USUAL: tuple[Profile, ...] = (
    *(HalfLife(f) for f in (100, 50, 25, 12.5, 6.25)),
    *(Tail(alpha) for alpha in (0.02, 0.05, 0.1, 0.2, 0.5)),
    *(DecayLike("cosine", fraction) for fraction in (0.1, 0.2, 0.5)),
    *(DecayLike("sqrt", fraction) for fraction in (0.1, 0.2, 0.5)),
    Uniform(),
)
"""What a sweep tries, and what is named where something else was asked for in vain."""

LARGEST_BOUND = 0.25
"""Of the weight, how much may lie on other iterates than asked, unless the user allows more."""

# Averages are summed so many at a time, or as many as fit into so many bytes; each time, all blocks are read once.
_SUMMED_AT_ONCE = 16
_SUMMED_BYTES = 2**32


@dataclass(frozen=True)
class Average:
    """The weights of an average.

    Attributes:
        node: the run that took the step: for a position before the fork of a branch, one above it.
        profile: what it is; with its window snapped to an edge, that window.
        step: the position that it is an average at.
        bound: total variation between its weights and the profile's, from 0 to 1; 0 for a track, which is exact.
        source: "track", or "history": what it was made from.
        checkpoint: where that lies; the position of the checkpoint may be a later one.
        weights: by parameter name, fp32.
    """

    node: Node
    profile: Profile
    step: int
    bound: float
    source: str
    checkpoint: Checkpoint
    weights: dict[str, Tensor]


def averages(
    node: Node,
    profiles: Sequence[Profile],
    step: int,
    shapes: dict[str, torch.Size],
    *,
    snap: bool = False,
    largest_bound: float = LARGEST_BOUND,
    leave_out: bool = False,
    expect: Callable[[Node, Profile, int], object] = lambda node, profile, step: None,
    note: Callable[[str], None] = print,
) -> Iterator[Average]:
    """Averages at a position: of a track where one is that average, else from the nearest history behind it.

    Args:
        node: the run, with its past on the way to it.
        profiles: which ones.
        step: the position, at most that of the latest checkpoint.
        shapes: of the parameters by name.
        snap: move the edges of windows to edges of blocks: exact averages of windows nearly as long.
        largest_bound: what comes with more is refused.
        leave_out: leave out what is refused for that, instead of raising an error for the first.
        expect: told of the node, the profile and the position of each before the first is made.
        note: told about damaged checkpoints that were passed over.

    Raises:
        CheckpointError: no checkpoint there or later, or no history; or the blocks there are too wide for a profile:
            the message says which positions and which profiles remain.
        SettingError: ``snap`` for a profile without a window.
    """
    saved = _behind(node, step, note)
    tracks = {} if snap else {profile: _track_step(saved, profile, step) for profile in profiles}
    rest = [profile for profile in profiles if not tracks.get(profile)]
    mixed = _mixtures(node, saved, rest, step, snap, largest_bound, leave_out)
    exact = [(profile, last) for profile, last in tracks.items() if last]
    for profile, at in (*exact, *((one.profile, one.at) for one in mixed)):
        expect(_trained_by(node, at), profile, at)
    for profile, last in exact:
        yield _of_track(node, saved, profile, last, shapes)
    size = sum(4 * shape.numel() for shape in shapes.values())
    at_once = max(1, min(_SUMMED_AT_ONCE, _SUMMED_BYTES // max(size, 1)))
    for first in range(0, len(mixed), at_once):
        yield from _of_history(node, saved, mixed[first : first + at_once], shapes)


def _mixtures(
    node: Node,
    saved: Checkpoint,
    profiles: Sequence[Profile],
    step: int,
    snap: bool,
    largest_bound: float,
    leave_out: bool,
) -> list[Mixture]:
    """The profiles over the blocks of a checkpoint, none of them with more than the largest bound."""
    if profiles and saved_facts(saved) is None:
        raise CheckpointError(_without_history(node, saved, profiles[0], step))
    mixed = [_mixture(saved, profile, step, snap) for profile in profiles]
    coarse = [one for one in mixed if one.bound > largest_bound]
    if coarse and not leave_out:
        raise CheckpointError(_too_coarse(node, saved, coarse[0], snap, largest_bound))
    return [one for one in mixed if one not in coarse]


def _of_track(
    node: Node, saved: Checkpoint, profile: Profile, step: int, shapes: dict[str, torch.Size]
) -> Average:
    weights = {name: torch.empty(shape) for name, shape in shapes.items()}
    with _still_there(saved):
        saved.load_some({f"track.{profile.name}.{name}": tensor for name, tensor in weights.items()})
    return Average(_trained_by(node, step), profile, step, 0.0, "track", saved, weights)


def _of_history(
    node: Node, saved: Checkpoint, mixed: Sequence[Mixture], shapes: dict[str, torch.Size]
) -> Iterator[Average]:
    """Averages in one pass over the blocks of a checkpoint."""
    with _still_there(saved):
        sums = combine_saved(saved, mixed, shapes)
    for one, weights in zip(mixed, sums, strict=True):
        yield Average(_trained_by(node, one.at), one.profile, one.at, one.bound, "history", saved, weights)


def _behind(node: Node, step: int, note: Callable[[str], None]) -> Checkpoint:
    """The first checkpoint at or after a position on the way to a node: its blocks are the narrowest there."""
    if step < 1:
        raise SettingError(f"--at: got {step}; an average needs at least 1 step")
    found = _on_the_way(node)
    for saved in (saved for saved in found if saved.step >= step):
        try:
            saved.verify()
        except CheckpointError as error:
            if saved.path.exists():  # or whoever trains there let it go meanwhile
                note(f"{error}; trying the next one")
        else:
            return saved
    last = f"the last one is at step {found[-1].step:,}" if found else "there is none"
    raise CheckpointError(f"{node.path}: has no checkpoint at step {step:,} or later; {last}")


def _on_the_way(node: Node) -> list[Checkpoint]:
    """The checkpoints of a node and, up to where each was left, of those above it."""
    lineage = Tree(node.run).lineage(node)
    leaves = [*(below.parent.step for below in lineage[1:] if below.parent), math.inf]
    found = {
        saved.step: saved
        for above, leave in zip(lineage, leaves, strict=True)
        for saved in above.checkpoints()
        if saved.step <= leave
    }
    return [found[step] for step in sorted(found)]


def _trained_by(node: Node, step: int) -> Node:
    """The node that took a step on the way to this one."""
    lineage = pairwise(Tree(node.run).lineage(node))
    return next((above for above, below in lineage if below.parent and step <= below.parent.step), node)


@contextmanager
def _still_there(saved: Checkpoint) -> Iterator[None]:
    """Explain what goes wrong with a checkpoint that is not kept for good, and was removed while it was read."""
    try:
        yield
    except Exception as error:  # torch tells it as an AssertionError
        if saved.path.exists():
            raise
        raise CheckpointError(
            f"{saved.path}: was let go meanwhile by whoever trains there; call again"
        ) from error


def _track_step(saved: Checkpoint, profile: Profile, step: int) -> int | None:
    """The position of a track of the checkpoint that is exactly this average; None where there is none.

    With updates every k steps, the last one may lie before the checkpoint, and stands for it.
    """
    last: int | None = saved.manifest["tracks"].get(profile.name)
    return last if last and step in (last, saved.step) else None


def _mixture(saved: Checkpoint, profile: Profile, step: int, snap: bool = False) -> Mixture:
    """The profile over the blocks of a checkpoint with a history."""
    facts = saved_facts(saved)
    assert facts is not None
    last = min(step, facts["spans"][-1][1])  # as for a track
    if last <= facts["start"]:
        raise CheckpointError(
            f"{saved.path}: its history begins after step {facts['start']:,}, and holds nothing for step {step:,}; "
            "name a later --at"
        )
    try:
        return mixture(profile, spans_of(facts), last, snap)
    except ValueError as error:
        raise SettingError(f"--{error}" if str(error).startswith("snap") else str(error)) from None


def _without_history(node: Node, saved: Checkpoint, profile: Profile, step: int) -> str:
    """Which readouts remain, and at which positions."""
    here = ", ".join(["raw", *(name for name, last in saved.manifest["tracks"].items() if last)])
    if saved.step != step:
        here += f" at steps {', '.join(f'{other.step:,}' for other in _on_the_way(node))}"
    return (
        f"{saved.path}: has no readout {profile.name!r}; there are {here}, and no history to make it from at step "
        f"{step:,}. To have one kept from now on, train with --set averaging.history.resolution=4"
    )


def _too_coarse(node: Node, saved: Checkpoint, mixed: Mixture, snap: bool, largest_bound: float) -> str:
    """Which positions remain for the profile, and which profiles for the position."""
    positions = [
        other.step
        for other in _on_the_way(node)
        if _bound(other, mixed.profile, other.step, snap) <= largest_bound
    ]
    profiles = [profile.spec for profile in USUAL if _bound(saved, profile, mixed.at) <= largest_bound]
    there = ", ".join(f"{position:,}" for position in positions) or "none"
    facts = saved_facts(saved)
    late = f", and they begin after step {facts['start']:,}" if facts and facts["start"] else ""
    return (
        f"{saved.path}: {mixed.profile.spec} at step {mixed.at:,} would have {mixed.bound:.0%} of its weight on other "
        f"iterates, for the blocks there are too wide{late}; at most {largest_bound:.0%} is taken "
        f"(riverrun average --max-bound). "
        f"Positions that have it: {there}. Profiles at step {mixed.at:,}: {', '.join(profiles) or 'none'}"
    )


def _bound(saved: Checkpoint, profile: Profile, step: int, snap: bool = False) -> float:
    """Of a profile at a checkpoint; infinite where it cannot be made."""
    try:
        if not snap and _track_step(saved, profile, step):
            return 0.0
        return math.inf if saved_facts(saved) is None else _mixture(saved, profile, step, snap).bound
    except (CheckpointError, SettingError):
        return math.inf
