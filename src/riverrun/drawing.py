"""How figures look everywhere here, and how one is written: the same drawing gives the same bytes."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

from matplotlib import style
from matplotlib.figure import Figure

from riverrun.publish import publish_file

# Okabe and Ito's colours, which people with any common colour blindness can tell apart; their yellow is too pale
# for a line on white. The last three are for figures of many lines.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#7F7F7F", "#882255", "#44AA99")

_STYLE: dict[str, Any] = {
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#E6E6E6",
    "grid.linewidth": 0.6,
    "svg.hashsalt": "riverrun",  # element names of an SVG are random without it
    "svg.fonttype": "none",
}


def write_figure(path: Path, draw: Callable[[], Figure]) -> None:
    """Draw in the house style and write as PNG or SVG, by the suffix.

    Raises:
        ValueError: another suffix.
    """
    form = path.suffix.removeprefix(".")
    if form not in ("png", "svg"):
        raise ValueError(f"{path.name}: a figure is written as .png or .svg")
    content = io.BytesIO()
    with style.context(["default", _STYLE]):
        undated = {"Software": None} if form == "png" else {"Date": None}
        draw().savefig(content, format=form, dpi=200, metadata=undated)
    publish_file(path, content.getvalue())
