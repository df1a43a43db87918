"""From a node's record into a tracker, each step once."""

from __future__ import annotations

import heapq
import math
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from riverrun.errors import RiverrunError
from riverrun.runs import Node
from riverrun.runs.lock import exclusive
from riverrun.runs.metrics import Record
from riverrun.trackers.choice import check_tracker, open_sink, require_tracker
from riverrun.trackers.sent import folder_of
from riverrun.trackers.sink import Sink
from riverrun.trackers.tail import Tail


class TrackerError(RiverrunError):
    """A tracker does not take what it is given."""


class Feed:
    """Sends the steps of a node's record that a sink does not have yet, in their order.

    The readouts of a stop, which have a record of their own (`Node.evaluations_path`), go along with their step.

    Attributes:
        sink: where they go.
        name: the tracker's, for errors.
        last: the last step that was sent, now or before; 0 for none.
    """

    def __init__(self, node: Node, sink: Sink, name: str) -> None:
        self.sink, self.name, self.last = sink, name, sink.last
        self._records = [Tail(path, sink.last) for path in (node.metrics_path, node.evaluations_path)]
        self._held: Record | None = None

    def send(self) -> int:
        """Log all that is new, one call for each step; how many steps these were.

        Raises:
            TrackerError: the sink raised.
        """
        return self.send_settled() + self._send_held()

    def send_settled(self) -> int:
        """As `send`, but for the last step, which a readout may still join while the node trains."""
        steps = 0
        for record in heapq.merge(
            *(tail.new_lines() for tail in self._records), key=lambda line: line["step"]
        ):
            if self._held is not None and self._held["step"] == record["step"]:
                self._held |= record
            elif record["step"] > self.last:
                steps += self._send_held()
                self._held = record
        return steps

    def _send_held(self) -> int:
        if self._held is None:
            return 0
        record, self._held = self._held, None
        self.last = record.pop("step")
        # What was not finite is null in the record.
        values = {key: math.nan if value is None else value for key, value in record.items()}
        with _failures_told(self.name):
            self.sink.log(self.last, values)
        return 1


@contextmanager
def feeding(node: Node, tracker: str) -> Iterator[Feed]:
    """The feed of a node into a tracker; on leaving, all that was sent is brought to where it belongs.

    Args:
        node: whose metrics go there.
        tracker: "tensorboard", "wandb", "trackio" or "mlflow".

    Raises:
        ValueError: no such tracker.
        SettingError: its package is not installed.
        RunError: the node cannot be written.
        BusyError: another process feeds the same node into it.
        TrackerError: the tracker failed.
    """
    check_tracker("tracker", tracker)
    require_tracker("tracker", tracker)
    folder = folder_of(node, tracker)
    with exclusive(
        folder, f"sending to {tracker}", "riverrun track RUN", keep=lambda: any(folder.glob("*.json"))
    ):
        with _failures_told(tracker):
            sink = open_sink(tracker, node)
        try:
            yield Feed(node, sink, tracker)
        except BaseException:
            with suppress(Exception):  # what broke it is told, not what follows from that
                sink.close()
            raise
        with _failures_told(tracker):
            sink.close()


@contextmanager
def _failures_told(tracker: str) -> Iterator[None]:
    """Whatever a tracker's package raises is told in one line."""
    try:
        yield
    except RiverrunError:
        raise
    except ModuleNotFoundError as error:  # what a package imports only for some of its stores
        raise TrackerError(f"{tracker}: needs {error.name}. pip install {error.name}") from error
    except Exception as error:
        first_line = str(error).strip().partition("\n")[0].removesuffix(".")
        raise TrackerError(f"{tracker}: {first_line or type(error).__name__}") from error
