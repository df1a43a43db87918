"""A forecast's source in files that another trainer left."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from riverrun.averaging import Profile
from riverrun.errors import SettingError
from riverrun.forecast import Curve, Record, curve_of
from riverrun.forecast.bins import MOST, binned
from riverrun.forecast.curve import Floats
from riverrun.forecast.exports import Columns, read_records
from riverrun.forecast.exports.event_files import MARK
from riverrun.forecast.exports.reading import READABLE
from riverrun.forecast.record import assumptions
from riverrun.report.forecast_source import Source
from riverrun.schedules import Constant, PiecewiseLinear, Schedule


@dataclass(frozen=True, kw_only=True)
class FileOptions:
    """What files do not tell by themselves.

    Attributes:
        columns: their names.
        schedule: that the first of them was trained with; None takes the LR that was logged.
        peak_lr: of that schedule.
    """

    columns: Columns
    schedule: Schedule | None
    peak_lr: float | None


def source_of_files(
    paths: Sequence[Path], options: FileOptions, after: float, profiles: Sequence[Profile]
) -> Source:
    """The curves of files; the first record is the run that a forecast goes on from."""
    records = [record for path in paths for record in _read(path, options.columns)]
    first = records[0]
    notes = [f"{record.name}: {note}" for record in records for note in record.notes]
    if options.schedule is None:
        notes += [f"{record.name}: {note}" for record in records for note in assumptions(record)]
    try:
        peak = options.peak_lr or _highest(first)
        curves = [
            curve_of(record, options.schedule if record is first else None, peak_lr=peak)
            for record in records
        ]
    except ValueError as error:
        raise SettingError(f"{error}: --trained-with, --peak-lr, or --columns lr=NAME") from None
    now = int(curves[0].steps[-1])
    begin = max(round(after * now), 1)
    schedule = options.schedule or _logged(first, peak)
    if options.schedule is None:
        rate = peak * float(schedule(now))
        notes.append(f"{first.name}: after step {now:,} its learning rate is taken to stay at {rate:.3g}")
    notes += [
        f"{curve.name}: {curve.steps.size:,} points, averaged in {MOST} bins; intervals are those of such means"
        for curve in curves
        if curve.steps.size > MOST
    ]
    return Source(
        name=first.name,
        curves=tuple(binned(_from(curve, begin)) for curve in curves),
        schedule=schedule,
        peak_lr=peak,
        now=now,
        profiles=tuple(profiles),
        notes=tuple(notes),
    )


def _read(path: Path, columns: Columns) -> list[Record]:
    try:
        return read_records(path, columns)
    except ValueError as error:
        raise SettingError(str(error)) from None


def _from(curve: Curve, begin: int) -> Curve:
    last = int(curve.steps[-1])
    return curve.between(begin, last) if begin <= last else curve


def _highest(record: Record) -> float:
    if record.lr is None:
        raise ValueError(f"{record.name}: no learning rate was logged; give the schedule and its peak")
    return float(record.lr.max())


def _logged(record: Record, peak: float) -> Schedule:
    """The logged LR as a schedule: a constant, or straight lines between the points where it bends.

    Its last value is its value ever after.
    """
    assert record.lr is not None
    steps, values = record.steps.astype(float), np.clip(record.lr / peak, 0.0, 1.0)
    warmed = int(np.argmax(values == 1))
    if values[warmed] == 1 and np.allclose(values, np.minimum(1.0, steps / steps[warmed]), rtol=1e-6):
        return Constant(warmup=int(steps[warmed]))
    # Before the first point curve_of lets it rise linearly from 0: a warm-up where it begins at the peak.
    warm = int(steps[0]) if values[0] == 1 else 0
    kept = [0, *(n for n in range(1, steps.size - 1) if _bends(steps, values, n)), steps.size - 1]
    return PiecewiseLinear(
        warmup=warm, at=tuple(int(steps[n]) for n in kept), values=tuple(float(values[n]) for n in kept)
    )


def _bends(steps: Floats, values: Floats, n: int) -> bool:
    (a, b, c), (x, y, z) = steps[n - 1 : n + 2], values[n - 1 : n + 2]
    return bool(abs(x + (z - x) * (b - a) / (c - a) - y) > 1e-9)


def is_run(path: Path) -> bool:
    """Whether a path is a run directory of riverrun.

    Raises:
        SettingError: it is none, and nothing that could be read as a file either.
    """
    if (path / "trunk" / "node.json").is_file():
        return True
    if (path / "node.json").is_file():
        run = path.parent if path.name == "trunk" else path.parent.parent
        raise SettingError(f"{path}: is a node of a run; name the run, as in {run} --node {path.name}")
    if not path.exists():
        raise SettingError(
            f"{path}: is no run of riverrun and no file; a forecast is made from RUN as in riverrun train RECIPE --run "
            f"RUN, or from {READABLE}"
        )
    if path.is_dir() and not any(path.rglob(f"*{MARK}*")):
        raise SettingError(
            f"{path}: is no run of riverrun, and holds none of TensorBoard's files ({MARK} in the name)"
        )
    return False
