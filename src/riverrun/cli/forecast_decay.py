"""`riverrun forecast RUN --best-decay`: the best start and shape of a decay for a total."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from rich.console import Console

from riverrun.cli.forecast_outlook import interval_of, plain_prediction
from riverrun.cli.forecast_request import Request
from riverrun.cli.grids import print_folded_grid
from riverrun.cli.schedule_spec import TRUNK
from riverrun.errors import SettingError
from riverrun.forecast.decays import BestDecay, best_decay
from riverrun.forecast.gains import Gain
from riverrun.grid import Grid
from riverrun.report.forecast_source import Source
from riverrun.runs.metrics import to_json
from riverrun.train.commands import program


def print_best_decay(request: Request, total: int, json: bool) -> None:
    """The best start and shape of a decay that ends at a total."""
    source = request.source
    check_total(request, total)
    try:
        found = best_decay(request.fit, source.schedule, source.peak_lr, total)
    except ValueError as error:
        raise SettingError(f"--best-decay: {error}") from None
    if json:
        print(to_json(request.facts() | _plain_decay(found)))
        return
    rows = [
        (
            one.shape,
            f"{one.floor:g}",
            f"{one.start:,}",
            f"{one.length:,} ({100 * one.length / total:.2g}%)",
            f"{one.expected:.4f}",
        )
        for one in found.per_shape
    ]
    best, usual = found.best, found.usual
    first, last = found.flat
    loss = interval_of(found.loss)
    print_folded_grid(
        Console(highlight=False),
        Grid(
            title=f"{source.name}: decays that end at {source.label(total)}, the best of each shape",
            headings=("shape", "floor", "starts at step", "steps", f"{request.series} loss"),
            rows=tuple(rows),
            marked=frozenset({(0, 4)}),
            notes=(
                f"The best: {loss}. Starts from step {first:,} to {last:,} come within a thousandth of a nat of it.",
                f"Against {usual.shape} over the last tenth to a tenth ({usual.expected:.4f}): {gained(found.gain)}.",
                *request.notes(),
            ),
        ),
    )
    if source.path is not None and best.start >= request.now:
        until = (
            f'Train on with --until "{best.start} steps", and then' if best.start > request.now else "Then"
        )
        decay = {"--decay": best.shape, "--length": f"{best.length} steps", "--floor": f"{best.floor:g}"}
        print(f"{until}: {shlex.join(branch_command(source, decay))}")


def branch_command(source: Source, options: Mapping[str, str]) -> list[str]:
    """The words that fork the source's node with options."""
    forked = {} if source.node == TRUNK else {"--from": source.node}
    words = [word for pair in (forked | dict(options)).items() for word in pair]
    return [program(), "branch", str(source.path), *words]


def check_total(request: Request, total: int) -> None:
    """Raise `SettingError` for a total that leaves nothing to plan."""
    first = min(int(curve.steps[0]) for curve in request.fitted)
    if total <= max(first, request.source.schedule.warmup):
        raise SettingError(
            f"--budget: got step {total:,}; must lie after the warm-up, and after step {first:,}, the first whose loss "
            "is fitted"
        )


def gained(gain: Gain) -> str:
    """By how much, and how surely."""
    return (
        f"{1e3 * gain.expected:.1f} thousandths of a nat lower ({1e3 * gain.low:.1f} to {1e3 * gain.high:.1f}), with a "
        f"probability of {100 * gain.probability:.0f}% if the law holds"
    )


def _plain_decay(found: BestDecay) -> dict[str, Any]:
    return {
        "best": asdict(found.best),
        "loss": plain_prediction(found.loss),
        "flat": list(found.flat),
        "usual": asdict(found.usual),
        "gain": asdict(found.gain),
        "candidates": [asdict(one) for one in found.candidates],
    }
