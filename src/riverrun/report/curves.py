"""Curves as the page has them: thinned, so that all of them together stay small."""

from __future__ import annotations

import math
from collections.abc import Sequence

from riverrun.report import schema
from riverrun.report.reading import Line, Read
from riverrun.report.thinning import MOST, fair_share, thinned

_POINTS = 8_000
_POINTS_OF_A_NODE = 600
"""With what else a page holds, 20 nodes stay below a megabyte and 50 below three."""
_DIGITS = 7


def points_of_a_curve(reads: Sequence[Read]) -> int:
    """How many points the curves of some nodes may have each."""
    sizes = [line.steps.size for read in reads for line in read.lines.values()]
    return fair_share(sizes, _POINTS + _POINTS_OF_A_NODE * len(reads))


def curve(line: Line, most: int = MOST) -> schema.Curve:
    """Recorded points, their values to seven digits, which is what a loss in single precision has."""
    kept = thinned(line.tokens, line.values, most)
    return {
        "tokens": line.tokens[kept].tolist(),
        "steps": line.steps[kept].tolist(),
        "values": [rounded(value) for value in line.values[kept].tolist()],
    }


def rounded(value: float) -> float | None:
    """To seven digits; None for what is no finite number."""
    return float(f"{value:.{_DIGITS}g}") if math.isfinite(value) else None
