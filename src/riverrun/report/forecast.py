"""What a law says of the trunk's future."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from riverrun.errors import RiverrunError
from riverrun.extras import require_packages
from riverrun.report import schema
from riverrun.report.reading import Read
from riverrun.runs import Node, Tree
from riverrun.runs.node import TRUNK
from riverrun.train.commands import program
from riverrun.train.curves import TRAIN, Losses

if TYPE_CHECKING:
    from riverrun.report.forecast_source import Source

_AFTER = 0.05
_AHEAD = 4
"""Times the run so far; as `riverrun forecast` does without options."""
_POSITIONS = 16
_MOST_UPDATES = 500_000
"""On the ways to all nodes together; beyond, a fit takes too long for a page."""


def forecast_of_trunk(tree: Tree, reads: Mapping[str, Read], notes: list[str]) -> schema.Forecast | None:
    """The losses of the trunk's weights and averages from now on; None, and a note why, where no law can be fitted."""
    try:
        require_packages("No forecast", "forecast", {"scipy": "the fit"})
        from riverrun.report.forecast_source import source_of_run

        length = sum(read.step for read in reads.values())
        if length > _MOST_UPDATES:
            command = shlex.join([program(), "forecast", str(tree.path)])
            notes.append(f"No forecast: {length:,} updates are many to fit; {command} does it")
            return None
        source = source_of_run(tree.path, TRUNK, _AFTER, lambda node: _losses_of(reads, node))
        counts = tuple((curve.name, curve.steps.size) for curve in source.curves if curve.series != TRAIN)
        return _fitted(_Known(str(tree.path.resolve()), counts, source))
    except (RiverrunError, ValueError, KeyError, TypeError, OSError, ArithmeticError) as error:
        text = str(error)
        notes.append(text if text.startswith("No forecast") else f"No forecast: {text}")
        return None


@dataclass(frozen=True)
class _Known:
    """What is known of a run; it is fitted anew when it has more readouts, which a live page soon asks for again."""

    run: str
    readouts: tuple[tuple[str, int], ...]
    source: Source = field(compare=False)


@lru_cache(maxsize=4)
def _fitted(known: _Known) -> schema.Forecast:
    from riverrun.forecast import doubts, fit, outlook

    source = known.source
    found = fit(source.curves)
    ahead = np.geomspace(source.now, _AHEAD * source.now, _POSITIONS).round().astype(np.int64)
    seen = outlook(
        found,
        TRUNK,
        lambda _: source.schedule,
        source.peak_lr,
        np.unique(ahead).tolist(),
        one_run=True,
        profiles=source.profiles,
    )
    fans: list[schema.Fan] = [
        {
            "readout": name,
            "tokens": [source.tokens(int(step)) or 0 for step in one.steps],
            "expected": one.expected.tolist(),
            "low": one.low.tolist(),
            "high": one.high.tolist(),
        }
        for name, one in seen.readouts.items()
        if all(np.isfinite(edge).all() for edge in (one.expected, one.low, one.high))
    ]
    return {
        "law": found.law.name,
        "level": next(iter(seen.readouts.values())).level,
        "fans": fans,
        "notes": [
            f"Fitted to {found.points} {found.series()} and training losses up to {source.label(source.now)}.",
            *doubts(found),
            *source.notes,
        ],
    }


def _losses_of(reads: Mapping[str, Read], node: Node) -> list[Losses]:
    """As `train.curves.recorded_losses` gives them, from what was read already; nothing of a node left out."""
    if node.id not in reads:
        return []
    found = []
    for key, line in reads[node.id].lines.items():
        if not key.startswith("loss/"):
            continue
        name = key.removeprefix("loss/")
        # The loss of the batch of update s was measured before that update.
        steps = line.steps - (name == TRAIN)
        sound = np.isfinite(line.values) & (steps > 0)
        missing = int(np.count_nonzero(~np.isfinite(line.values)))
        if sound.any():
            found.append(Losses(name, steps[sound], line.values[sound], missing))
    return sorted(found, key=lambda one: one.name != TRAIN)
