"""What to probe of a run: which lines, which plane, which moves, and where to take the Hessian."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import pairwise

from riverrun.landscape.probe.line import Line
from riverrun.landscape.probe.move import Move
from riverrun.landscape.probe.places import (
    DecayedEnd,
    Place,
    common_track,
    decayed_ends,
    place_of,
    stable_places,
)
from riverrun.landscape.probe.plane import Corners
from riverrun.runs import Tree

# Of each kind: enough for several distances, few enough for a minute.
_DISTANCES = 3
_DECAYS = 2


@dataclass(frozen=True)
class Choice:
    """What is probed.

    Attributes:
        lines: stable-stable first, then stable-decayed, then decayed-decayed.
        corners: of the plane; None where there is neither a decay nor an average.
        origin: where the Hessian is taken: the plane's origin.
        river: the same readout at the stable checkpoint before the origin and at the origin.
        moves: each to be held against the river and the sharp subspace.
        decays: how many decayed ends were found; with none, averages stand for them.
    """

    lines: tuple[Line, ...]
    corners: Corners | None
    origin: Place
    river: tuple[Place, Place]
    moves: tuple[Move, ...]
    decays: int


def choose(tree: Tree, note: Callable[[str], None]) -> Choice:
    """Choose from what is kept: the latest checkpoints, and the decays that end last.

    The origin is the checkpoint that the last of those decays fell from, else the latest stable one.

    Raises:
        CheckpointError: fewer than two stable checkpoints.
    """
    stable = stable_places(tree)
    decays = decayed_ends(tree, note)[-_DECAYS:]
    origin = decays[-1].fork if decays else stable[-1]
    before = _neighbour(stable, origin)
    track = common_track(before, origin)
    falls = decays or _stand_ins(tree, before, origin, track)
    lines = [Line("stable-stable", one, stable[-1]) for one in reversed(stable[-1 - _DISTANCES : -1])]
    lines += [Line("stable-decayed", fall.fork, fall.end) for fall in falls]
    lines += [
        Line("decayed-decayed", one.end, falls[-1].end) for one in falls[:-1] if _differ(one, falls[-1])
    ]
    river = _in_order(before, origin)
    if track is not None:
        river = _of_track(tree, river[0], track), _of_track(tree, river[1], track)
    return Choice(
        lines=tuple(lines),
        corners=Corners(origin, before, falls[-1].end) if falls else None,
        origin=origin,
        river=river,
        moves=tuple(_moves(tree, stable, origin, decays, track)),
        decays=len(decays),
    )


def _moves(
    tree: Tree, stable: list[Place], origin: Place, decays: list[DecayedEnd], track: str | None
) -> list[Move]:
    """Raw weights and average over each stretch between the last stable places, then what leaves the banks."""
    moves = []
    stretches = list(pairwise(stable[-1 - _DISTANCES :]))
    moves += [Move("raw", first, last) for first, last in stretches]
    for first, last in stretches:
        if track is not None and common_track(first, last) == track:
            moves.append(Move("average", _of_track(tree, first, track), _of_track(tree, last, track)))
    moves += [Move("decay", one.fork, one.end) for one in decays]
    moves += [Move("decayed", one.end, decays[-1].end) for one in decays[:-1] if _differ(one, decays[-1])]
    if track is not None:
        moves.append(Move("to the average", origin, _of_track(tree, origin, track)))
    return moves


def _stand_ins(tree: Tree, before: Place, origin: Place, track: str | None) -> list[DecayedEnd]:
    """Averages in the place of decayed ends, at two checkpoints; none where the run keeps no track."""
    if track is None:
        return []
    return [DecayedEnd(place, _of_track(tree, place, track)) for place in _in_order(before, origin)]


def _of_track(tree: Tree, place: Place, track: str) -> Place:
    return replace(place_of(tree, place.node, place.step, "average"), readout=track)


def _neighbour(stable: list[Place], origin: Place) -> Place:
    """The stable place furthest along before the origin; the first one after it where there is none.

    Checkpoints may lie closer together than an average is wide, and say nothing of the river then: a tenth of the
    position must lie between where that can be had.
    """
    before = [place for place in stable if place.step < origin.step]
    wide = [place for place in before if place.step <= 0.9 * origin.step]
    after = [place for place in stable if place.step > origin.step]
    return (wide or before)[-1] if before else after[0]


def _in_order(one: Place, other: Place) -> tuple[Place, Place]:
    return (one, other) if one.step < other.step else (other, one)


def _differ(one: DecayedEnd, other: DecayedEnd) -> bool:
    return one.end.summed_lr != other.end.summed_lr
