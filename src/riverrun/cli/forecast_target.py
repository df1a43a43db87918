"""`riverrun forecast RUN --target-loss L`: the tokens and time that schedules need for a loss."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import numpy as np
from rich.console import Console

from riverrun.averaging import Profile
from riverrun.cli.forecast_outlook import budgets_of, can_decay, families_of
from riverrun.cli.forecast_request import Request
from riverrun.cli.grids import print_folded_grid
from riverrun.cli.schedule_spec import TRUNK
from riverrun.errors import SettingError
from riverrun.forecast.curve import LONGEST
from riverrun.forecast.targets import Reach, reach
from riverrun.grid import Grid
from riverrun.runs.metrics import to_json
from riverrun.schedules import Schedule
from riverrun.units import short_count, short_time

USUAL = (TRUNK, "cosine", "wsd")
"""What is compared unless schedules are named."""
_FURTHEST = 64
"""How many times the run so far a target is looked for."""
_SHORTEST = 4
"""Warm-ups that the shortest run has: it must have room for a decay."""


@dataclass(frozen=True, kw_only=True)
class _Found:
    """What a schedule needs; `more` steps are still to be made, all of them where the run is of no use."""

    name: str
    reach: Reach
    more: int | None


def print_target(
    request: Request, specs: Sequence[str], target: float, until: str | None, json: bool
) -> None:
    """The tokens and time that each schedule needs for a loss."""
    source = request.source
    if not target > 0:
        raise SettingError(f"--target-loss: got {target:g}; must be a positive number of nats")
    last = min(_FURTHEST * request.now, LONGEST) if until is None else budgets_of(request, until)[-1]
    first = min(request.now, max(_SHORTEST * source.schedule.warmup, 16))
    budgets = tuple(int(step) for step in np.geomspace(request.now, last, 7).round())
    found: list[_Found] = []
    families = families_of(request, specs or USUAL, budgets)
    fit = request.fit
    for family in families:
        ways: list[tuple[str, Callable[[int], Schedule], Profile | None]] = [
            ("raw", family.for_horizon, None)
        ]
        ways += [(profile.name, family.for_horizon, profile) for profile in source.profiles]
        if can_decay(request, family, last):
            ways.append((request.decay.name, partial(_decayed, request, family.for_horizon), None))
        for name, way, profile in ways if family.one_run else ways[:1]:
            try:
                one = reach(fit, way, source.peak_lr, target, first=first, last=last, profile=profile)
            except ValueError as error:
                raise SettingError(f"--target-loss: {error}") from None
            more = None if one.step is None else _steps_more(request, way(one.step), one.step)
            found.append(_Found(name=f"{family.name}: {name}", reach=one, more=more))
    if json:
        reached = {one.name: _plain(request, one) for one in found}
        print(to_json(request.facts() | {"target": target, "reached": reached}))
        return
    print_folded_grid(
        Console(highlight=False),
        Grid(
            title=f"{source.name}: what a {request.series} loss of {target:g} needs",
            headings=("schedule", "steps", "90% interval", "tokens", "time"),
            rows=tuple(_row(request, one) for one in found),
            notes=(
                *request.notes(),
                f"The law comes to {fit.values[request.series][0]:.3f} without end and without learning rate.",
                *_time_note(request),
            ),
        ),
    )


def _row(request: Request, found: _Found) -> tuple[str, ...]:
    source, one = request.source, found.reach
    if one.step is None:
        reason = f"not by {source.label(one.last)}" if one.possible else "never"
        return found.name, reason.removesuffix(" tokens"), "-", "-", f"{one.at_last:.4f} there"
    early, late = (
        f"over {one.last:,}" if edge is None else f"{edge:,}" for edge in (one.earliest, one.latest)
    )
    tokens, seconds = source.tokens(one.step), _seconds(request, found)
    return (
        found.name,
        f"by {one.step:,}" if one.step == one.first else f"{one.step:,}",
        f"{early} to {late}",
        "-" if tokens is None else short_count(tokens),
        "-" if seconds is None else _time(found, seconds, one.step),
    )


def _time(found: _Found, seconds: float, step: int) -> str:
    if found.more == 0:
        return "reached"
    return ("" if found.more == step else "+") + short_time(seconds)


def _seconds(request: Request, found: _Found) -> float | None:
    each = request.source.seconds_per_step
    return None if each is None or found.more is None else each * found.more


def _plain(request: Request, found: _Found) -> dict[str, Any]:
    step = found.reach.step
    tokens = None if step is None else request.source.tokens(step)
    return asdict(found.reach) | {
        "tokens": tokens,
        "steps_more": found.more,
        "seconds": _seconds(request, found),
    }


def _steps_more(request: Request, schedule: Schedule, step: int) -> int:
    """The steps that are still to be made: from where the LR leaves the run's, or all of them if it does at once."""
    own = request.source.schedule
    at = np.arange(1, min(step, request.now) + 1)
    differ = np.flatnonzero(schedule(at) != own(at))
    common = int(differ[0]) if differ.size else int(at[-1])
    return step - common if common > 2 * own.warmup else step


def _decayed(request: Request, for_horizon: Callable[[int], Schedule], step: int) -> Schedule:
    return request.decay.of(for_horizon(step), step)


def _time_note(request: Request) -> tuple[str, ...]:
    seconds = request.source.seconds_per_step
    if seconds is None:
        return ()
    return (
        f"Time at {1e3 * seconds:.3g} ms a step, as measured last: with + from the run on, whose learning rate so far "
        "it shares; without, from a new beginning.",
    )
