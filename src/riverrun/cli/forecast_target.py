"""`riverrun forecast RUN --target-loss L`: the tokens and time that schedules need for a loss."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import partial

import numpy as np
from rich.console import Console

from riverrun.averaging import Profile
from riverrun.cli.forecast_outlook import budgets_of, families_of
from riverrun.cli.forecast_request import Request
from riverrun.cli.grids import print_grid
from riverrun.cli.schedule_spec import TRUNK
from riverrun.errors import SettingError
from riverrun.forecast.targets import Reach, reach
from riverrun.grid import Grid
from riverrun.runs.metrics import to_json
from riverrun.schedules import Schedule
from riverrun.units import short_time

USUAL = (TRUNK, "cosine", "wsd")
"""What is compared unless schedules are named."""
_FURTHEST = 64
"""How many times the run so far a target is looked for."""
_SHORTEST = 4
"""Warm-ups that the shortest run has: it must have room for a decay."""


def print_target(
    request: Request, specs: Sequence[str], target: float, until: str | None, json: bool
) -> None:
    """The tokens and time that each schedule needs for a loss."""
    source, fit = request.source, request.fit
    if not target > 0:
        raise SettingError(f"--target-loss: got {target:g}; must be a positive number of nats")
    last = _FURTHEST * request.now if until is None else budgets_of(request, until)[-1]
    first = min(request.now, max(_SHORTEST * source.schedule.warmup, 16))
    budgets = tuple(int(step) for step in np.geomspace(request.now, last, 7).round())
    found: list[tuple[str, Reach]] = []
    for family in families_of(request, specs or USUAL, budgets):
        ways: list[tuple[str, Callable[[int], Schedule], Profile | None]] = [
            ("raw", family.for_horizon, None)
        ]
        ways += [(profile.name, family.for_horizon, profile) for profile in source.profiles]
        if family.for_horizon(last).horizon_free:
            ways.append((request.decay.name, partial(_decayed, request, family.for_horizon), None))
        for name, way, profile in ways if family.one_run else ways[:1]:
            try:
                one = reach(fit, way, source.peak_lr, target, first=first, last=last, profile=profile)
            except ValueError as error:
                raise SettingError(f"--target-loss: {error}") from None
            found.append((f"{family.name}: {name}", one))
    if json:
        print(
            to_json(
                request.facts() | {"target": target, "reached": {name: asdict(one) for name, one in found}}
            )
        )
        return
    seconds = source.seconds_per_step
    rows = []
    for name, one in found:
        if one.step is None:
            reason = "never" if not one.possible else f"not by {source.label(last)}"
            rows.append((name, reason, "-", "-", f"{one.at_last:.4f} there"))
            continue
        tokens = source.tokens(one.step)
        between = [
            f"{edge:,}" if edge is not None else f"over {last:,}" for edge in (one.earliest, one.latest)
        ]
        more = max(0, one.step - request.now)
        rows.append(
            (
                name,
                f"{one.step:,}",
                f"{between[0]} to {between[1]}",
                "-" if tokens is None else source.label(one.step).removesuffix(" tokens"),
                "-"
                if seconds is None
                else short_time(seconds * more) + (" more" if name.startswith(TRUNK) else ""),
            )
        )
    print_grid(
        Console(highlight=False),
        Grid(
            title=f"{source.name}: what a {request.series} loss of {target:g} needs",
            headings=("schedule", "steps", "90% interval", "tokens", "time"),
            rows=tuple(rows),
            notes=(
                *request.notes(),
                f"The law comes to {fit.values[request.series][0]:.3f} without end and without learning rate.",
                *_time_note(request),
            ),
        ),
    )


def _decayed(request: Request, for_horizon: Callable[[int], Schedule], step: int) -> Schedule:
    return request.decay.of(for_horizon(step), step)


def _time_note(request: Request) -> tuple[str, ...]:
    seconds = request.source.seconds_per_step
    if seconds is None:
        return ()
    return (
        f"Time at {1e3 * seconds:.3g} ms a step, as measured last: for the trunk from now on, for others from now's "
        "position on, though they begin anew.",
    )
