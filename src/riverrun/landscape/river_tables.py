"""The numbers of a river view as tables and as plain data."""

from __future__ import annotations

from typing import Any

from riverrun.grid import Grid
from riverrun.landscape.river_view import RiverView


def moments(view: RiverView) -> list[dict[str, Any]]:
    """Loss, river and elevation of each schedule where it has a model to give, and at the end of WSD's stable phase."""
    when = {
        "constant": (view.steps,),
        "WSD": (view.stable_end, view.steps),
        "WSD-S": view.budgets,
        "cyclic cosine": view.budgets,
    }
    return [
        {
            "schedule": name,
            "step": step,
            "loss": float(ride.descent.loss[step - 1]),
            "river": float(ride.descent.river[step - 1]),
            "elevation": float(ride.descent.elevation[step - 1]),
        }
        for name, ride in view.rides.items()
        for step in when[name]
    ]


def lines(view: RiverView) -> list[dict[str, Any]]:
    """The losses at the ends and in the middle of each line."""
    return [
        {
            "line": name,
            "from": line.start,
            "to": line.end,
            "start": float(line.losses[0]),
            "middle": float(line.losses[len(line.losses) // 2]),
            "end": float(line.losses[-1]),
        }
        for name, line in view.lines.items()
    ]


def river_tables(view: RiverView) -> list[Grid]:
    """Both as tables."""
    return [
        Grid(
            title="Valley of 40 hills, means over runs: the loss is the river's height plus the elevation above it",
            headings=("schedule", "step", "loss", "river", "elevation"),
            rows=tuple(
                (
                    row["schedule"],
                    f"{row['step']:,}",
                    *(f"{row[key]:.4f}" for key in ("loss", "river", "elevation")),
                )
                for row in moments(view)
            ),
        ),
        Grid(
            title="Loss on straight lines between checkpoints of the WSD run",
            headings=("line", "steps", "start", "middle", "end"),
            rows=tuple(
                (
                    row["line"],
                    f"{row['from']:,} to {row['to']:,}",
                    *(f"{row[key]:.4f}" for key in ("start", "middle", "end")),
                )
                for row in lines(view)
            ),
        ),
    ]
