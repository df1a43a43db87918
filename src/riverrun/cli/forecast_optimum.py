"""`riverrun forecast RUN --optimise`: the best learning rate for a total, as a schedule."""

from __future__ import annotations

import shlex
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from riverrun.cli.forecast_decay import branch_command, check_total, gained
from riverrun.cli.forecast_outlook import interval_of, plain_prediction
from riverrun.cli.forecast_request import Request
from riverrun.cli.grids import print_folded_grid
from riverrun.errors import SettingError
from riverrun.forecast.optimal import optimise
from riverrun.grid import Grid
from riverrun.publish import publish_file
from riverrun.runs.metrics import to_json
from riverrun.train.schedule_table import table_of


def print_optimum(request: Request, total: int, out: Path, json: bool) -> None:
    """The best learning rate that never rises, written as a schedule."""
    source = request.source
    check_total(request, total)
    if out.suffix != ".toml":
        raise SettingError(f"--out: got {str(out)!r}; a schedule is written as .toml")
    try:
        found = optimise(
            request.fit, source.schedule, source.peak_lr, total, start=_free_from(request, total)
        )
    except ValueError as error:
        raise SettingError(f"--optimise: {error}") from None
    content = _toml(source.name, table_of(found.schedule), source.peak_lr)
    out.parent.mkdir(parents=True, exist_ok=True)
    publish_file(out, content.encode())
    if json:
        print(
            to_json(
                request.facts()
                | {
                    "schedule": found.schedule.to_dict(),
                    "file": str(out),
                    "loss": plain_prediction(found.loss),
                    "decay": asdict(found.decay),
                    "gain": asdict(found.gain),
                }
            )
        )
        return
    at = np.unique(np.linspace(0, total, 11).round().astype(int))[1:]
    named = found.decay
    rows = [
        (f"{step:,}", f"{best:.3f}", f"{other:.3f}")
        for step, best, other in zip(at, found.schedule(at), found.decay_schedule(at), strict=True)
    ]
    loss = interval_of(found.loss)
    print_folded_grid(
        Console(highlight=False),
        Grid(
            title=f"{source.name}: the best learning rate that never rises, to {source.label(total)}; of the peak",
            headings=("step", "optimum", f"{named.shape} decay from {named.start:,}"),
            rows=tuple(rows),
            notes=(
                f"Its {request.series} loss: {loss}; that of the best named decay: {named.expected:.4f}.",
                f"It is {gained(found.gain)}.",
                "It is the law's optimum: where no curve has been, the law guesses.",
                *request.notes(),
            ),
        ),
    )
    print(f"Schedule: {out}")
    if source.path is not None and total > request.now:
        print(f"Then: {shlex.join(branch_command(source, {'--schedule': str(out)}))}")
    else:
        print("Then: put its table [schedule] into a recipe.")


def _free_from(request: Request, total: int) -> int:
    """Where the learning rate is free: from the run's position, or from the warm-up for a total in the past."""
    now = request.now
    return now if now < total else request.source.schedule.warmup


def _toml(name: str, table: dict[str, Any], peak_lr: float) -> str:
    """The table as a TOML file."""
    lines = [
        f"# The best learning rate under the law fitted to {name}; multiples of a peak of {peak_lr:g}.",
        "",
    ]
    lines += _lines("schedule", table)
    return "\n".join(lines) + "\n"


def _lines(path: str, table: dict[str, Any]) -> list[str]:
    inner = {key: value for key, value in table.items() if isinstance(value, dict)}
    own = [f"{key} = {_literal(value)}" for key, value in table.items() if key not in inner]
    found = [f"[{path}]", *own]
    for key, value in inner.items():
        found += ["", *_lines(f"{path}.{key}", value)]
    return found


def _literal(value: Any) -> str:
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_literal, value)) + "]"
    return f'"{value}"' if isinstance(value, str) else repr(value)
