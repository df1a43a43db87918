"""What was sent to a tracker that does not tell what it has: a small file beside the record."""

from __future__ import annotations

import json
import time
from collections import deque
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from riverrun.runs import Node

_SECONDS_TO_SETTLE = 20.0
"""After so long a tracker has put on a disk or a server what it was given."""


def folder_of(node: Node, tracker: str) -> Path:
    """Where a node keeps what it must know of a tracker."""
    return node.path / "trackers" / tracker


class Sent:
    """The step up to which lines are known to be in one place, and how to look at them there.

    Another place, such as another project, begins anew. Trackers write in the background, so a line counts as sent when
    it was given some time ago, or when the tracker was closed: what a kill takes with it is sent again.
    """

    def __init__(self, node: Node, tracker: str, place: Mapping[str, str | None]) -> None:
        self._path = folder_of(node, tracker) / "sent.json"
        self._place = dict(place)
        self._given: deque[tuple[float, int]] = deque()
        self.step, self.look = 0, ""
        with suppress(OSError, ValueError, KeyError):
            found = json.loads(self._path.read_bytes())
            if found["place"] == self._place:
                self.step, self.look = found["step"], found["look"]

    def gave(self, step: int, look: str) -> None:
        """The line of a step was given to the tracker."""
        self.look = look
        now = time.monotonic()
        self._given.append((now, step))
        settled = 0
        while now - self._given[0][0] >= _SECONDS_TO_SETTLE:
            settled = self._given.popleft()[1]
        if settled:
            self._write(settled)

    def closed(self) -> None:
        """The tracker was closed, and has all that it was given."""
        if self._given:
            self._write(self._given[-1][1])

    def _write(self, step: int) -> None:
        self.step = step
        aside = self._path.with_suffix(".new")
        aside.write_text(json.dumps({"place": self._place, "step": step, "look": self.look}) + "\n")
        aside.replace(self._path)
