"""How methods look in a figure: colours and markers by arm, lines by group, and the legend."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from riverrun.compare.measured import Measured
from riverrun.compare.plan import ANYTIME
from riverrun.compare.results import Method
from riverrun.drawing import COLOURS

# The baseline in black; markers tell the arms apart without colour.
BASELINE = "#000000"
_MARKERS = "oDsv^P<>h"


class Group(StrEnum):
    """What a reader should tell apart at once; the legend's columns."""

    RAW = "raw weights, no horizon"
    AVERAGED = "averages, no horizon"
    DECAYED = "decayed for each budget"


_LINES: dict[Group, dict[str, Any]] = {
    Group.RAW: {"linestyle": ":", "linewidth": 1.2},
    Group.AVERAGED: {"linestyle": "-", "linewidth": 1.6},
    Group.DECAYED: {"linestyle": "--", "linewidth": 0.9},
}


@dataclass(frozen=True)
class Look:
    """How a method is drawn: colour and marker by arm, line and filling by group."""

    colour: str
    marker: str
    group: Group

    def line(self) -> dict[str, Any]:
        """As arguments of matplotlib's `plot`."""
        return {"color": self.colour, **_LINES[self.group]}

    def mark(self) -> dict[str, Any]:
        """As arguments of matplotlib's `plot`: hollow for raw weights."""
        hollow = self.group is Group.RAW
        return {
            "marker": self.marker,
            "markersize": 5.5,
            "markerfacecolor": "white" if hollow else self.colour,
            "markeredgecolor": self.colour if hollow else "white",
            "markeredgewidth": 1.0 if hollow else 0.4,
        }


def looks_of(measured: Measured, drawn: Sequence[Method]) -> dict[str, Look]:
    """One colour and marker per arm."""
    baseline = measured.baseline.arm if measured.baseline else None
    others = [arm for arm in dict.fromkeys(method.arm for method in drawn) if arm != baseline]
    numbers = {arm: number for number, arm in enumerate(others)}
    looks = {}
    for method in drawn:
        number = numbers.get(method.arm)
        colour = BASELINE if number is None else COLOURS[number % len(COLOURS)]
        marker = "X" if number is None else _MARKERS[number % len(_MARKERS)]
        group = (
            Group.DECAYED
            if method.kind not in (*ANYTIME, "schedule-free")
            else Group.RAW
            if method.readout == "raw"
            else Group.AVERAGED
        )
        looks[method.name] = Look(colour, marker, group)
    return looks


def draw_legend(figure: Figure, looks: dict[str, Look]) -> None:
    """A column for each group."""
    columns = [
        [
            Line2D([], [], linestyle="", label=str(group)),
            *(Line2D([], [], **look.line(), **look.mark(), label=name) for name, look in members.items()),
        ]
        for group in Group
        if (members := {name: look for name, look in looks.items() if look.group is group})
    ]
    longest = max(map(len, columns))
    blank = Line2D([], [], linestyle="", label=" ")
    handles = [handle for column in columns for handle in column + [blank] * (longest - len(column))]
    figure.legend(handles=handles, loc="outside lower center", ncols=len(columns), frameon=False)
