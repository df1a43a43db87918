"""TensorBoard: event files in the node's own folder."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from riverrun.trackers.sink import TrackedRun

if TYPE_CHECKING:
    from torch.utils.tensorboard import FileWriter

_SECONDS_TO_DISK = 10


class TensorBoard:
    """Event files in `tensorboard/` of the node; a line of the record is one event with a scalar for each key.

    The files themselves tell the last step that they have, so a kill costs nothing: what had not come to the disk is
    written by the next feed, into a file of its own. Scalars are kept in 32 bits.
    """

    def __init__(self, run: TrackedRun) -> None:
        self._run = run
        self._folder = run.node.path / "tensorboard"
        self._writer: FileWriter | None = None
        self.last = last_step(self._folder)
        self.look = f"tensorboard --logdir {run.node.run}"

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """One event."""
        from tensorboard.compat.proto.summary_pb2 import Summary

        self._writer = self._writer or self._open()
        scalars = [Summary.Value(tag=key, simple_value=value) for key, value in values.items()]
        self._writer.add_summary(Summary(value=scalars), step)

    def _open(self) -> FileWriter:
        from torch.utils.tensorboard import FileWriter
        from torch.utils.tensorboard.summary import text

        writer = FileWriter(str(self._folder), flush_secs=_SECONDS_TO_DISK)
        if not self.last:
            rows = [f"| {key} | {json.dumps(value)} |" for key, value in self._run.configuration.items()]
            writer.add_summary(text("configuration", "\n".join(["| | |", "|---|---|", *rows])), 0)
        return writer

    def close(self) -> None:
        """Flush, and close the file."""
        if self._writer is not None:
            self._writer.close()


def last_step(folder: Path) -> int:
    """The last step in the event files of a folder, 0 without any; a torn end does not count."""
    from tensorboard.backend.event_processing.event_file_loader import RawEventFileLoader
    from tensorboard.compat.proto.event_pb2 import Event

    steps = (
        Event.FromString(event).step
        for file in folder.glob("*tfevents*")
        for event in RawEventFileLoader(str(file)).Load()
    )
    return max(steps, default=0)
