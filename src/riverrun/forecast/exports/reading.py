"""A path, whatever its format, to the records in it."""

from __future__ import annotations

from pathlib import Path

from riverrun.forecast.exports.columns import Columns
from riverrun.forecast.exports.event_files import MARK, read_events
from riverrun.forecast.exports.runs import records_of
from riverrun.forecast.exports.tables import read_table, runs_in
from riverrun.forecast.record import Record

READABLE = ".csv, .jsonl, TensorBoard's events.out.tfevents files and folders of these"


def read_records(path: str | Path, columns: Columns | None = None) -> list[Record]:
    """The runs in a file or folder, cleaned, each with the LR that was logged.

    Args:
        path: one of

            - a CSV file whose first line names the columns, as a trainer's own or ``run.history()`` of Weights &
              Biases; empty cells were not logged. Columns called "run - metric", as that exports from charts, hold a
              run each, and their ``__MIN`` and ``__MAX`` are not looked at;
            - JSON lines, one object a line, as the ``metrics.jsonl`` of this package;
            - an event file of TensorBoard, or a folder: each folder below with such files is a run.

            Runs that logged no loss are passed over where others did.
        columns: names of columns or tags that are not to be guessed.

    A learning rate that was logged at other steps than the loss is interpolated to those, with a note.

    Raises:
        ValueError: one line that begins with the file: it cannot be read, a column is missing or could be several, or
            a run cannot be used (`riverrun.forecast.cleaning.clean`).
        SettingError: TensorBoard's files without the package that reads them.
    """
    path, columns = Path(path), columns or Columns()
    if not path.exists():
        raise ValueError(f"{path}: no such file or folder; give {READABLE}")
    if path.is_file() and path.suffix.lower() in (".csv", ".jsonl"):
        table = read_table(path, columns)
        return records_of(str(path), runs_in(table, columns), table.names, columns)
    if path.is_dir() or MARK in path.name:
        runs, tags = read_events(path, columns)
        return records_of(str(path), runs, tags, columns)
    raise ValueError(f"{path}: unknown ending {path.suffix!r}; readable are {READABLE}")
