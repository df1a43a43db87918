"""TensorBoard: event files, and folders of them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np

from riverrun.extras import require_packages
from riverrun.forecast.exports.columns import Columns, Logged
from riverrun.forecast.exports.runs import Run

MARK = "tfevents"
"""What the name of every event file has in it."""


def read_events(path: Path, columns: Columns) -> tuple[list[Run], list[str]]:
    """The runs in an event file or below a folder, and the tags of all of them; each folder with files is a run.

    No point is left out for their number. What a restarted run has marked as overwritten is not read, as
    TensorBoard itself does.

    Raises:
        ValueError: no event file, a column of steps (events have steps of their own), or a tag that is nowhere.
    """
    require_packages(f"{path}", "forecast", {"tensorboard": "event files"})
    if columns.step is not None:
        raise ValueError(
            f"{path}: event files have steps of their own; leave out the column {columns.step!r}"
        )
    if path.is_file():
        found = {path: path.absolute().parent.name}
    else:
        found = {
            Path(folder): Path(folder).relative_to(path).as_posix()
            for folder, _, files in sorted(os.walk(path))
            if any(MARK in name for name in files)
        }
        if path in found:
            found[path] = path.resolve().name
    if not found:
        raise ValueError(
            f"{path}: holds no TensorBoard file ({MARK} in its name); or name a .csv or .jsonl file"
        )
    runs, tags = [], dict[str, None]()
    for place, name in found.items():
        scalars, all_tags = _scalars(place, columns)
        runs.append(Run(name, str(place), scalars, _damage(place)))
        tags |= dict.fromkeys(all_tags)
    if not tags:
        raise ValueError(
            f"{path}: holds no scalars that can be read; give TensorBoard's files of a run that wrote some"
        )
    columns.check(str(path), tags)
    return runs, list(tags)


def _scalars(path: Path, columns: Columns) -> tuple[dict[str, Logged], list[str]]:
    """The scalars that may matter, and the tags of all."""
    from tensorboard.backend.event_processing import event_accumulator as events
    from tensorboard.util import tensor_util

    # 0 keeps all. Writers of TensorFlow 2 log scalars as tensors.
    sizes = {**dict.fromkeys(events.DEFAULT_SIZE_GUIDANCE, 1), events.SCALARS: 0, events.TENSORS: 0}
    accumulator = events.EventAccumulator(str(path), size_guidance=sizes)
    try:
        accumulator.Reload()
    except Exception as error:  # a damaged file raises errors of several packages
        raise ValueError(f"{path}: cannot be read as TensorBoard events ({error}); write it anew") from None
    tags = accumulator.Tags()
    found = dict.fromkeys(tags[events.SCALARS], accumulator.Scalars)
    for tag in tags[events.TENSORS]:
        if accumulator.SummaryMetadata(tag).plugin_data.plugin_name == "scalars":
            found[tag] = accumulator.Tensors

    def value(event: Any) -> float:
        return float(event.value if hasattr(event, "value") else tensor_util.make_ndarray(event.tensor_proto))

    logged = {}
    for tag, read in found.items():
        if columns.matter(tag):
            points = [(event.step, value(event)) for event in read(tag)]
            steps, values = np.array(points, float).reshape(-1, 2).T
            logged[tag] = Logged(steps, values)
    return logged, list(found)


def _damage(path: Path) -> tuple[str, ...]:
    """Notes of files that are torn or damaged: TensorBoard reads each up to there, and says nothing."""
    from tensorboard.backend.event_processing.event_file_loader import RawEventFileLoader

    notes = []
    for file in [path] if path.is_file() else sorted(path.iterdir()):
        if MARK in file.name and file.is_file():
            size = file.stat().st_size
            framed = 16  # bytes around each record: its length, and checksums of that and of itself
            read = sum(len(record) + framed for record in RawEventFileLoader(str(file)).Load())
            if read < size:
                notes.append(f"{file.name} cannot be read from byte {read:,} of {size:,} on: left out")
    return tuple(notes)
