"""From the columns of one run to its record."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from riverrun.forecast.cleaning import clean, last_of_each
from riverrun.forecast.curve import Floats
from riverrun.forecast.exports.columns import Columns, Logged, pick
from riverrun.forecast.record import Record, rates_at


@dataclass(frozen=True)
class Run:
    """What one run logged.

    Attributes:
        name: of the record.
        where: what errors begin with: the file, and the run where a file holds several.
        logged: column or tag -> its values, at their steps.
        notes: what reading did.
    """

    name: str
    where: str
    logged: Mapping[str, Logged]
    notes: tuple[str, ...] = ()


def records_of(path: str, runs: Sequence[Run], names: Collection[str], columns: Columns) -> list[Record]:
    """The records of the runs that logged a loss.

    Raises:
        ValueError: none did, or one of them cannot be used.
    """
    records = [record for run in runs if (record := _record(run, columns)) is not None]
    if not records:
        raise ValueError(
            f"{path}: no column looks like a training loss; there are {some(names)}. Name the column of the loss"
        )
    return records


def _record(run: Run, columns: Columns) -> Record | None:
    name = pick(run.where, "loss", columns, run.logged)
    if name is None:
        return None
    loss, notes, rates = run.logged[name], run.notes, None
    lr = pick(run.where, "lr", columns, run.logged)
    if lr is not None:
        rates, missing = _joined(loss.at, run.logged[lr])
        if missing:
            points = "1 point" if missing == 1 else f"{missing:,} points"
            notes += (f"{points} without a learning rate: interpolated",)
    record = clean(run.where, loss.at, loss.values, rates)
    return replace(record, name=run.name, notes=notes + record.notes)


def _joined(steps: Floats, lr: Logged) -> tuple[Floats, int]:
    """The LR at steps, from the steps it was logged at; and how many of these are others."""
    known = np.isfinite(lr.at) & np.isfinite(lr.values) & (lr.values >= 0)
    at, values = lr.at[known], lr.values[known]
    if not at.size:
        return np.full(steps.size, np.nan), 0
    last, _ = last_of_each(at)
    missing = int((~np.isin(steps[np.isfinite(steps)], at)).sum())
    return rates_at(steps, at[last], values[last]), missing


def some(names: Collection[str]) -> str:
    """The names for an error, the first dozen of them."""
    shown = [repr(name) for name in names]
    more = f" and {len(shown) - 12} more" if len(shown) > 12 else ""
    return (", ".join(shown[:12]) + more) or "none at all"
