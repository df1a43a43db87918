"""The audit: which values of a recipe depend on when training ends, shown by moving the end.

A trunk can be extended only if nothing used at step s depends on a horizon. No value of a plan is told when
training stops, so a horizon can come in only through a schedule that carries one as a field. The audit moves
each such field and reports the first position at which the value changes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from riverrun.schedules import Schedule
from riverrun.train.plan import Plan


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One value that training uses, and whether it depends on a horizon.

    `evidence` says what was seen: what the value is a function of, or where it changed when the end was moved.
    """

    value: str
    setting: str
    horizon_free: bool
    evidence: str


def audit(plan: Plan) -> list[Finding]:
    """Every value that an update or a readout uses, horizon-dependent ones with their evidence."""
    optimizer, batch = plan.recipe.optimizer, plan.recipe.batch
    ramps = f", ramps at {', '.join(str(ramp.at) for ramp in batch.ramps)}" if batch.ramps else ""
    return [
        *_schedule_findings("learning rate", "schedule", plan.schedule, optimizer.peak_lr),
        *_schedule_findings(
            "weight decay",
            "optimizer.weight_decay_schedule",
            plan.weight_decay_schedule,
            optimizer.weight_decay,
        ),
        _free("betas, epsilon, clipping", "optimizer", "constants of the recipe"),
        _free("batch size", "batch", f"a function of the position{ramps}"),
        _free("data order", "data, seed", "sample n is a keyed permutation of (seed, n)"),
        _free(
            "averages", "averaging.tracks", "each keeps a fraction that depends on its age and the gap only"
        ),
        _free("readouts", "readouts", "a geometric grid of tokens without an end"),
        _free("fork points", "checkpoints", "a geometric grid of tokens without an end"),
    ]


def _free(value: str, setting: str, evidence: str) -> Finding:
    return Finding(value=value, setting=setting, horizon_free=True, evidence=evidence)


def _schedule_findings(value: str, setting: str, schedule: Schedule, peak: float) -> Iterator[Finding]:
    horizons = schedule.horizon_values()
    if not horizons:
        constants = {k: v for k, v in schedule.to_dict().items() if k != "kind"}
        listed = ", ".join(f"{name} {number}" for name, number in constants.items() if number)
        yield _free(value, setting, f"{schedule.kind}: the position{f' and {listed}' if listed else ' only'}")
    for name in horizons:
        moved = Schedule.from_dict(_with_later_end(schedule.to_dict(), name))
        yield Finding(
            value=value,
            setting=f"{setting}.{name}",
            horizon_free=False,
            evidence=_first_change(schedule, moved, name, peak),
        )


def _first_change(schedule: Schedule, moved: Schedule, name: str, peak: float) -> str:
    """Where two schedules part: found on a grid that reaches past every end, then by bisection."""
    before, after = (_end(found.horizon_values()[name]) for found in (schedule, moved))
    furthest = sum(_end(value) for value in moved.horizon_values().values())
    steps = np.unique(np.linspace(0, furthest, num=min(furthest + 1, 100_000)).astype(np.int64))
    differs = np.flatnonzero(schedule(steps) != moved(steps))
    if not differs.size:
        return f"moving {name} from {before} to {after} changes nothing up to step {furthest}"
    same, other = int(steps[differs[0] - 1]), int(steps[differs[0]])
    while other - same > 1:
        middle = (same + other) // 2
        same, other = (middle, other) if schedule(middle) == moved(middle) else (same, middle)
    later = int(steps[differs[len(differs) // 2]])
    return (
        f"moving {name} from {before} to {after} changes it from step {other} on; at step {later} from "
        f"{peak * schedule(later):.3g} to {peak * moved(later):.3g}"
    )


def _with_later_end(table: Mapping[str, Any], path: str) -> dict[str, Any]:
    """The schedule's table with one horizon doubled; of several budgets the last."""
    name, _, rest = path.partition(".")
    changed = dict(table)
    if rest:
        changed[name] = _with_later_end(table[name], rest)
    elif isinstance(table[name], list):
        changed[name] = [*table[name][:-1], 2 * table[name][-1]]
    else:
        changed[name] = 2 * table[name]
    return changed


def _end(horizon: Any) -> int:
    return int(horizon[-1] if isinstance(horizon, tuple | list) else horizon)
