"""Tables of rows: CSV with a line of names, and JSON lines."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

import numpy as np

from riverrun.forecast.exports.columns import Columns, Logged, pick
from riverrun.forecast.exports.runs import Run, some

_SEPARATOR = " - "  # of run and metric, in what Weights & Biases exports from a chart

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Table:
    """Columns that may matter, each at the rows that have a value in it, and the names of all."""

    path: Path
    names: tuple[str, ...]
    columns: dict[str, Logged]
    rows: int
    notes: tuple[str, ...]


def read_table(path: Path, columns: Columns) -> Table:
    """A .csv or .jsonl file. A last row that a kill left torn is left out, with a note.

    Raises:
        ValueError: the file cannot be read, is empty, or a row is not as the others.
    """
    names: dict[str, None] = {}
    matters: dict[str, bool] = {}
    found: dict[str, tuple[list[int], list[float]]] = {}
    notes: list[str] = []
    rows = 0
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:
            for row in (
                _csv_rows(path, file, names, notes) if _is_csv(path) else _json_rows(path, file, notes)
            ):
                for name, cell in row.items():
                    if name not in matters:
                        names[name] = None
                        matters[name] = columns.matter(name) or columns.matter(_metric(name))
                    if matters[name] and (value := _number(cell)) is not None:
                        at, values = found.setdefault(name, ([], []))
                        at.append(rows)
                        values.append(value)
                rows += 1
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"{path}: cannot be read as text ({error}); give a .csv or .jsonl file") from None
    if not rows:
        raise ValueError(f"{path}: holds no rows; give a file with a row for each step that was logged")
    logged = {name: Logged(np.array(at, float), np.array(values)) for name, (at, values) in found.items()}
    return Table(path, tuple(names), logged, rows, tuple(notes))


def runs_in(table: Table, columns: Columns) -> list[Run]:
    """The runs in a table: one, or those that columns called "run - metric" tell apart.

    Raises:
        ValueError: no column of steps, or a name that was told is not there.
    """
    columns.check(str(table.path), [*table.names, *(_metric(name) for name in table.names)])
    groups: dict[str, dict[str, Logged]] = {"": {}}
    for name, values in table.columns.items():
        run, metric = ("", name) if columns.matter(name) else name.rsplit(_SEPARATOR, 1)
        groups.setdefault(run, {})[metric] = values
    losses = {
        run: own for run, own in groups.items() if any(columns.may_hold("loss", metric) for metric in own)
    }
    shared = groups[""]
    if "" in losses or not losses:
        return [_run(table, table.path.stem, str(table.path), shared, {}, columns)]
    return [_run(table, run, f"{table.path}, {run}", own, shared, columns) for run, own in losses.items()]


def _run(
    table: Table, name: str, where: str, own: dict[str, Logged], shared: dict[str, Logged], columns: Columns
) -> Run:
    """One run, its columns moved from rows to steps."""
    for candidates in (own, shared):
        step = pick(where, "step", columns, candidates)
        if step is not None:
            break
    else:
        raise ValueError(
            f"{where}: no column looks like steps; there are {some(table.names)}. Name the column of the steps"
        )
    steps = np.full(table.rows, np.nan)
    steps[candidates[step].at.astype(int)] = candidates[step].values
    logged = {
        column: Logged(steps[values.at.astype(int)], values.values)
        for column, values in (shared | own).items()
    }
    return Run(name, where, logged, table.notes)


def _is_csv(path: Path) -> bool:
    return path.suffix.lower() == ".csv"


def _metric(name: str) -> str:
    return name.rsplit(_SEPARATOR, 1)[-1]


def _csv_rows(path: Path, file: TextIO, names: dict[str, None], notes: list[str]) -> Iterator[Row]:
    lines = (row for row in csv.reader(file) if row)
    header = [name.strip() for name in next(lines, [])]
    twice = sorted({name for name in header if name and header.count(name) > 1})
    if twice:
        raise ValueError(f"{path}: has the column {twice[0]!r} twice; leave one out")
    if header and all(_is_number(name) for name in header):
        raise ValueError(
            f"{path}: the first line is {','.join(header)!r}; must name the columns: step,lr,loss"
        )
    if len(header) == 1 and any(mark in header[0] for mark in ";\t"):
        raise ValueError(f"{path}: the first line has no comma; columns are separated by commas")
    names |= dict.fromkeys(header)
    for number, (row, last) in enumerate(_with_last(lines), start=1):
        if len(row) < len(header) and last:
            notes.append("the last row is torn: left out")
            return
        if len(row) != len(header):
            raise ValueError(
                f"{path}, row {number}: got {len(row)} of {len(header)} cells; must have one for each column"
            )
        yield dict(zip(header, row, strict=True))


def _json_rows(path: Path, file: TextIO, notes: list[str]) -> Iterator[Row]:
    lines = ((number, line) for number, line in enumerate(file, start=1) if line.strip())
    for (number, line), last in _with_last(lines):
        try:
            row = json.loads(line)
        except (ValueError, RecursionError):
            if last and number > 1 and not line.endswith("\n"):
                notes.append("the last row is torn: left out")
                return
            raise ValueError(f"{path}, line {number}: is no JSON; must be one object a line") from None
        if not isinstance(row, dict):
            raise ValueError(f"{path}, line {number}: is no object; must be one object a line")
        yield row


def _with_last(items: Iterable[Any]) -> Iterator[tuple[Any, bool]]:
    """Each item, and whether it is the last."""
    waiting: list[Any] = []
    for item in items:
        if waiting:
            yield waiting.pop(), False
        waiting.append(item)
    if waiting:
        yield waiting.pop(), True


def _number(cell: Any) -> float | None:
    """The number in a cell, NaN for one that is none; None where nothing was logged."""
    if cell is None or isinstance(cell, bool | list | dict) or (isinstance(cell, str) and not cell.strip()):
        return None
    try:
        return float(cell)
    except (ValueError, OverflowError):
        return math.nan


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
